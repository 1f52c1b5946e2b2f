"""Listing and making bundles by commands."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from specvq_codec.weights import load_bundle

BUILD = ["--data", "pack", "--codebook", "codebook-default", "run", "--vocoder", "vocoder-default", "run"]


@pytest.mark.parametrize(("out", "name"), [(".", "work"), ("../work", "work"), ("new", "new"), ("new/..", "work")])
def test_a_bundle_is_called_as_its_folder(specvq, tiny_bundle, monkeypatch, out, name):
    called = []

    def export(folder, name, *_):
        called.append(name)
        return tiny_bundle

    monkeypatch.setattr("specvq_codec.training.export.export_bundle", export)
    monkeypatch.setattr("specvq_codec.training.data.Pack", lambda *_: SimpleNamespace(clips=[]))
    specvq("weights", "build", out, *BUILD)
    specvq("weights", "build", out, *BUILD, "--name", "other")
    assert called == [name, "other"]


@pytest.mark.parametrize("command", ["build", "import"])
def test_it_is_said_what_is_replaced(specvq, command):
    told = " ".join(re.findall(r"[\w,]+", specvq("weights", command, "--help").out))
    assert "Replace a bundle that is there, with its sampler, prior and features" in told


@pytest.mark.parametrize("command", ["build", "import"])
def test_a_name_is_refused_before_anything_is_done(specvq, command):
    options = BUILD if command == "build" else ["--codebook", "absent.ckpt"]
    assert "without control characters" in specvq("weights", command, "out", *options, "--name", "a\u202eb", code=2).err


def test_a_name_cannot_forge_a_line(specvq, tiny_bundle, monkeypatch):
    shutil.copytree(tiny_bundle.path, "forged")
    settings = json.loads(Path("forged/config.json").read_text())
    for name in ("a\n00000000            trusted", "a\x1b]0;b\x07"):
        Path("forged/config.json").write_text(json.dumps(settings | {"name": name}))
        monkeypatch.setenv("SPECVQ_WEIGHTS", str(Path("forged").resolve()))
        done = specvq("weights", "list")
        assert len(done.out.splitlines()) == 1 and load_bundle(tiny_bundle.path).name in done.out
        assert "damaged (control characters in its name)" in done.err and "\x1b" not in done.err
