import pytest
import torch
from packs import write_pack

from specvq_codec import spectrogram as spec
from specvq_codec.evaluation.kmeans import fit_patches, sample_columns
from specvq_codec.training.data import Pack


def planted(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns (count, 80, 16) each of whose five patches is one of four of its row, and which (count, 5)."""
    generator = torch.Generator().manual_seed(0)
    originals = torch.rand(5, 4, 16, 16, generator=generator)
    which = torch.randint(4, (count, 5), generator=generator)
    columns = torch.stack([originals[row, which[:, row]] for row in range(5)], dim=1)  # (count, 5, 16, 16)
    return columns.flatten(1, 2), which


@pytest.mark.parametrize("per_row, codewords", [(True, 16), (False, 80)])
def test_planted_clusters_are_found(per_row, codewords):
    columns, which = planted(400)
    codec = fit_patches(columns, codewords, per_row, components=32)
    assert codec.codewords.shape == (5 if per_row else 1, codewords, 32)
    mel = columns[:40].movedim(0, 1).flatten(1)  # (80, 640)
    indices = codec.encode(mel)  # (5, 40)
    assert indices.shape == (5, 40)
    assert float((codec.decode(indices) - mel).abs().max()) < 1e-4
    for row in range(5):  # a codeword never stands for two patches
        pairs = set(zip(indices[row].tolist(), which[:40, row].tolist(), strict=True))
        assert len({codeword for codeword, _ in pairs}) == len(pairs)


def test_too_few_codewords_leave_an_error():
    columns, _ = planted(400)
    mel = columns[:40].movedim(0, 1).flatten(1)
    codec = fit_patches(columns, 2, per_row=True, components=32)
    assert float((codec.decode(codec.encode(mel)) - mel).abs().mean()) > 0.05


def test_fitting_is_repeatable():
    columns, _ = planted(100)
    first, again = (fit_patches(columns, 8, per_row=False) for _ in range(2))
    assert torch.equal(first.codewords, again.codewords)


def test_sampled_columns_are_those_of_the_recordings(tmp_path):
    pack = Pack(write_pack(tmp_path / "pack"), "train")
    everything = sample_columns(pack)
    assert everything.shape == (sum(clip.length // 4096 for clip in pack.clips), 80, 16)
    mel = spec.log_mel(pack.waveform(pack.clips[0]))
    assert torch.equal(everything[3], mel[:, 48:64])
    some = sample_columns(pack, 10)
    assert len(some) == 10
    assert all(any(torch.equal(column, other) for other in everything) for column in some)
