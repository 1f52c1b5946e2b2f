"""Training a tiny sampler on made-up tokens whose statistics follow from their class and their features."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from tiny import write_tiny_bundle
from training_cases import CPU, log

from specvq_codec import Codec, UsageError, WeightsError
from specvq_codec.conditions import frame_indices
from specvq_codec.models.transformer import Transformer, TransformerConfig
from specvq_codec.training.config import load_config
from specvq_codec.training.data import Clip
from specvq_codec.training.export import export_sampler
from specvq_codec.training.loop import LoopConfig
from specvq_codec.training.sampler import (
    SamplerConfig,
    SamplerTask,
    begin_from_codebook,
    mean_of_first,
    train_sampler,
)
from specvq_codec.training.tokens import tokens_path

MODEL = TransformerConfig(n_layer=1, n_head=2, n_embd=32, columns=6, dropout=0.1)
LOOP = LoopConfig(150, 1e-2, 5, weight_decay=0.01, decayed="linear", ema=0.9, log_every=50, save_every=75)
CONFIG = SamplerConfig(MODEL, LOOP, batch_size=8, classes=True, drop=0.5)
FEATURES = dataclasses.replace(MODEL, columns=53, feature_frames=3, feature_depth=4)
LABELS = ("bell", "dog", "door", "rain")


def write_tokens(folder, bundle, columns=(20, 9, 3, 7), features=False):
    """A pack without sound, of 8 recordings a split: those of label i have indices from 16 i to 16 i + 15."""
    rng = np.random.default_rng(0)
    clips, grids, start = [], [], 0
    for number in range(16):
        label, length = number % 4, columns[number // 2 % 4]
        clips.append(Clip(str(number), ("train", "valid")[number // 8], "x", start, 16 * length, LABELS[label]))
        grids.append(rng.integers(16 * label, 16 * label + 16, (length, 5)))
        start += 16 * length
    folder.mkdir()
    about = {"kind": "mels", "clips": [dataclasses.asdict(clip) for clip in clips]}
    np.zeros((start, 80), "<f2").tofile(folder / "mels.f16")
    if features:
        about["feature_width"] = 4
        shown = np.zeros((16, 215, 4), "<f2")
        shown[np.arange(16), :, np.arange(16) % 4] = 1
        (shown * np.linspace(1, 2, 215)[:, None]).astype("<f2").tofile(folder / "features.f16")
    (folder / "index.json").write_text(json.dumps(about))
    np.savez(
        tokens_path(folder, bundle.fingerprint),
        indices=np.concatenate(grids).astype(np.int16),
        columns=np.array([[len(grid)] for grid in grids], dtype=np.int32),
        recordings=np.array([(clip.start, clip.length) for clip in clips]),
        fingerprint=np.frombuffer(bundle.fingerprint, dtype=np.uint8),
        codebook_size=np.int64(64),
    )
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory, bundle):
    return write_tokens(tmp_path_factory.mktemp("tokens") / "pack", bundle, columns=(600, 9, 3, 100))


@pytest.fixture(scope="module")
def trained(data, bundle, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "sampler"
    return run, train_sampler(CONFIG, data, run, CPU, bundle.path)


def test_it_learns_what_a_class_tells(trained):
    run, numbers = trained
    assert set(numbers) == {"valid_bits", "valid_bits_classes"}
    assert 4.0 < numbers["valid_bits_classes"] < 4.3  # 16 values are equally likely
    assert numbers["valid_bits_classes"] + 0.02 < numbers["valid_bits"] < 4.7  # the first index tells the class
    assert "train_bits" in log(run)[0]


def test_the_sampler_of_a_run_goes_into_a_bundle(trained, bundle, tmp_path):
    run, numbers = trained
    with_sampler = export_sampler(write_tiny_bundle(tmp_path / "copy"), run)
    assert with_sampler.fingerprint == bundle.fingerprint
    assert with_sampler.labels == LABELS
    assert {tensor.dtype for tensor in with_sampler.tensors("sampler").values()} == {np.dtype(np.float16)}
    codec = Codec(with_sampler, "cpu")
    assert codec.sampler.config == dataclasses.replace(
        MODEL, codebook_size=64, num_classes=4, optional=True, dropout=0.0
    )
    codes = codec.encode(np.zeros(8192, np.float32))
    codes = dataclasses.replace(codes, indices=np.full_like(codes.indices, 40))
    added = codec.continue_codes(codes, 2.0, top_k=16, label="door").indices[2:]
    assert ((added >= 32) & (added < 48)).mean() > 0.9
    assert numbers["valid_bits_classes"] > 0


def test_it_does_not_go_into_another_bundle(trained, tmp_path):
    other = write_tiny_bundle(tmp_path / "other", seed=1)
    with pytest.raises(WeightsError, match=f"is {other.fingerprint.hex()[:8]}: name the bundle"):
        export_sampler(other, trained[0])
    assert not other.has("sampler")
    with pytest.raises(UsageError, match="not the run of a sampler"):
        export_sampler(other, tmp_path)
    (tmp_path / "sampler.json").write_text("{}")
    with pytest.raises(UsageError, match="is damaged"):
        export_sampler(other, tmp_path)


def test_a_run_goes_on_with_the_same_network_alone(trained, data, bundle):
    run, numbers = trained
    assert train_sampler(CONFIG, data, run, CPU, bundle.path) == numbers
    wider = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, n_embd=64))
    with pytest.raises(UsageError, match=r"a run of another network \(dropout counts, too\), or of other data"):
        train_sampler(wider, data, run, CPU, bundle.path)


def test_it_starts_where_another_ended(trained, data, bundle, tmp_path):
    once = dataclasses.replace(CONFIG, loop=LoopConfig(1, 1e-9, save_every=1))
    numbers = train_sampler(once, data, tmp_path / "on", CPU, bundle.path, start=trained[0])
    assert numbers == pytest.approx(trained[1], abs=1e-5)
    copy = export_sampler(write_tiny_bundle(tmp_path / "copy"), trained[0])
    numbers = train_sampler(once, data, tmp_path / "again", CPU, bundle.path, start=copy.path)
    assert numbers == pytest.approx(trained[1], abs=1e-2)
    other = write_tiny_bundle(tmp_path / "other", seed=1)
    others = write_tokens(tmp_path / "others", other)
    with pytest.raises(UsageError, match=f"knows the indices of the weights {bundle.fingerprint.hex()[:8]}, and these"):
        train_sampler(once, others, tmp_path / "wrong", CPU, other.path, start=trained[0])
    with pytest.raises(UsageError, match="has no sampler to start with"):
        train_sampler(once, data, tmp_path / "wrong", CPU, bundle.path, start=bundle.path)
    without = dataclasses.replace(once, classes=False, drop=0.0)
    with pytest.raises(UsageError, match="knows 4 other classes than this data's 0"):
        train_sampler(without, data, tmp_path / "none", CPU, bundle.path, start=copy.path)


def test_near_codes_begin_with_near_embeddings_and_logits():
    torch.manual_seed(0)
    vectors = 5 + torch.randn(64, 3)
    network = Transformer(TransformerConfig(codebook_size=64, n_layer=1, n_head=2, n_embd=512, columns=6))
    stds = [weight.std() for weight in (network.tok_emb.weight, network.head.weight)]
    begin_from_codebook(network, vectors)
    for weight, std in zip((network.tok_emb.weight, network.head.weight), stds, strict=True):
        distances = torch.stack([torch.pdist(weight.detach()), torch.pdist(vectors)])
        assert torch.corrcoef(distances)[0, 1] > 0.98
        torch.testing.assert_close(weight.std(), std, rtol=0.1, atol=0)


def test_what_lies_behind_a_recording_does_not_count(bundle, tmp_path):
    task = SamplerTask(CONFIG, write_tokens(tmp_path / "pack", bundle), bundle, CPU)
    task.module.eval()
    batch = task.batch(np.random.default_rng(0))
    assert batch["lengths"].min() == 15 and batch["lengths"].max() == 30
    behind = torch.arange(30) >= batch["lengths"][:, None]
    changed = batch | {"indices": torch.where(behind, 5, batch["indices"])}
    loss = task.module(batch, 0)[0]
    assert torch.equal(loss, task.module(changed, 0)[0])
    single = [
        task.module({key: value[i : i + 1] for key, value in batch.items()}, 0)[0] * batch["lengths"][i]
        for i in range(8)
    ]
    assert loss.item() == pytest.approx(sum(single).item() / batch["lengths"].sum().item(), rel=1e-5)
    assert mean_of_first(torch.tensor([[1.0, 9.0], [2.0, 6.0]]), torch.tensor([1, 2])) == 3.0


def test_batches_depend_on_the_generator_alone_and_leave_conditions_out(data, bundle):
    task = SamplerTask(dataclasses.replace(CONFIG, batch_size=400, drop=0.3), data, bundle, CPU)
    one, same, other = (task.batch(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["indices"], other["indices"])
    assert one["has_classes"].float().mean().item() == pytest.approx(0.7, abs=0.07)
    assert torch.equal(one["indices"][:, 0] // 16, one["classes"])


@pytest.mark.parametrize(
    ("classes", "features", "drop", "expected"),
    [
        (False, False, 0.0, {"valid_bits": ()}),
        (True, False, 0.0, {"valid_bits": ("classes",)}),
        (True, False, 0.2, {"valid_bits": (), "valid_bits_classes": ("classes",)}),
        (False, True, 0.2, {"valid_bits": (), "valid_bits_features": ("features",)}),
    ],
)
def test_every_kind_is_validated(bundle, tmp_path, classes, features, drop, expected):
    data = write_tokens(tmp_path / "pack", bundle, features=features)
    config = SamplerConfig(FEATURES if features else MODEL, LoopConfig(1), 4, classes, drop)
    task = SamplerTask(config, data, bundle, CPU)
    task.module.eval()
    with torch.inference_mode():
        numbers = task.validate()
    assert set(numbers) == set(expected)
    assert all(value == pytest.approx(6.0, abs=0.3) for value in numbers.values())  # it knows nothing of 64 values
    assert task.module(task.batch(np.random.default_rng(0)), 0)[0].item() == pytest.approx(6 * math.log(2), abs=0.3)


def test_features_and_class_in_one_network(bundle, tmp_path):
    data = write_tokens(tmp_path / "pack", bundle, columns=(60, 53, 3, 7), features=True)
    loop = dataclasses.replace(LOOP, steps=60, save_every=60)
    config = SamplerConfig(FEATURES, loop, batch_size=8, classes=True, drop=0.5)
    task = SamplerTask(config, data, bundle, CPU)
    batch = task.batch(np.random.default_rng(0))
    assert batch["features"].shape == (8, 3, 4)
    clip = task.train_tokens.pack.clips[0]
    expected = task.train_tokens.pack.features(clip).numpy()[1:213][frame_indices(212, 3)]
    of_first = batch["features"][(batch["classes"] == 0).nonzero()[0, 0]]
    assert np.array_equal(of_first.numpy(), expected)
    numbers = train_sampler(config, data, tmp_path / "run", CPU, bundle.path)
    assert set(numbers) == {"valid_bits", "valid_bits_features", "valid_bits_classes", "valid_bits_both"}
    assert numbers["valid_bits_features"] < numbers["valid_bits"]
    samples = task.samples().spectrograms
    assert [tuple(mel.shape) for mel in samples.values()] == [(80, 848)] * 4
    narrow = dataclasses.replace(config, model=dataclasses.replace(FEATURES, feature_depth=3))
    with pytest.raises(UsageError, match="set feature_depth = 4, not 3"):
        SamplerTask(narrow, data, bundle, CPU)


@pytest.mark.parametrize("setting", [{"codebook_size": 64}, {"num_classes": 4}, {"optional": True}])
def test_what_follows_from_the_data_is_not_chosen(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} follows from .*: leave it out"):
        SamplerConfig(TransformerConfig(**setting), LOOP)


def test_features_belong_to_ten_seconds():
    with pytest.raises(ValueError, match="needs columns = 53"):
        SamplerConfig(dataclasses.replace(FEATURES, columns=20), LOOP)
    with pytest.raises(ValueError, match="drop must be"):
        SamplerConfig(MODEL, LOOP, drop=1.0)


def test_shipped_configurations():
    small, large = (load_config(SamplerConfig, f"sampler-{name}") for name in ("default", "vggsound"))
    model = dataclasses.replace(small.model, num_classes=75, optional=True)
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Transformer(model).parameters()) < 10e6  # 20 MB in half precision
    assert dataclasses.replace(large.model, feature_frames=0, feature_depth=0) == TransformerConfig()
    assert large.loop.betas == small.loop.betas == (0.9, 0.95)
    assert large.loop.decayed == small.loop.decayed == "linear"
