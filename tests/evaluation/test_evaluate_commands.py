import json
import struct
import subprocess
import sys

import pytest
import soundfile
from packs import write_pack
from tiny import sound, write_tiny_bundle

from specvq_codec.codec import Codec

COMMAND = [sys.executable, "-c", "from specvq_codec.cli import main; main()"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a bundle, a pack, a sound and an .svq file."""
    folder = tmp_path_factory.mktemp("commands")
    bundle = write_tiny_bundle(folder / "tiny")
    write_pack(folder / "pack")
    soundfile.write(folder / "a.wav", sound(0.8), 22_050)
    Codec(bundle, "cpu").encode(folder / "a.wav").save(folder / "a.svq")
    return folder


def run(folder, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


def test_reconstruction_prints_markdown(folder):
    done = run(folder, "evaluate", "reconstruction", "pack", "--weights", "tiny", "--limit", "2")
    assert done.returncode == 0, done.stderr
    tables = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(tables) == 3 * 8  # all, music and sound: heading, rule, six rows
    assert len({line.count("|") for line in tables}) == 1
    assert "2 recordings" in done.stdout


def test_reconstruction_as_json(folder):
    done = run(folder, "evaluate", "reconstruction", "pack", "--weights", "tiny", "--limit", "1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["weights"], result["split"], result["sections"][0]["recordings"]) == ("tiny", "test", 1)


def test_what_is_no_pack_is_refused(folder):
    done = run(folder, "evaluate", "reconstruction", "tiny", "--weights", "tiny")
    assert done.returncode == 2
    assert "specvq data pack" in done.stderr and "Traceback" not in done.stderr


def test_a_picture_of_a_sound_and_its_codes(folder):
    pytest.importorskip("matplotlib")
    done = run(folder, "spectrogram", "a.wav", "both.png", "a.svq", "--weights", "tiny")
    assert done.returncode == 0, done.stderr
    data = (folder / "both.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">2I", data[16:24])
    assert width > height > 400
    again = run(folder, "spectrogram", "a.wav", "both.png")
    assert again.returncode == 2 and "-f" in again.stderr
    assert (folder / "both.png").read_bytes() == data


def test_a_picture_without_matplotlib_says_how_to_get_it(folder):
    without = "import sys; sys.modules['matplotlib'] = None; " + COMMAND[-1]
    done = subprocess.run(
        [sys.executable, "-c", without, "spectrogram", "a.wav", "none.png"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "specvq-codec[eval]" in done.stderr and "Traceback" not in done.stderr
    assert not list(folder.glob("*none*")) and not list(folder.glob(".specvq*"))


def test_pictures_are_png(folder):
    done = run(folder, "spectrogram", "a.wav", "a.jpg")
    assert done.returncode == 2 and ".png" in done.stderr
