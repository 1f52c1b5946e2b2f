"""From a pack to a bundle with a sampler, by commands alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file
from tiny import sound

from specvq_codec.weights import load_bundle

CONFIG = """
batch_size = 2
classes = true
drop = 0.5
[model]
n_layer = 1
n_head = 2
n_embd = 16
columns = 6
[loop]
steps = 2
log_every = 1
decayed = "linear"
"""


@pytest.fixture
def pack(specvq, tiny_bundle):
    """A pack of four sounds, a configuration, and a copy of the tiny bundle, in the working folder."""
    Path("sounds").mkdir()
    rows = ["path,split,label"]
    for number, (split, label) in enumerate([("train", "dog"), ("train", "rain"), ("valid", "dog"), ("valid", "rain")]):
        soundfile.write(f"sounds/{number}.wav", sound(1.5, seed=number), 22_050)
        rows.append(f"{number}.wav,{split},{label}")
    Path("sounds/manifest.csv").write_text("\n".join(rows))
    Path("tiny.toml").write_text(CONFIG)
    shutil.copytree(tiny_bundle.path, "mine")
    specvq("data", "pack", "sounds", "pack")
    return "pack"


def test_tokenize_train_and_add(specvq, pack):
    told = specvq("data", "tokenize", pack, "--shifts", 2).err
    assert "4 recordings" in told and f"{4 * (8 + 7) * 5} indices" in told
    specvq("train", "sampler", "tiny.toml", "--data", pack, "--out", "run")
    fingerprint = load_bundle(Path("mine")).fingerprint
    assert "bytes of sampler" in specvq("weights", "add-sampler", "mine", "run").err
    assert load_bundle(Path("mine")).fingerprint == fingerprint
    shown = json.loads(specvq("weights", "show", "mine").out)
    assert shown["labels"] == ["dog", "rain"] and shown["sampler"]["num_classes"] == 2
    assert "sampler: intact" in specvq("weights", "verify", "mine").out
    assert "use -f to replace" in specvq("weights", "add-sampler", "mine", "run", code=2).err
    specvq("weights", "add-sampler", "mine", "run", "-f")
    continued = ["continue", "out.svq", "--prime", "sounds/0.wav", "--seconds", 1]
    specvq(*continued, "--class", "dog", "--weights", "mine")
    assert "did you mean dog" in specvq(*continued, "-f", "--class", "dig", "--weights", "mine", code=2).err


def test_a_sampler_is_stored_in_the_precision_that_is_asked_for(specvq, pack):
    specvq("data", "tokenize", pack)
    specvq("train", "sampler", "tiny.toml", "--data", pack, "--out", "run")
    sizes = {}
    for precision in ("float32", "float16", "int8"):
        specvq("weights", "add-sampler", "mine", "run", "-f", "--precision", precision)
        assert load_file("mine/sampler.safetensors")["head.weight"].dtype == np.dtype(precision)
        sizes[precision] = Path("mine/sampler.safetensors").stat().st_size
        assert "sampler: intact" in specvq("weights", "verify", "mine").out
        specvq("generate", "out.svq", "-f", "--seconds", 1, "--weights", "mine")
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]
    assert "not in 'int4'" in specvq("weights", "add-sampler", "mine", "run", "-f", "--precision", "int4", code=2).err


def test_without_tokens_training_says_how_to_make_them(specvq, pack):
    told = specvq("train", "sampler", "tiny.toml", "--data", pack, "--out", "run", code=2).err
    assert "make them: specvq data tokenize pack" in told
    assert not Path("run").exists()


def test_a_run_of_something_else_is_no_sampler(specvq, pack):
    assert "not the run of a sampler" in specvq("weights", "add-sampler", "mine", "sounds", code=2).err
    assert "not a weight bundle" in specvq("weights", "add-sampler", "sounds", "sounds", code=4).err
    assert "is not packed sound" in specvq("data", "tokenize", "sounds", code=2).err
