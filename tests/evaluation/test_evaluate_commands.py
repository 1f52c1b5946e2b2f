import json
import os
import struct
import subprocess
import sys

import pytest
import soundfile
from packs import write_pack
from programs import write_programs
from tiny import sound, write_tiny_bundle

from specvq_codec.codec import Codec
from specvq_codec.evaluation.pictures import examples
from specvq_codec.training.data import Clip

PNG = b"\x89PNG\r\n\x1a\n"
COMMAND = [sys.executable, "-c", "from specvq_codec.cli import main; main()"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a bundle, a pack, a sound and an .svq file."""
    folder = tmp_path_factory.mktemp("commands")
    bundle = write_tiny_bundle(folder / "tiny")
    write_tiny_bundle(folder / "other", seed=1)
    write_pack(folder / "pack")
    soundfile.write(folder / "a.wav", sound(0.8), 22_050)
    Codec(bundle, "cpu").encode(folder / "a.wav").save(folder / "a.svq")
    return folder


def run(folder, *arguments: str, code: str = COMMAND[-1], path: str = "") -> subprocess.CompletedProcess:
    command = [*COMMAND[:-1], code, *arguments]
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)


def test_reconstruction_prints_markdown(folder):
    done = run(folder, "evaluate", "reconstruction", "pack", "--weights", "tiny", "--limit", "3")
    assert done.returncode == 0, done.stderr
    tables = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(tables) == 4 * 6  # all, music, sound and speech: heading, rule, four rows
    assert len({line.count("|") for line in tables}) == 1
    assert "3 recordings" in done.stdout


def test_bundles_and_codecs_of_others_in_one_table(folder, tmp_path):
    path = str(write_programs(tmp_path / "bin"))
    others = ("--peers", "codec2-700c, opus-6k,k-means", "--vocoder", "griffin-lim")
    weights = ("--weights", "tiny", "--weights", "other")
    done = run(folder, "evaluate", "reconstruction", "pack", *weights, *others, "--limit", "3", "--json", path=path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [bundle["name"] for bundle in result["weights"]] == ["tiny", "other"]
    assert (result["split"], result["sections"][0]["recordings"]) == ("test", 3)
    rows = [row["name"] for row in result["sections"][0]["rows"]]
    assert rows[:2] == ["tiny, griffin-lim", "other, griffin-lim"]
    assert rows[3:5] == ["codec2-700c", "opus-6k"] and len(rows) == 7


def test_absent_codecs_are_named_before_anything_is_measured(folder):
    done = run(folder, "evaluate", "reconstruction", "pack", "--weights", "tiny", "--peers", "codec2-700c")
    assert done.returncode == 2 and done.stdout == ""
    assert "apt-get install codec2" in done.stderr and "Traceback" not in done.stderr


def test_without_pystoi_the_rest_is_measured(folder):
    without = "import sys; sys.modules['pystoi'] = None; " + COMMAND[-1]
    options = ("--weights", "tiny", "--vocoder", "griffin-lim", "--json")
    done = run(folder, "evaluate", "reconstruction", "pack", *options, code=without)
    assert done.returncode == 0 and "specvq-codec[eval]" in done.stderr
    sections = {section["domain"]: section for section in json.loads(done.stdout)["sections"]}
    assert [row["stoi"] for row in sections["speech"]["rows"]] == [None, None]


def test_pictures_of_all_domains_are_small(folder):
    arguments = ("evaluate", "pictures", "pack", "new/pictures", "--weights", "tiny", "--weights", "other")
    done = run(folder, *arguments)
    assert done.returncode == 0, done.stderr
    names = ["music-1.png", "sound-1.png", "speech-1.png"]
    files = sorted((folder / "new" / "pictures").iterdir())
    assert [file.name for file in files] == names
    assert all(file.read_bytes()[:8] == PNG and file.stat().st_size < 150_000 for file in files)
    again = run(folder, *arguments)
    assert again.returncode == 2 and "-f" in again.stderr


def test_examples_are_long_and_from_everywhere():
    clips = [Clip(f"{i}.wav", "test", "a/b" if i % 2 else "c", 0, 1000 if i < 4 else 66_150) for i in range(12)]
    assert {name: clip.path for name, clip in examples(clips, 2).items()} == {
        "a_b-1": "7.wav", "a_b-2": "11.wav", "c-1": "6.wav", "c-2": "10.wav"
    }  # fmt: skip
    assert {name: clip.path for name, clip in examples(clips[:4], 1).items()} == {"a_b-1": "3.wav", "c-1": "2.wav"}


def test_what_is_no_pack_is_refused(folder):
    done = run(folder, "evaluate", "reconstruction", "tiny", "--weights", "tiny")
    assert done.returncode == 2
    assert "specvq data pack" in done.stderr and "Traceback" not in done.stderr


def size_of(picture):
    return struct.unpack(">2I", picture.read_bytes()[16:24])


def test_a_sound_and_its_codes_side_by_side(folder):
    assert run(folder, "spectrogram", "a.wav", "one.png").returncode == 0
    done = run(folder, "spectrogram", "a.wav", "both.png", "a.svq", "--weights", "tiny")
    assert done.returncode == 0, done.stderr
    data = (folder / "both.png").read_bytes()
    assert data[:8] == PNG
    (width, height), (narrow, _) = size_of(folder / "both.png"), size_of(folder / "one.png")
    assert width > 2 * height > 600 and width > narrow
    again = run(folder, "spectrogram", "a.wav", "both.png")
    assert again.returncode == 2 and "-f" in again.stderr
    assert (folder / "both.png").read_bytes() == data


def test_a_picture_without_matplotlib_says_how_to_get_it(folder):
    without = "import sys; sys.modules['matplotlib'] = None; " + COMMAND[-1]
    done = run(folder, "spectrogram", "a.wav", "none.png", code=without)
    assert done.returncode == 2
    assert "specvq-codec[eval]" in done.stderr and "Traceback" not in done.stderr
    assert not list(folder.glob("*none*")) and not list(folder.glob(".specvq*"))


def test_pictures_are_png(folder):
    done = run(folder, "spectrogram", "a.wav", "a.jpg")
    assert done.returncode == 2 and ".png" in done.stderr
