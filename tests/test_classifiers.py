"""Files of classifiers: whole or refused; and the authors' checkpoint becomes one."""

import json

import pytest
import torch
from parity import numbers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from specvq_codec.bitstream.errors import SpecVQError, UsageError, WeightsError
from specvq_codec.classifiers import (
    Classifier,
    band_statistics,
    default_classifier,
    load_classifier,
    new_network,
    save_classifier,
)
from specvq_codec.models.melception import Melception, MelceptionConfig
from specvq_codec.models.vggishish import VGGish, VGGishConfig
from specvq_codec.reference import classifier_from, import_classifier

SMALL = VGGishConfig((4, 8), (2, 1), hidden=16, num_classes=3, pooled=(5, 10))
NARROW = MelceptionConfig(num_classes=3, width=1 / 16, max_pools=True)


def with_weights(config):
    torch.manual_seed(0)
    return Classifier(new_network(config).eval(), torch.rand(80), torch.rand(80) + 0.1, ("cat", "dog", "Zürich"))


@pytest.fixture
def classifier():
    return with_weights(SMALL)


def rewritten(path, change):
    """The file with its tensors and description changed."""
    with safe_open(path, "pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    change(tensors, about)
    save_file(tensors, path, about)
    return path


@pytest.mark.parametrize("config", [SMALL, NARROW], ids=["vggish", "melception"])
def test_what_is_saved_is_what_is_loaded(tmp_path, config):
    path, classifier = tmp_path / "classifier.safetensors", with_weights(config)
    path.write_bytes(b"an older file")
    save_classifier(path, classifier)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    again = load_classifier(path)
    assert again.labels == classifier.labels
    assert again.network.config == config
    assert torch.equal(again.means, classifier.means) and torch.equal(again.stds, classifier.stds)
    x = torch.randn(2, 1, 80, 80)
    assert torch.equal(again.network(x), classifier.network(x))
    assert not again.network.training
    assert not any(parameter.requires_grad for parameter in again.network.parameters())


@pytest.mark.parametrize("config", [SMALL, NARROW], ids=["vggish", "melception"])
def test_half_precision_is_for_large_weights_and_the_disk_alone(tmp_path, config):
    whole, half, classifier = tmp_path / "whole", tmp_path / "half", with_weights(config)
    save_classifier(whole, classifier)
    save_classifier(half, classifier, half=True)
    assert half.stat().st_size < 0.65 * whole.stat().st_size
    expected = classifier.network.state_dict()
    for key, tensor in load_classifier(half).network.state_dict().items():
        assert tensor.dtype == expected[key].dtype
        assert torch.equal(tensor, expected[key].half().float() if expected[key].ndim > 1 else expected[key])


def test_files_from_when_there_was_one_kind_hold_vggish(tmp_path, classifier):
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, classifier)
    old = load_classifier(rewritten(path, lambda _, about: about.pop("kind")))
    assert old.network.config == SMALL


def test_kinds_of_the_future_are_named(tmp_path, classifier):
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, classifier)
    with pytest.raises(WeightsError, match="'clap': install a newer"):
        load_classifier(rewritten(path, describe(kind="clap")))


def test_the_package_has_a_classifier(monkeypatch, tmp_path):
    found = default_classifier()
    assert isinstance(found.network, Melception)
    assert {"dog", "rain"} < set(found.labels)
    assert found.network(torch.zeros(1, 1, 80, found.network.config.min_frames)).isfinite().all()
    monkeypatch.setattr("specvq_codec.classifiers.DEFAULT", tmp_path)
    with pytest.raises(WeightsError, match="--classifier"):
        default_classifier()


def drop(key):
    return lambda tensors, about: tensors.pop(key)


def describe(**values):
    return lambda tensors, about: about.update(values)


