"""specvq continue."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from running import files_below
from sampler_cases import FEATURES, add_tiny_sampler
from tiny import sound

from specvq_codec import Codec, Codes
from specvq_codec.weights import load_bundle


@pytest.fixture
def place(specvq, recording, encoded, sampler_bundle, monkeypatch):
    """A folder with a sound of 1.2 s and its codes; the default bundle has a sampler."""
    monkeypatch.setattr("specvq_codec.weights.places.DEFAULT", sampler_bundle.path)
    shutil.copy(recording, "in.wav")
    return specvq


def test_sound_to_sound_and_codes(place, sampler_bundle):
    done = place("continue", "--prime", "in.wav", "out.wav", "--seconds", "2")
    assert done.out == "" and "in.wav -> out.wav: 1.20 s continued to 3.20 s" in done.err
    samples, rate = soundfile.read("out.wav")
    assert (rate, len(samples)) == (22_050, 70_560)
    place("continue", "--prime", "in.wav", "out.svq", "--seconds", "2")
    place("continue", "--prime", "in.svq", "again.svq", "--seconds", "2")
    assert Path("again.svq").read_bytes() == Path("out.svq").read_bytes()
    codec = Codec(sampler_bundle, "cpu")
    assert Codes.load("out.svq", sampler_bundle) == codec.continue_codes(codec.encode("in.wav"), 2.0)
    assert np.abs(samples - codec.decode("out.svq")).max() <= 1 / 2**15


def test_several_at_once(place, sampler_bundle):
    done = place("continue", "--prime", "in.svq", "out.svq", "--seconds", "1", "-n", "3", "--seed", "7", "--json")
    assert json.loads(done.out)["outputs"] == ["out-1.svq", "out-2.svq", "out-3.svq"]
    place("continue", "--prime", "in.svq", "single.svq", "--seconds", "1", "--seed", "7")
    contents = [Path(f"out-{i}.svq").read_bytes() for i in (1, 2, 3)]
    assert contents[0] == Path("single.svq").read_bytes() and len(set(contents)) == 3


def test_only_the_beginning(place, sampler_bundle):
    options = ("--seconds", "1", "--prime-seconds", "0.6", "--json")
    found = json.loads(place("continue", "--prime", "in.svq", "out.svq", *options).out)
    assert found["prime_seconds"] == 0.6 and found["seconds"] == 1.6
    codes = Codes.load("in.svq", sampler_bundle)
    assert np.array_equal(Codes.load("out.svq", sampler_bundle).indices[:3], codes.indices[:3])


def test_options(place):
    contents = []
    for options in ([], ["--top-k", "2"], ["--temperature", "3"], ["--nucleus", "0.1"], ["--seed", "1"]):
        place("continue", "--prime", "in.svq", "out.svq", "--seconds", "2", "-f", *options)
        contents.append(Path("out.svq").read_bytes())
    assert len(set(contents)) == 5


def test_conditions(place, tiny_bundle):
    add_tiny_sampler(load_bundle(shutil.copytree(tiny_bundle.path, Path("both"))), **FEATURES, num_classes=5)
    np.save("rgb.npy", np.ones((215, 4), np.float32))
    np.save("flow.npy", np.ones((214, 3), np.float32))
    command = ["continue", "--prime", "in.svq", "out.svq", "--seconds", "1", "--weights", "both"]
    streams = ["--features", "rgb.npy", "--features", "flow.npy"]
    place(*command, "--class", "dog", *streams)
    for options, code, message in [
        (["--class", "dog"], 2, "needs features of 7 numbers"),
        (streams, 2, "needs a class: give one of 5, such as bell"),
        (["--class", "dgo", *streams], 2, "no class 'dgo': did you mean dog?"),
        (["--class", "dog", *streams[:2]], 2, "have 4 numbers a frame, and the sampler takes 7"),
        (["--class", "dog", "--features", "absent.npy"], 3, "absent.npy cannot be read"),
        (["--class", "dog", "--features", "in.wav"], 3, "in.wav holds no features"),
    ]:
        assert message in place(*command, "-f", *options, code=code).err


CONTINUE = ["continue", "--prime", "in.svq", "out.wav", "--seconds", "1"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (
            ["continue", "--prime", "in.svq", "out.wav", "--seconds", "0"],
            2,
            "--seconds must be a number above 0, not 0",
        ),
        (
            ["continue", "--prime", "in.svq", "out.wav", "--seconds", "nan"],
            2,
            "--seconds must be a number above 0, not nan",
        ),
        (["continue", "--prime", "in.svq", "out.wav", "--seconds", "1e9"], 2, "25 hours"),
        (["continue", "--prime", "in.svq", "out.wav", "--seconds", "1e308"], 2, "not by 1e+308 s"),
        (["continue", "--prime", "in.svq", "out.wav"], 2, "Missing option"),
        (["continue", "out.wav", "--seconds", "1"], 2, "Missing option"),
        ([*CONTINUE, "--prime-seconds", "0"], 2, "--prime-seconds must be above 0"),
        ([*CONTINUE, "--prime-seconds", "0.1"], 2, "lasts 0.100 s, and at least one column"),
        (
            ["continue", "--prime", "short.wav", "out.wav", "--seconds", "1"],
            2,
            "lasts 0.180 s, and at least one column",
        ),
        ([*CONTINUE, "--top-k", "0"], 2, "top-k must be at least 1"),
        ([*CONTINUE, "--temperature", "0"], 2, "temperature must be above 0"),
        ([*CONTINUE, "--nucleus", "2"], 2, "nucleus must be above 0"),
        ([*CONTINUE, "--seed", "-1"], 2, "seed must not be negative"),
        ([*CONTINUE, "-n", "0"], 2, "0 is not in the range"),
        ([*CONTINUE, "--class", "dog"], 2, "knows no classes"),
        ([*CONTINUE, "--vocoder", "wavenet"], 2, "no vocoder 'wavenet'"),
        (["continue", "--prime", "in.svq", "out.xyz", "--seconds", "1"], 2, "suffix of a sound file"),
        (["continue", "--prime", "in.svq", "there.wav", "--seconds", "1"], 2, "there.wav exists already: use -f"),
        (["continue", "--prime", "in.svq", "there.wav", "--seconds", "1", "-n", "2"], 2, "there-2.wav exists already"),
        (["continue", "--prime", "in.svq", "in.svq", "--seconds", "1", "-f"], 2, "written over what is read"),
        (["continue", "--prime", "in.svq", "absent/out.wav", "--seconds", "1"], 2, "There is no folder absent"),
        (["continue", "--prime", "in.svq", "-", "--seconds", "1", "-n", "2"], 2, "standard output takes one"),
        (["continue", "--prime", "absent.wav", "out.wav", "--seconds", "1"], 3, "no file absent.wav"),
        (["continue", "--prime", "absent.svq", "out.wav", "--seconds", "1"], 3, "absent.svq cannot be read"),
        (["continue", "--prime", "text.txt", "out.wav", "--seconds", "1"], 3, "text.txt is not a sound file"),
        (["continue", "--prime", "bad.svq", "out.wav", "--seconds", "1"], 3, "not an .svq file"),
        ([*CONTINUE, "--weights", "absent"], 4, "no weight bundle absent"),
    ],
)
def test_errors(place, args, code, message):
    Path("text.txt").write_text("text")
    Path("bad.svq").write_text("no codes at all, and longer than a header")
    for name in ("there.wav", "there-2.wav"):
        Path(name).write_text("precious")
    soundfile.write("short.wav", sound(0.18), 22_050)
    before = files_below(Path())
    assert message in " ".join(place(*args, code=code).err.replace("│", " ").split())
    assert files_below(Path()) == before and Path("there.wav").read_text() == "precious"


def test_weights_without_a_sampler(specvq, recording, encoded):
    for prime in (recording, encoded):
        done = specvq("continue", "--prime", prime, "out.wav", "--seconds", "1", code=4)
        assert "The bundle tiny has no sampler" in done.err and not os.path.exists("out.wav")
