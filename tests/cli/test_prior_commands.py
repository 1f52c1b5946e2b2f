"""From a pack to a bundle with a prior and to smaller files, by commands alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny import sound

from specvq_codec.weights import load_bundle

CONFIG = """
batch_size = 2
columns = 6
[model]
depth = 3
width = 8
layers = 1
hidden = 8
output = 4
[loop]
steps = 20
learning_rate = 0.01
log_every = 10
decayed = "linear"
"""


@pytest.fixture
def pack(specvq, tiny_bundle):
    """A pack of four sounds, a configuration, and a copy of the tiny bundle, in the working folder."""
    Path("sounds").mkdir()
    rows = ["path,split"]
    for number, split in enumerate(["train", "train", "valid", "valid"]):
        soundfile.write(f"sounds/{number}.wav", sound(1.5, seed=number), 22_050)
        rows.append(f"{number}.wav,{split}")
    Path("sounds/manifest.csv").write_text("\n".join(rows))
    Path("tiny.toml").write_text(CONFIG)
    shutil.copytree(tiny_bundle.path, "mine")
    specvq("data", "pack", "sounds", "pack")
    specvq("data", "tokenize", "pack", "--weights", "mine")
    return "pack"


def test_train_add_and_encode(specvq, pack):
    specvq("train", "prior", "tiny.toml", "--data", pack, "--out", "run", "--weights", "mine")
    before = load_bundle(Path("mine"))
    specvq("encode", "sounds/0.wav", "before.svq", "--weights", "mine")
    assert (
        "no prior for learned coding"
        in specvq("encode", "sounds/0.wav", "none.svq", "--weights", "mine", "--entropy", "learned", code=2).err
    )
    assert not Path("none.svq").exists()
    mark = specvq("weights", "add-prior", "mine", "run").err.split()[-1]
    after = load_bundle(Path("mine"))
    assert after.fingerprint == before.fingerprint
    assert json.loads(specvq("weights", "show", "mine").out)["prior"] == after.prior.hex()
    assert f"files in learned coding name {mark}" in specvq("weights", "verify", "mine").out
    assert "use -f to replace" in specvq("weights", "add-prior", "mine", "run", code=2).err
    specvq("weights", "add-prior", "mine", "run", "-f")

    specvq("encode", "sounds/0.wav", "learned.svq", "--weights", "mine", "--entropy", "learned")
    told = json.loads(specvq("info", "learned.svq", "--json").out)
    assert told["entropy"] == "learned" and told["weights"] == mark and told["intact"]
    for name in ("learned", "before"):  # files from before there was a prior remain readable
        specvq("decode", f"{name}.svq", f"{name}.wav", "--weights", "mine")
    assert np.array_equal(*(soundfile.read(f"{name}.wav")[0] for name in ("learned", "before")))


def test_learned_files_need_their_prior(specvq, pack, monkeypatch, tiny_bundle):
    specvq("train", "prior", "tiny.toml", "--data", pack, "--out", "run", "--weights", "mine")
    mark = specvq("weights", "add-prior", "mine", "run").err.split()[-1]
    specvq("encode", "sounds/0.wav", "a.svq", "--weights", "mine", "--entropy", "learned")
    told = specvq("decode", "a.svq", "a.wav", "--weights", tiny_bundle.path, code=4).err
    assert f"and the prior {mark}, and these are {tiny_bundle.fingerprint.hex()[:8]} without a prior" in told
    assert mark in specvq("decode", "a.svq", "a.wav", code=4).err  # not installed
    monkeypatch.setenv("SPECVQ_WEIGHTS", str(Path("mine").resolve()))
    listed = specvq("weights", "list").out
    assert mark in listed
    specvq("decode", "a.svq", "a.wav")
    assert json.loads(specvq("info", "a.svq", "--json").out)["weights_name"] == load_bundle(Path("mine")).name


def test_a_damaged_prior_is_told(specvq, pack):
    specvq("train", "prior", "tiny.toml", "--data", pack, "--out", "run", "--weights", "mine")
    specvq("weights", "add-prior", "mine", "run")
    path = Path("mine/prior.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "prior in mine is not what its config.json says" in specvq("weights", "verify", "mine", code=4).err
    path.write_bytes(data[:-9])
    assert "damaged" in specvq("encode", "sounds/0.wav", "a.svq", "--weights", "mine", code=4).err
    assert "not the run of a prior" in specvq("weights", "add-prior", "mine", "sounds", "-f", code=2).err
