"""Whatever a user does wrong is one sentence that says what to do, and an exit code: 2 usage, 3 input, 4 weights."""

import os
import shutil
from pathlib import Path

import pytest
from running import files_below


@pytest.fixture
def place(specvq, recording, encoded, tiny_bundle):
    """A folder with a sound, an encoded sound, and some that are neither."""
    shutil.copy(recording, "in.wav")
    Path("text.txt").write_text("text")
    Path("empty.svq").touch()
    Path("wrong.svq").write_text("no sound, and no codes")
    Path("bad.wav").write_bytes(recording.read_bytes()[:1000])
    Path("folder").mkdir()
    shutil.copytree(tiny_bundle.path, "broken")
    Path("broken/codebook.safetensors").write_bytes(b"broken")
    return specvq


ENCODE = ["encode", "in.wav", "out.svq"]
DECODE = ["decode", "in.svq", "out.wav"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        # arguments
        ([*ENCODE, "--entropy", "zip"], 2, "no entropy coding 'zip': use one of auto, fixed, static"),
        ([*ENCODE, "--device", "abacus"], 2, "There is no device 'abacus': use auto, cpu, cuda or mps"),
        ([*ENCODE, "--device", "cuda:99"], 2, "device 'cuda:99' cannot be used here"),
        ([*DECODE, "--vocoder", "wavenet"], 2, "no vocoder 'wavenet': use one of auto, melgan, griffin-lim"),
        *(
            ([*DECODE, "--rate", rate], 2, f"--rate is 'original' or a number of Hz from 8000 to 192000, not '{rate}'")
            for rate in ("7999", "192001", "0", "-1", "fast", "9e3", "9" * 5000, "\u0664\u0664\u0661\u0660\u0660")
        ),
        (["encode", "in.wav"], 2, "Missing argument"),
        (["encode", "in.wav", "a.svq", "b.svq"], 2, "unexpected extra argument"),
        ([*ENCODE, "--speed"], 2, "No such option"),
        (["transmogrify"], 2, "No such command"),
        # what is to be read
        (["encode", "absent.wav", "out.svq"], 3, "There is no file absent.wav"),
        (["decode", "absent.svq", "out.wav"], 3, "There is no file absent.svq: check the path"),
        (["info", "absent.svq"], 3, "absent.svq cannot be read"),
        (["info", "folder"], 3, "folder cannot be read (is a directory)"),
        (["encode", "text.txt", "out.svq"], 3, "text.txt is not a sound file"),
        (["encode", "bad.wav", "out.svq"], 3, "bad.wav is cut short"),
        (["encode", "in.svq", "out.svq"], 3, "in.svq is the name of an encoded sound: specvq decode decodes it"),
        (["decode", "in.wav", "out.wav"], 3, "in.wav is the name of a sound, and decode reads .svq files"),
        (["decode", "text.txt", "out.wav"], 3, "not an .svq file"),
        (["decode", "wrong.svq", "out.wav"], 3, "not an .svq file"),
        (["decode", "wrong.svq", "out.wav", "--lenient"], 3, "not an .svq file"),
        (["decode", "empty.svq", "out.wav"], 3, "not an .svq file"),
        (["info", "in.wav"], 3, "not an .svq file"),
        (["encode", "folder", "out"], 3, "file below folder"),
        (["decode", "folder", "out"], 3, "There is no .svq file below folder"),
        # where it is to be written
        (["encode", "in.wav", "absent/out.svq"], 2, "There is no folder absent: create it first"),
        (["decode", "in.svq", "absent/out.wav"], 2, "There is no folder absent: create it first"),
        (["encode", "in.wav", "folder"], 2, "folder is a folder: name a file in it"),
        (["encode", ".", "out", "-f", "--skip-existing"], 2, "leave out one of them"),
        (["encode", "in.wav", "out.svq", "--skip-existing"], 2, "--skip-existing is for folders"),
        (["decode", "absent/", "out/"], 3, "There is no file absent/: check the path"),
        (["encode", "in.wav", "absent/"], 2, "absent/ is the name of a folder, and there is none: name a file"),
        (["encode", "in.wav", "a" * 300], 2, "cannot be written (file name too long)"),
        (["encode", "./-", "out.svq"], 3, "There is no file"),
        ([*ENCODE, "--device", "hpu"], 2, "The device 'hpu' cannot be used here"),
        (["encode", "in.wav", "text.txt/out.svq"], 2, "There is no folder text.txt"),
        (["encode", "in.wav", "text.txt"], 2, "text.txt exists already"),
        (["encode", "in.wav", "in.wav", "-f"], 2, "in.wav is the name of a sound"),
        (["encode", "text.txt", "text.txt", "-f"], 2, "would be written over what is read"),
        (["decode", "in.svq", "in.svq", "-f"], 2, "would be written over what is read"),
        (["decode", "in.svq", "out.xyz"], 2, "out.xyz does not end in the suffix of a sound file"),
        (["decode", "in.svq", "out"], 2, "out does not end in the suffix of a sound file"),
        (["decode", "in.svq", "out.mp3", "--rate", "96000"], 2, "out.mp3 cannot be written at 96000 Hz"),
        (["encode", ".", "text.txt"], 2, "text.txt is a file, and . a folder"),
        (["encode", ".", "-"], 2, "A folder needs a folder to write to"),
        (["encode", "in.wav", "-", "--json"], 2, "cannot both go to the standard output"),
        # weights
        ([*ENCODE, "--weights", "absent"], 4, "There is no weight bundle absent"),
        ([*DECODE, "--weights", "absent"], 4, "There is no weight bundle absent"),
        ([*ENCODE, "--weights", "folder"], 4, "folder is not a weight bundle (it has no config.json)"),
        ([*ENCODE, "--weights", "text.txt"], 4, "text.txt is a file, and a weight bundle is a folder"),
        ([*ENCODE, "--weights", "broken"], 4, "codebook.safetensors is damaged"),
        ([*DECODE, "--weights", "broken"], 4, "codebook.safetensors is damaged"),
        (["weights", "verify", "broken"], 4, "codebook.safetensors is damaged"),
        (["weights", "show", "absent"], 4, "There is no weight bundle absent"),
        # training
        (["data", "pack", "absent", "out"], 2, "There is no folder absent"),
        (["data", "pack", "broken", "out"], 2, "No recording below broken could be read"),
        (["train", "codebook", "absent", "--data", "folder", "--out", "run"], 2, "There is no configuration absent"),
        (["train", "codebook", "codebook-default", "--data", ".", "--out", "run"], 2, ". is not packed sound"),
        (["train", "vocoder", "codebook-default", "--data", ".", "--out", "run"], 2, "unknown setting"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_mistakes(place, args, code, message):
    before = {name: Path(name).read_bytes() for name in files_below(Path())}
    done = place(*args, code=code)
    assert message in " ".join(done.err.replace("\u2502", " ").split())
    assert done.out == ""
    assert {name: Path(name).read_bytes() for name in files_below(Path())} == before


def test_weights_that_are_not_installed_are_named(place, no_weights, tiny_bundle):
    assert "This copy of specvq-codec has no weights of its own: name a bundle" in place(*ENCODE, code=4).err
    done = place(*DECODE, code=4)
    assert f"needs the weights {tiny_bundle.fingerprint.hex()[:8]}, which are not installed" in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission(place):
    Path("folder").chmod(0o500)
    assert "cannot be written to" in place("encode", "in.wav", "folder/out.svq", code=2).err
    assert "cannot be made" in place("encode", ".", "folder/deep", code=3).err


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_folder_that_cannot_be_made_for_one_file_is_told_for_each(place, command):
    Path("codes").mkdir()
    Path("codes/in.svq").write_bytes(Path("in.svq").read_bytes())
    Path("sounds").mkdir()
    shutil.copy("in.wav", "sounds/in.wav")
    source = {"encode": "sounds", "decode": "codes"}[command]
    done = place(command, source, "text.txt/out", code=2)
    assert "The folder text.txt/out cannot be made (not a directory)" in done.err


def test_a_full_disk_is_told(place, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    done = place("encode", "in.wav", "out.svq", code=3)
    assert "out.svq could not be written (no space left on device)" in done.err
    monkeypatch.undo()
    assert not Path("out.svq").exists()


def test_other_failures_of_the_machine_are_told(place, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", "somewhere")

    monkeypatch.setattr("specvq_codec.codec.Codec.from_pretrained", refuse)
    assert place(*ENCODE, code=3).err == "specvq: somewhere: permission denied.\n"


def test_warnings_are_one_line(place, monkeypatch):
    Path("broken/config.json").write_text("{}")
    monkeypatch.setenv("SPECVQ_WEIGHTS", "broken")
    done = place("weights", "list")
    warning = next(line for line in done.err.splitlines() if "warning" in line)
    assert warning.startswith("specvq: warning: broken/config.json is damaged")


def test_weights_commands(place, tiny_bundle, recording):
    mark = tiny_bundle.fingerprint.hex()
    assert place("weights", "list").out.split()[:2] == [mark[:8], "tiny"]
    assert place("weights", "verify", "tiny").out == f"tiny: intact, {mark}\n"
    assert '"codebook_size": 64' in place("weights", "show", "tiny").out
