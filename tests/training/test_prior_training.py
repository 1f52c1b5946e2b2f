"""Training a tiny prior on tokens that each follow from the one a column before, and its way into a bundle."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from tiny import write_tiny_bundle
from training_cases import CPU, log

from specvq_codec import UsageError, WeightsError
from specvq_codec.bitstream import Prior, read, write
from specvq_codec.bitstream.learned import learned_bits
from specvq_codec.models.prior import PriorConfig, PriorNetwork, integer_tensors, rounded, row_steps
from specvq_codec.training.config import load_config
from specvq_codec.training.data import Clip
from specvq_codec.training.export import export_prior
from specvq_codec.training.loop import LoopConfig
from specvq_codec.training.prior import (
    PriorTask,
    PriorTraining,
    bits_per_index,
    blocks_of,
    load_prior,
    train_prior,
)
from specvq_codec.training.tokens import TokenPack, tokens_path

MODEL = PriorConfig(depth=8, width=16, layers=1, hidden=24, output=12, dropout=0.0)
LOOP = LoopConfig(150, 1e-2, 5, weight_decay=0.01, decayed="linear", ema=0.9, log_every=50, save_every=75)
CONFIG = PriorTraining(MODEL, LOOP, batch_size=8, columns=10)


def follow(length, rng):
    """Indices (length, 5): half of the time that of the column before, and anything else."""
    grid = rng.integers(0, 64, (length, 5))
    for column in range(1, length):
        grid[column] = np.where(rng.random(5) < 0.5, grid[column - 1], grid[column])
    return grid


COLUMNS = {"train": (2000, 900, 3, 100), "valid": (60, 300, 3, 40)}


def write_tokens(folder, bundle):
    """A pack without sound, whose recordings have so many columns."""
    rng = np.random.default_rng(0)
    clips, grids, start = [], [], 0
    for split, lengths in COLUMNS.items():
        for length in lengths:
            clips.append(Clip(str(len(clips)), split, "x", start, 16 * length))
            grids.append(follow(length, rng))
            start += 16 * length
    folder.mkdir()
    (folder / "index.json").write_text(
        json.dumps({"kind": "mels", "clips": [dataclasses.asdict(clip) for clip in clips]})
    )
    np.zeros((start, 80), "<f2").tofile(folder / "mels.f16")
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
    return write_tokens(tmp_path_factory.mktemp("tokens") / "pack", bundle)


@pytest.fixture(scope="module")
def trained(data, bundle, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "prior"
    return run, train_prior(CONFIG, data, run, CPU, bundle.path)


def test_it_learns_what_the_column_before_tells(trained):
    run, numbers = trained
    assert set(numbers) == {"valid_bits"}
    assert numbers["valid_bits"] < 5.6  # of 6, and 4.05 for who knows the rule
    assert "train_bits" in log(run)[0]


def test_the_integer_model_says_what_the_network_says(trained, data, bundle):
    network, about = load_prior(trained[0])
    assert about.model == MODEL and about.fingerprint == bundle.fingerprint
    blocks = blocks_of(TokenPack(data, "valid", bundle, 10).items)
    assert [len(block) for block in blocks] == [60, 256, 44, 3, 40]
    prior = Prior(integer_tensors(network))
    model = dataclasses.replace(bundle.coding_model(), prior=prior)
    integer = sum(learned_bits(block.numpy().astype(np.int16), model).sum() for block in blocks) / (5 * 403)
    rounded_bits = bits_per_index(network, blocks, CPU)
    network.quantise(False)
    floating = bits_per_index(network, blocks, CPU)
    assert trained[1]["valid_bits"] == pytest.approx(rounded_bits)
    assert integer == pytest.approx(rounded_bits, rel=1e-3)
    assert integer == pytest.approx(floating, rel=1e-2)
    with torch.inference_mode():
        network.quantise(True)
        expected = torch.softmax(network(blocks[3][None]), dim=-1)[0]
    found = prior.frequencies(blocks[3][None].numpy())[0] / 2**24
    assert np.abs(np.log(found / expected.numpy())).max() < 0.15  # sums fall on the other side of a rounding


def test_each_index_depends_on_those_before_it_alone():
    torch.manual_seed(0)
    network = PriorNetwork(MODEL, torch.randn(64, 16), torch.ones(5, 64)).eval()
    network.quantise(False)  # rounding hides small changes
    indices = torch.randint(0, 64, (1, 4, 5))
    with torch.no_grad():
        before = network(indices).flatten(1, 2)
        for place in range(20):
            changed = indices.flatten().clone()
            changed[place] = (changed[place] + 1) % 64
            after = network(changed.view(1, 4, 5)).flatten(1, 2)
            assert torch.equal(after[:, : place + 1], before[:, : place + 1])
            assert place == 19 or not torch.equal(after[:, place + 1], before[:, place + 1])


def test_it_begins_with_how_often_indices_occur():
    counts = torch.randint(0, 1000, (5, 64), generator=torch.Generator().manual_seed(0)).float()
    torch.manual_seed(0)
    network = PriorNetwork(MODEL, torch.randn(64, 16), counts).eval()
    with torch.no_grad():
        found = torch.log_softmax(network(torch.randint(0, 64, (16, 8, 5))), dim=-1).mean(dim=(0, 1))
    expected = torch.log((counts + 0.5) / (counts + 0.5).sum(dim=1, keepdim=True))
    assert (found - expected).abs().mean() < 0.1


def test_rounding():
    values = torch.tensor([0.126, -3.0, 0.5], requires_grad=True)
    found = rounded(values, 128, 127)
    assert found.tolist() == [16 / 128, -127 / 128, 0.5]
    found.sum().backward()
    assert values.grad is not None and values.grad.tolist() == [1, 1, 1]
    weight = torch.tensor([[0.9, -0.1], [1.0, 0.2], [0.0, 0.0], [200.0, 0.0]])
    assert row_steps(weight).flatten().tolist() == [128, 64, 2**14, 1]


def test_the_prior_of_a_run_goes_into_a_bundle(trained, tmp_path):
    plain = write_tiny_bundle(tmp_path / "copy")
    with_prior = export_prior(plain, trained[0])
    assert with_prior.fingerprint == plain.fingerprint and plain.prior is None
    model = with_prior.coding_model()
    assert model.prior is not None and model.prior.digest == with_prior.prior
    with_prior.verify()
    indices = follow(300, np.random.default_rng(5)).astype(np.int16)
    data = write(indices, 22050, 300 * 4096, with_prior.fingerprint, model)
    assert with_prior.is_named(data[4:8]) and not plain.is_named(data[4:8])
    assert np.array_equal(read(data, model, with_prior.fingerprint)[1], indices)
    assert len(data) < len(write(indices, 22050, 300 * 4096, plain.fingerprint, plain.coding_model()))


def test_it_does_not_go_into_another_bundle(trained, tmp_path):
    other = write_tiny_bundle(tmp_path / "other", seed=1)
    with pytest.raises(WeightsError, match=f"is {other.fingerprint.hex()[:8]}: name the bundle"):
        export_prior(other, trained[0])
    assert not other.has("prior")
    with pytest.raises(UsageError, match="not the run of a prior"):
        export_prior(other, tmp_path)
    (tmp_path / "prior.json").write_text("{}")
    with pytest.raises(UsageError, match="is damaged"):
        export_prior(other, tmp_path)


def test_a_run_goes_on_with_the_same_network_alone(trained, data, bundle):
    run, numbers = trained
    assert train_prior(CONFIG, data, run, CPU, bundle.path) == numbers
    wider = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, width=20))
    with pytest.raises(UsageError, match=r"a run of another network \(dropout counts, too\), or of other data"):
        train_prior(wider, data, run, CPU, bundle.path)


def test_what_lies_behind_a_recording_does_not_count(data, bundle):
    task = PriorTask(dataclasses.replace(CONFIG, columns=200), data, bundle, CPU)
    task.module.eval()
    batch = task.batch(np.random.default_rng(0))
    assert batch["indices"].shape == (8, 1000) and batch["lengths"].min() == 15
    behind = torch.arange(1000) >= batch["lengths"][:, None]
    changed = batch | {"indices": torch.where(behind, 5, batch["indices"])}
    assert torch.equal(task.module(batch, 0)[0], task.module(changed, 0)[0])
    assert task.module(batch, 0)[0].item() == pytest.approx(6 * math.log(2), abs=0.3)


def test_shipped_configuration_fits_into_a_bundle():
    config = load_config(PriorTraining, "prior-default")
    network = PriorNetwork(config.model, torch.randn(1024, 64), torch.ones(5, 1024))
    tensors = integer_tensors(network)
    Prior(tensors)
    assert sum(tensor.nbytes for tensor in tensors.values()) <= 3e6


def test_sizes_that_make_no_network():
    for wrong in ({"width": 0}, {"dropout": 1.0}, {"layers": 0}):
        with pytest.raises(ValueError):
            PriorConfig(**wrong)
