"""evaluate generation, on a pack made by commands, in one process and in two."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from running import environment, run_process
from sampler_cases import add_tiny_sampler
from tiny import sound

from specvq_codec.classifiers import Classifier, save_classifier
from specvq_codec.models.vggishish import VGGish, VGGishConfig
from specvq_codec.weights import load_bundle

ARGUMENTS = ("evaluate", "generation", "pack", "--classifier", "classifier", "--weights", "mine", "--top-k", "4,64")


@pytest.fixture
def pack(specvq, tiny_bundle, monkeypatch, tmp_path):
    """A pack of four sounds, a bundle with a sampler of two classes, and a classifier, in the working folder."""
    Path("sounds").mkdir()
    rows = ["path,split,domain,label"]
    for number, (seconds, label) in enumerate([(1.1, "bell"), (1.2, "dog"), (0.5, "dog"), (1.0, "dog")]):
        soundfile.write(f"sounds/{number}.wav", sound(seconds, seed=number), 22_050)
        rows.append(f"{number}.wav,test,noise,{label}")
    Path("sounds/manifest.csv").write_text("\n".join(rows))
    shutil.copytree(tiny_bundle.path, "mine")
    add_tiny_sampler(load_bundle(Path("mine")), num_classes=2, optional=True)
    specvq("data", "pack", "sounds", "pack")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VGGish(VGGishConfig((4,), (1,), hidden=8, num_classes=2, pooled=(2, 2)))
    save_classifier(Path("classifier"), Classifier(network, torch.zeros(80), torch.ones(80), ("bell", "dog")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_tables_json_and_csv(specvq, pack, tmp_path):
    told = specvq(*ARGUMENTS, "--csv", "rows.csv").out
    assert told.startswith("tiny (") and "test split: 3 originals, 2 samples for each" in told
    tables = [line for line in told.splitlines() if line.startswith("|")]
    assert len(tables) == 2 + 7 + 2 + 2  # headings; three rows of originals, four of samples; MKL of two classes
    assert "FID by class" not in told and told.count("top-64") == 2
    assert len(os.listdir(tmp_path / "cache" / "specvq-codec" / "verdicts")) == 2 * 3  # originals, and what is decoded
    result = json.loads(specvq(*ARGUMENTS, "--json", "--cache", "kept").out)
    assert len(os.listdir("kept")) == 6
    assert (result["split"], result["originals"]) == ("test", ["0.wav", "1.wav", "3.wav"])
    assert [section["label"] for section in result["sections"]] == ["all", "bell", "dog"]
    lines = list(csv.DictReader(Path("rows.csv").open(encoding="utf-8")))
    rows = [(section, row) for section in result["sections"] for row in section["rows"]]
    assert len(lines) == len(rows) == 21
    for line, (section, row) in zip(lines, rows, strict=True):
        assert (line["class"], line["originals"], line["name"]) == (
            section["label"],
            str(section["originals"]),
            row["name"],
        )
        mkl = row["scores"]["mkl"]
        assert line["mkl"] == ("" if mkl is None else str(mkl))
    assert "use -f" in specvq(*ARGUMENTS, "--csv", "rows.csv", code=2).err


def test_recordings_of_unknown_classes_are_counted(specvq, pack):
    assert "knows" not in specvq(*ARGUMENTS).err
    index = Path("pack/index.json")
    index.write_text(index.read_text().replace('"bell"', '"gong"'))
    told = "1 of 3 recordings are of no class that the sampler of tiny knows"
    assert told in specvq(*ARGUMENTS).err
    assert "knows" not in specvq(*ARGUMENTS, "--no-class").err


def test_two_processes_give_what_one_gives(specvq, pack, tiny_bundle):
    alone = run_process(tiny_bundle, *ARGUMENTS, "--json", "-n", 3, "--seed", 5)  # with as many threads as each of two
    expected = alone.stdout.decode()
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--standalone",
        "-m",
        "specvq_codec",
    ]
    options = {"capture_output": True, "text": True, "timeout": 300, "env": environment(tiny_bundle)}
    done = subprocess.run([*command, *ARGUMENTS, "--json", "-n", "3", "--seed", "5"], **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected
    assert json.loads(expected)["sections"][0]["rows"][3]["sounds"] == 9


def test_what_is_told_can_be_chosen(specvq, pack):
    shutil.copytree("mine", "seeing")
    add_tiny_sampler(load_bundle(Path("seeing")))
    result = json.loads(specvq(*ARGUMENTS, "--class", "--limit", 2, "-n", 1, "--json").out)
    assert [row["condition"] for row in result["sections"][0]["rows"][3:]] == ["class", "class"]
    arguments = ("--weights", "seeing", "--no-class", "--features", "0", "--limit", 2, "-n", 1, "--json")
    result = json.loads(specvq(*ARGUMENTS, *arguments).out)
    assert [row["condition"] for row in result["sections"][0]["rows"][3:]] == ["no condition"] * 4
    assert len(result["weights"]) == 2


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--top-k", "1,x"), 2, "--top-k takes numbers from 1 on, by commas, such as 64,256,1024"),
        (("--features", "-1"), 2, "--features takes numbers from 0 on"),
        (
            ("--features", "5"),
            2,
            "told of 5 features: with this pack, these weights can be told class, or no condition",
        ),
        (("--classifier", "nowhere"), 4, "There is no classifier nowhere"),
        (("--split", "valid"), 2, "no recording of the split 'valid'"),
        (("--weights", "plain"), 4, "has no sampler"),
        (("--cache", "classifier"), 2, "choose another with --cache"),
        (("--csv", "no/rows.csv"), 2, "no folder no"),
    ],
)
def test_what_cannot_be_measured_says_why(specvq, pack, tiny_bundle, options, code, reason):
    shutil.copytree(tiny_bundle.path, "plain")
    outcome = specvq(*ARGUMENTS, *options, code=code)
    assert reason in outcome.err and outcome.out == ""