CHANGES = {
    "one weight missing": drop("features.2.weight"),
    "linear layers missing": lambda tensors, _: [tensors.pop(key) for key in list(tensors) if "classifier" in key],
    "means missing": drop("means"),
    "stds missing": drop("stds"),
    "one too many": lambda tensors, _: tensors.update({"features.9.weight": torch.zeros(1)}),
    "wrong shape": lambda tensors, _: tensors.update({"features.0.bias": torch.zeros(5)}),
    "wrong statistics": lambda tensors, _: tensors.update({"stds": torch.ones(64)}),
    "no deviation": lambda tensors, _: tensors["stds"].zero_(),
    "not finite": lambda tensors, _: tensors["features.0.bias"].fill_(float("nan")),
    "no description": lambda _, about: about.clear(),
    "of another kind": describe(format="specvq melception 1"),
    "no JSON": describe(config="{"),
    "no table": describe(config="[]"),
    "unknown setting": describe(config=json.dumps({"depth": 3})),
    "Melception by name alone": describe(kind="melception", config=json.dumps({"num_classes": 3})),
    "other architecture": describe(config=json.dumps({"channels": [4, 8, 8], "convs": [2, 1, 1], "num_classes": 3})),
    "impossible architecture": describe(config=json.dumps({"channels": [4, -8], "convs": [2, 1], "num_classes": 3})),
    "too few labels": describe(labels='["cat"]'),
    "labels missing": lambda _, about: about.pop("labels"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_classifier_is_loaded_whole_or_not_at_all(tmp_path, classifier, change):
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, classifier)
    with pytest.raises(WeightsError, match="classifier"):
        load_classifier(rewritten(path, change))


def test_a_classifier_deeper_than_its_tensors_is_not_made(tmp_path, classifier, monkeypatch):
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, classifier)
    monkeypatch.setattr("specvq_codec.classifiers.new_network", pytest.fail)
    for convs in ([2, 10**9], [10**9, 2]):
        deep = json.dumps({"channels": [4, 8], "convs": convs, "num_classes": 3})
        with pytest.raises(WeightsError, match="deeper than its tensors"):
            load_classifier(rewritten(path, describe(config=deep)))


def test_files_that_are_none(tmp_path, classifier):
    path = tmp_path / "classifier.safetensors"
    with pytest.raises(WeightsError, match="specvq train classifier"):
        load_classifier(path)
    save_classifier(path, classifier)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="damaged"):
        load_classifier(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="damaged"):
        load_classifier(path)
    with pytest.raises(WeightsError):
        load_classifier(tmp_path)


def test_a_place_that_cannot_be_written_to(tmp_path, classifier):
    with pytest.raises(UsageError, match="no folder"):
        save_classifier(tmp_path / "absent" / "classifier.safetensors", classifier)


def test_statistics_weigh_recordings_and_not_frames():
    short, long = torch.zeros(80, 2), torch.ones(80, 100)
    short[:, 1] = 2.0
    means, stds = band_statistics([short.half(), long.half()])
    assert means.tolist() == [1.0] * 80
    assert stds.tolist() == [0.5] * 80


def checkpoint(path, state):
    """A file as the reference's training of the classifier writes it."""
    torch.save({"loss": 1.5, "metrics": {"mAP": 0.3}, "epoch": 3, "optimizer": {"state": {}}, "model": state}, path)
    return path


def statistics(path, rows=80):
    path.write_text("".join(f"{0.2 + i / 1000:.18e} {0.1 + i / 2000:.18e}\n" for i in range(rows)))
    return path


def test_import_of_the_reference_s_classifier(tmp_path, classifier):
    source = checkpoint(tmp_path / "vggishish16.pt", classifier.network.state_dict())
    table, out = statistics(tmp_path / "statistics.txt"), tmp_path / "out.safetensors"
    import_classifier(source, table, out)
    found = load_classifier(out)
    assert found.network.config == SMALL
    assert found.labels == ("0", "1", "2")
    assert found.means[10].item() == pytest.approx(0.21)
    assert found.stds[10].item() == pytest.approx(0.105)
    x = torch.randn(1, 1, 80, 32)
    assert torch.equal(found.network(x), classifier.network(x))


