"""The commands that make classifiers."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import sound

from specvq_codec.classifiers import Classifier, load_classifier, save_classifier
from specvq_codec.models.melception import Melception, MelceptionConfig
from specvq_codec.models.vggishish import VGGish, VGGishConfig
from specvq_codec.training.data import Clip

CONFIG = """
batch_size = 2
frames = 32
[model]
channels = [4, 8]
convs = [1, 1]
hidden = 8
[loop]
steps = 2
"""


@pytest.fixture
def labelled(specvq):
    """A pack of four seconds under two labels."""
    samples = np.concatenate([sound(1.0, seed=seed) for seed in range(4)])
    splits, second = ("train", "train", "valid", "valid"), len(samples) // 4
    clips = [Clip(f"{i}.wav", splits[i], "sound", i * second, second, "ab"[i % 2]) for i in range(4)]
    folder = Path("pack")
    folder.mkdir()
    (samples * 32767).astype("<i2").tofile(folder / "samples.i16")
    (folder / "index.json").write_text(json.dumps({"clips": [dataclasses.asdict(clip) for clip in clips]}))
    return folder


def test_train_classifier(specvq, labelled):
    Path("tiny.toml").write_text(CONFIG)
    done = specvq("train", "classifier", "tiny.toml", "--data", labelled, "--out", "run", "--device", "cpu")
    assert "valid_mAP" in done.err
    assert load_classifier(Path("run/classifier.safetensors")).labels == ("a", "b")


@pytest.mark.parametrize("stage", ["classifier", "codebook", "prior", "sampler", "vocoder"])
@pytest.mark.parametrize("out", ["file", "file/run"])
def test_a_run_needs_a_folder(specvq, stage, out):
    Path("file").touch()
    failed = specvq("train", stage, f"{stage}-default", "--data", "pack", "--out", out, "--device", "cpu", code=2)
    assert f"The folder {out} cannot be made" in failed.err
    assert Path("file").read_bytes() == b""


def test_train_classifier_without_labels(specvq, labelled):
    index = labelled / "index.json"
    index.write_text(index.read_text().replace('"label": "a"', '"label": ""'))
    failed = specvq("train", "classifier", "classifier-default", "--data", labelled, "--out", "run", code=2)
    assert "have no label" in failed.err
    assert not Path("run").exists()


def test_import_classifier(specvq):
    torch.manual_seed(0)
    network = VGGish(VGGishConfig((4, 8), (1, 1), hidden=8, num_classes=3))
    torch.save({"epoch": 1, "model": network.state_dict()}, "vggishish16.pt")
    Path("statistics.txt").write_text("0.3 0.1\n" * 80)
    arguments = ("weights", "import-classifier", "vggishish16.pt", "statistics.txt", "out.safetensors")
    assert "out.safetensors" in specvq(*arguments).err
    assert load_classifier(Path("out.safetensors")).network.config == network.config
    assert "-f" in specvq(*arguments, code=2).err
    specvq(*arguments, "-f")

    Path("vggishish16.pt").write_bytes(b"no checkpoint")
    assert "vggishish16.pt" in specvq(*arguments, "-f", code=4).err
    assert load_classifier(Path("out.safetensors")).means[0] == pytest.approx(0.3)


def test_import_melception(specvq):
    torch.manual_seed(0)
    network = Melception(MelceptionConfig(num_classes=3, width=1 / 16))
    torch.save({"epoch": 1, "model": network.state_dict()}, "melception.pt")
    Path("statistics.txt").write_text("0.3 0.1\n" * 80)
    specvq("weights", "import-classifier", "melception.pt", "statistics.txt", "out.safetensors")
    assert load_classifier(Path("out.safetensors")).network.config == network.config


def write_classifier(path, *labels):
    torch.manual_seed(0)
    network = VGGish(VGGishConfig((4, 8), (1, 1), hidden=8, num_classes=len(labels)))
    save_classifier(Path(path), Classifier(network, torch.full((80,), 0.5), torch.full((80,), 0.2), labels))


def test_evaluate_classifier(specvq, labelled):
    write_classifier("one.safetensors", "a", "b")
    write_classifier("other.safetensors", "b", "c")
    classifiers = ("--classifier", "one.safetensors", "--classifier", "other.safetensors")
    command = ("evaluate", "classifier", labelled, "--split", "valid", *classifiers)
    told = specvq(*command)
    assert "1 recordings are left out, since other.safetensors does not know their labels" in told.err
    first, second = (line for line in told.out.splitlines() if "safetensors" in line)
    assert [cell.strip() for cell in first.split("|")[1:6]] == ["one.safetensors", "all", "2", "2", "0.500"]
    assert [cell.strip() for cell in second.split("|")[2:-1]] == ["all", "1", "1", "1.000", "", "", "", ""]

    found = json.loads(specvq(*command, "--json").out)
    assert found["split"] == "valid"
    section = found["classifiers"]["one.safetensors"][0]
    assert 0 <= section["metrics"]["accuracy"] <= section["metrics"]["accuracy_5"] == 1
    assert f"{section['metrics']['mAP']:.3f}" in first


def test_evaluate_the_package_s_classifier(specvq, labelled):
    """Which has heard of neither label: it says so, rather than give a table of nothing."""
    command = ("evaluate", "classifier", labelled, "--split", "valid")
    assert "No recording has a label" in specvq(*command, code=2).err
    index = labelled / "index.json"
    index.write_text(index.read_text().replace('"label": "a"', '"label": "dog"'))
    assert "| the package's |" in specvq(*command).out


def test_folders_of_a_run_that_was_not_begun_are_removed(specvq):
    Path("there").mkdir()
    args = ("train", "codebook", "codebook-default", "--data", "nothing", "--device", "cpu")
    specvq(*args, "--out", "there/deep/er", code=2)
    assert Path("there").is_dir() and not Path("there/deep").exists()
