"""specvq generate."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sampler_cases import FEATURES, add_tiny_sampler

from specvq_codec import Codec, Codes, UsageError, WeightsError
from specvq_codec.continuation import inventions
from specvq_codec.sampling import Sampling
from specvq_codec.weights import load_bundle


@pytest.fixture
def place(specvq, sampler_bundle, monkeypatch):
    """An empty folder; the default bundle has a sampler."""
    monkeypatch.setattr("specvq_codec.weights.places.DEFAULT", sampler_bundle.path)
    return specvq


@pytest.fixture
def classes(place, tiny_bundle):
    """A bundle whose sampler may be told a class and features."""
    return add_tiny_sampler(
        load_bundle(shutil.copytree(tiny_bundle.path, Path("classes"))), **FEATURES, num_classes=5, optional=True
    )


def test_a_sound_from_nothing(place, sampler_bundle):
    done = place("generate", "out.wav", "--seconds", "1.5")
    assert done.out == "" and "out.wav: 1.50 s, sampled in" in done.err
    samples, rate = soundfile.read("out.wav")
    assert (rate, len(samples)) == (22_050, 33_075)
    place("generate", "out.svq", "--seconds", "1.5")
    codec = Codec(sampler_bundle, "cpu")
    assert Codes.load("out.svq", sampler_bundle) == codec.invent_codes(1.5)
    assert len(np.unique(codec.invent_codes(1.5).indices)) > 1
    assert codec.invent_codes(3.0, seed=1) != codec.invent_codes(3.0)
    assert place("generate", "long.svq").err.startswith("long.svq: 10.00 s")  # longer than the sampler's window


def test_several_at_once(place):
    done = place("generate", "out.svq", "--seconds", "1", "-n", "2", "--seed", "7", "--json")
    about = json.loads(done.out)
    assert (about["outputs"], about["seconds"], about["seed"]) == (["out-1.svq", "out-2.svq"], 1.0, 7)
    place("generate", "single.svq", "--seconds", "1", "--seed", "7")
    contents = [Path(name).read_bytes() for name in ("single.svq", "out-1.svq", "out-2.svq")]
    assert contents[0] == contents[1] != contents[2]


def test_for_a_class_and_features(place, classes):
    np.save("video.npy", np.ones((215, 7), np.float32))
    command = ["generate", "out.svq", "--seconds", "2", "--weights", "classes", "-f"]
    contents = []
    for options in ([], ["--class", "dog"], ["--class", "rain"], ["--features", "video.npy"], ["--top-k", "2"]):
        place(*command, *options)
        contents.append(Path("out.svq").read_bytes())
    assert len(set(contents)) == 5
    assert "no class 'ran': did you mean rain?" in place(*command, "--class", "ran", code=2).err
    assert "absent.npy cannot be read" in place(*command, "--features", "absent.npy", code=3).err


def test_precisions(place, sampler_bundle):
    command = ["generate", "out.svq", "--temperature", "4", "-f", "--precision"]
    for name in ("float32", "bfloat16"):
        place(*command, name)
        codec = Codec(sampler_bundle, "cpu", sampler_precision=name)
        assert Codes.load("out.svq", sampler_bundle) == codec.invent_codes(10.0, temperature=4.0)
    assert "no precision 'int4'" in place(*command, "int4", code=2).err


def test_bad_input(place, tiny_bundle):
    assert "This sampler knows no classes" in place("generate", "out.wav", "--class", "dog", code=2).err
    for seconds in ("0", "-1", "nan", "inf"):
        told = place("generate", "out.wav", f"--seconds={seconds}", code=2).err
        assert "--seconds must be a number above 0" in told
    assert "and 1e+308 s is not" in place("generate", "out.wav", "--seconds", "1e308", code=2).err
    told = place("generate", "out.wav", "--video-weights", "absent.pth", code=2).err
    assert "--video-weights is for the features of a video" in told
    assert "has no sampler" in place("generate", "out.wav", "--weights", tiny_bundle.path, code=4).err
    Path("out.wav").write_bytes(b"")
    assert "use -f" in place("generate", "out.wav", code=2).err
    assert Path("out.wav").read_bytes() == b""


def test_bad_arguments(sampler_bundle, tiny_bundle):
    codec = Codec(sampler_bundle, "cpu")
    with pytest.raises(UsageError, match="longer than 0 s"):
        inventions(codec, 1e-6, 1, Sampling())
    with pytest.raises(UsageError, match="at least 1"):
        inventions(codec, 1.0, 0, Sampling())
    with pytest.raises(WeightsError, match="has no sampler"):
        inventions(Codec(tiny_bundle, "cpu"), 1.0, 1, Sampling())