def test_import_of_the_reference_s_melception(tmp_path):
    """Its auxiliary classifier is left out; what training counted is kept."""
    config = MelceptionConfig(num_classes=3, width=1 / 16)
    network = with_weights(config).network
    network.Conv2d_1a_3x3.bn.num_batches_tracked += 7
    state = network.state_dict() | {"AuxLogits.fc.weight": torch.ones(2, 2)}
    out = tmp_path / "out.safetensors"
    import_classifier(checkpoint(tmp_path / "melception.pt", state), statistics(tmp_path / "statistics.txt"), out)
    found = load_classifier(out)
    assert found.network.config == config
    assert found.labels == ("0", "1", "2")
    assert found.network.Conv2d_1a_3x3.bn.num_batches_tracked == 7
    x = torch.randn(1, 1, 80, 32)
    assert torch.equal(found.network(x), network(x))


def test_the_published_melception_is_recognised():
    """By the names and shapes of its whole checkpoint, auxiliary classifier and all."""
    shapes = numbers("classifiers")["inception"]["keys"]
    state = {key: torch.zeros(shape, dtype=torch.float if shape else torch.int64) for key, shape in shapes.items()}
    config, tensors = classifier_from({"model": state})
    assert config == MelceptionConfig()
    assert set(tensors) == {key for key in shapes if not key.startswith("AuxLogits.")}
    del state["Mixed_6d.branch7x7_2.bn.running_var"]
    with pytest.raises(WeightsError, match=r"lacks the keys Mixed_6d\.branch7x7_2\.bn\.running_var"):
        classifier_from({"model": state})
    state["fc.weight"] = torch.zeros(309, 7)
    with pytest.raises(WeightsError, match="architecture"):
        classifier_from({"model": state})


def test_architecture_of_the_published_checkpoint():
    """On tensors without memory: only names and shapes count here."""
    shapes = numbers("classifiers")["vggish"]["keys"]
    with torch.device("meta"):
        model = VGGish(VGGishConfig())
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("features.2.weight"), r"features\.3"),
        (lambda state: state.pop("features.5.bias"), "features.5.bias"),
        (lambda state: state.pop("classifier.4.weight"), "classifier.4.weight"),
        (lambda state: state.update({"extra.weight": torch.zeros(2)}), "extra.weight"),
        (lambda state: state.update({"classifier.0.weight": torch.zeros(16, 7)}), "classifier.0.weight"),
        (lambda state: state.update({"features.0.weight": "no tensor"}), "features.0.weight"),
        (lambda state: state.update({"classifier.4.bias": torch.full((3,), torch.nan)}), "classifier.4.bias"),
        (lambda state: state.clear(), "features"),
    ],
)
def test_incomplete_checkpoints_are_refused(classifier, change, named):
    state = classifier.network.state_dict()
    assert set(classifier_from({"model": state})[1]) == set(state)
    change(state)
    with pytest.raises(WeightsError, match=named):
        classifier_from({"model": state})


@pytest.mark.parametrize("found", [{}, {"model": None}, {"state_dict": {}}])
def test_checkpoints_of_something_else(found):
    with pytest.raises(WeightsError, match="no classifier"):
        classifier_from(found)


@pytest.mark.parametrize("text", ["", "a b\n", "1 2\n3\n", "0.1 0.2\n" * 79, "0.1 0.2 0.3\n" * 80, "0.1 -0.2\n" * 80])
def test_statistics_that_are_none(tmp_path, classifier, text):
    source = checkpoint(tmp_path / "vggishish16.pt", classifier.network.state_dict())
    table = tmp_path / "statistics.txt"
    table.write_text(text)
    with pytest.raises(SpecVQError, match=r"statistics\.txt"):
        import_classifier(source, table, tmp_path / "out.safetensors")
    table.unlink()
    with pytest.raises(WeightsError, match="check the path"):
        import_classifier(source, table, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
