"""evaluate sampler and evaluate diversity, on packs made by commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sampler_cases import add_tiny_sampler
from tiny import sound

from specvq_codec.classifiers import Classifier, save_classifier
from specvq_codec.models.vggishish import VGGish, VGGishConfig
from specvq_codec.weights import load_bundle

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def pack(specvq, tiny_bundle):
    """A pack of three sounds, and a bundle with a sampler of two classes, in the working folder."""
    Path("sounds").mkdir()
    rows = ["path,split,domain,label"]
    for number, (seconds, label) in enumerate([(6.5, "bell"), (6.2, "dog"), (1.1, "dog")]):
        soundfile.write(f"sounds/{number}.wav", sound(seconds, seed=number), 22_050)
        rows.append(f"{number}.wav,test,noise,{label}")
    Path("sounds/manifest.csv").write_text("\n".join(rows))
    shutil.copytree(tiny_bundle.path, "mine")
    add_tiny_sampler(load_bundle(Path("mine")), num_classes=2, optional=True)
    specvq("data", "pack", "sounds", "pack")
    return "pack"


@pytest.fixture
def classifier(specvq):
    network = VGGish(VGGishConfig((4,), (1,), hidden=8, num_classes=2, pooled=(2, 2)))
    save_classifier(Path("classifier"), Classifier(network, torch.zeros(80), torch.ones(80), ("bell", "dog")))
    return "classifier"


def test_evaluate_sampler(specvq, pack):
    arguments = ("evaluate", "sampler", pack, "--weights", "mine", "-n", 2)
    assert "make them: specvq data tokenize pack" in specvq(*arguments, code=2).err
    specvq("data", "tokenize", pack, "--weights", "mine")
    told = specvq(*arguments).out
    assert "2 first halves, 2 continuations of each from half of all indices." in told
    assert "Primed columns that came back identical: 24 of 24." in told
    tables = [line for line in told.splitlines() if line.startswith("|")]
    assert len(tables) == 2 + 6 + 2 + 6  # headings; numbers and four rows; the inner step and five rows
    result = json.loads(specvq(*arguments, "--top-k", 8, "--json").out)
    assert (result["weights"]["name"], result["split"], result["sampling"]["top_k"]) == ("tiny", "test", 8)
    assert [section["domain"] for section in result["likelihood"]] == ["all", "noise"]
    assert result["likelihood"][0]["bits"]["uniform"] == 6.0
    assert len(result["continuations"]["rows"]) == 5
    alone = specvq(*arguments, "--continue", 0)
    assert "first halves" not in alone.out and alone.out.strip() == told.split("\n\n2 first halves")[0]


def test_evaluate_diversity(specvq, pack, classifier):
    arguments = ("evaluate", "diversity", pack, "curves.png", "--classifier", classifier, "--weights", "mine")
    told = specvq(*arguments, "--top-k", "1,64", "--seconds", 0.4)
    assert "3 originals of 0.4 s, 2 samples for each" in told.out
    assert len([line for line in told.out.splitlines() if line.startswith("|")]) == 2 + 2 + 2
    assert Path("curves.png").read_bytes()[:8] == PNG
    assert "use -f" in specvq(*arguments, code=2).err
    result = json.loads(specvq(*arguments, "-f", "--top-k", "2", "-n", 2, "--seconds", 1.2, "--json").out)
    assert result["originals"] == ["0.wav", "1.wav"] and len(result["points"]) == 3
    assert result["points"][2]["top_k"] == 2 and result["points"][2]["name"] == "new, class"


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--top-k", "1,x"), 2, "numbers from 1 on"),
        (("--top-k", "0"), 2, "numbers from 1 on"),
        (("--classifier", "nowhere"), 4, "There is no classifier nowhere"),
        (("--seconds", "20"), 2, "No recording of this split lasts 20 s"),
        (("--seconds", "0"), 2, "Choose other --seconds"),
        (("--split", "valid"), 2, "no recording of the split 'valid'"),
        (("--weights", "plain"), 4, "has no sampler"),
    ],
)
def test_what_cannot_be_measured_says_why(specvq, pack, classifier, tiny_bundle, options, code, reason):
    shutil.copytree(tiny_bundle.path, "plain")
    arguments = ("evaluate", "diversity", pack, "new.png", "--weights", "mine", "--classifier", classifier)
    assert reason in specvq(*arguments, *options, code=code).err
    assert not Path("new.png").exists()


def test_packed_spectrograms_have_bits_and_no_continuations(specvq, pack):
    folder = Path("vas/dog/melspec_10s_22050hz")
    folder.mkdir(parents=True)
    for number in range(2):
        np.save(folder / f"{number}_mel.npy", np.random.default_rng(number).random((80, 860), np.float32))
    specvq("data", "pack", "vas", "mels")
    specvq("data", "tokenize", "mels", "--weights", "mine")
    arguments = ("evaluate", "sampler", "mels", "--weights", "mine", "--split", "valid")
    assert "measure bits per index alone, by --continue 0" in specvq(*arguments, code=2).err
    assert "sampler, class" in specvq(*arguments, "--continue", 0).out


def test_other_pictures_are_refused(specvq, pack, classifier):
    assert ".png" in specvq("evaluate", "diversity", pack, "a.jpg", "--classifier", classifier, code=2).err
    assert "has no sampler" in specvq("evaluate", "sampler", pack, code=4).err
