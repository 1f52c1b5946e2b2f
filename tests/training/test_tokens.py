"""Recordings as tokens, and windows of them."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tiny import sound, write_tiny_bundle
from training_cases import CPU

from specvq_codec import Codec, UsageError
from specvq_codec import spectrogram as spec
from specvq_codec.training.data import Clip, Pack
from specvq_codec.training.tokens import TokenPack, tokenize, tokens_path


@pytest.fixture
def pack(tmp_path):
    """Recordings of 13, 2, 0.1 and 1 s."""
    sounds = [sound(seconds, seed=seed) for seed, seconds in enumerate((13.0, 2.0, 0.1, 1.0))]
    clips, start = [], 0
    for number, (samples, split) in enumerate(zip(sounds, ("train", "valid", "train", "train"), strict=True)):
        clips.append(Clip(f"{number}.wav", split, "sound", start, len(samples)))
        start += len(samples)
    (np.concatenate(sounds) * 32767).astype("<i2").tofile(tmp_path / "samples.i16")
    (tmp_path / "index.json").write_text(json.dumps({"clips": [dataclasses.asdict(clip) for clip in clips]}))
    return tmp_path


def test_tokens_are_the_whole_columns_that_the_codec_makes(pack, tiny_bundle):
    done = tokenize(pack, tiny_bundle, CPU)
    assert done.path == tokens_path(pack, tiny_bundle.fingerprint) and done.recordings == 4
    codec = Codec(tiny_bundle, "cpu")
    count = 0
    for split in ("train", "valid"):
        tokens = TokenPack(pack, split, tiny_bundle, 53)
        for (clip, waveform), item in zip(Pack(pack, split), tokens.items, strict=True):
            expected = codec.encode(waveform.numpy()).indices[: max(1, clip.length // 4096)]
            assert np.array_equal(item.numpy().reshape(-1, 5), expected)
            count += len(item)
    assert done.indices == count
    assert tokens.codebook_size == 64


def test_shifted_tokens_are_those_of_sound_that_begins_later(pack, tiny_bundle):
    tokenize(pack, tiny_bundle, CPU, shifts=4)
    tokens = TokenPack(pack, "train", tiny_bundle, 53)
    codec, (clip, waveform) = Codec(tiny_bundle, "cpu"), next(iter(Pack(pack, "train")))
    columns = [(clip.length - 1024 * shift) // 4096 for shift in range(4)]
    with np.load(tokens_path(pack, tiny_bundle.fingerprint)) as stored:
        assert stored["columns"][0].tolist() == columns
        third = stored["indices"][sum(columns[:2]) :][: columns[2]]
    assert np.array_equal(third, codec.encode(waveform[2048:].numpy()).indices[: columns[2]])
    assert len(tokens.items) == 3 and len(tokens.items[0]) == 5 * columns[0]
    drawn = tokens.draw(200, np.random.default_rng(0))
    assert set(drawn.recordings) == {0, 1, 2}


def test_packs_of_spectrograms(tmp_path, tiny_bundle):
    mels = [spec.log_mel(torch.from_numpy(sound(seconds, seed=3))).half() for seconds in (12.0, 1.0)]
    clips = [
        Clip("a", "train", "sound", 0, mels[0].shape[1]),
        Clip("b", "train", "sound", mels[0].shape[1], mels[1].shape[1]),
    ]
    torch.cat(mels, dim=1).mT.contiguous().numpy().tofile(tmp_path / "mels.f16")
    about = {"kind": "mels", "clips": [dataclasses.asdict(clip) for clip in clips]}
    (tmp_path / "index.json").write_text(json.dumps(about))
    tokenize(tmp_path, tiny_bundle, CPU)
    items = TokenPack(tmp_path, "train", tiny_bundle, 53).items
    expected = Codec(tiny_bundle, "cpu").encode(sound(12.0, seed=3)).indices[:64]
    assert [len(item) // 5 for item in items] == [64, 5]
    same = items[0].numpy().reshape(-1, 5) == expected
    assert same[:45].mean() > 0.98  # of the first window: half precision changes a few, and the end is another


def test_windows_lie_within_recordings_and_draw_every_index_alike(pack, tiny_bundle):
    tokenize(pack, tiny_bundle, CPU)
    tokens = TokenPack(pack, "train", tiny_bundle, 10)
    drawn = tokens.draw(4000, np.random.default_rng(0))
    assert drawn.indices.shape == (4000, 50) and drawn.indices.dtype == torch.int64
    for indices, length, recording in list(zip(*drawn, strict=True))[:50]:
        item = tokens.items[recording].long()
        assert length == min(50, len(item)) and length % 5 == 0
        assert (indices[length:] == 0).all()
        begins = range(0, len(item) - length + 1, 5)
        assert any(torch.equal(item[begin : begin + length], indices[:length]) for begin in begins)
    columns = np.array([max(10, len(item) // 5) for item in tokens.items])
    shares = np.bincount(drawn.recordings, minlength=3) / 4000
    assert shares == pytest.approx(columns / columns.sum(), abs=0.03)
    assert all(map(torch.equal, tokens.draw(9, np.random.default_rng(1))[:2], tokens.draw(9, np.random.default_rng(1))))
    first = tokens.first_windows()
    assert torch.equal(first.indices[0], tokens.items[0][:50].long())
    assert first.lengths.tolist() == [50, 5, 25]
    beginnings = TokenPack(pack, "train", tiny_bundle, 10, beginnings=True).draw(50, np.random.default_rng(0))
    assert all(torch.equal(row, first.indices[at]) for row, at in zip(*beginnings[::2], strict=True))


def test_tokens_of_other_weights_or_recordings_are_refused(pack, tiny_bundle, tmp_path):
    with pytest.raises(UsageError, match=r"no tokens of the weights .*specvq data tokenize"):
        TokenPack(pack, "train", tiny_bundle, 53)
    done = tokenize(pack, tiny_bundle, CPU)
    other = write_tiny_bundle(tmp_path / "other", seed=1)
    with pytest.raises(UsageError, match="no tokens of the weights other"):
        TokenPack(pack, "train", other, 53)
    tokens_path(pack, other.fingerprint).write_bytes(done.path.read_bytes())
    with pytest.raises(UsageError, match="has the tokens of other weights"):
        TokenPack(pack, "train", other, 53)
    about = json.loads((pack / "index.json").read_text())
    about["clips"][0]["length"] -= 1
    (pack / "index.json").write_text(json.dumps(about))
    with pytest.raises(UsageError, match="has the tokens of other recordings"):
        TokenPack(pack, "train", tiny_bundle, 53)


@pytest.mark.parametrize("damage", ["cut", "text", "size", "name", "array"])
def test_damaged_tokens_are_refused(pack, tiny_bundle, damage):
    path = tokenize(pack, tiny_bundle, CPU).path
    data = path.read_bytes()
    with np.load(path) as file:
        stored = dict(file)
    if damage in ("cut", "text"):
        path.write_bytes(data[:2000] if damage == "cut" else b"no tokens")
    elif damage == "array":
        with path.open("wb") as file:
            np.save(file, stored["indices"])
    elif damage == "size":
        np.savez(path, **stored | {"codebook_size": np.int64(3)})
    else:
        np.savez(path, **{key: stored[key] for key in stored if key != "columns"})
    with pytest.raises(UsageError, match=r"is damaged .*; make it again: specvq data tokenize"):
        TokenPack(pack, "train", tiny_bundle, 53)


def test_shifts_are_limited(pack, tiny_bundle):
    with pytest.raises(UsageError, match="1 to 16 shifts, not 0"):
        tokenize(pack, tiny_bundle, CPU, shifts=0)


def test_a_new_pack_has_no_tokens_of_the_old_one(tmp_path):
    import soundfile

    from specvq_codec.training.packing import pack as pack_folder

    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "a.wav", sound(1.0), 22_050)
    pack_folder(tmp_path / "sounds", tmp_path / "pack")
    old = tmp_path / "pack" / "tokens-01234567.npz"
    old.write_bytes(b"old")
    pack_folder(tmp_path / "sounds", tmp_path / "pack", force=True)
    assert not old.exists()
