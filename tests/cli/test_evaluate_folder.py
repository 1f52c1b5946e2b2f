"""evaluate reconstruction of plain folders of sound: what is measured, and what is left out and why."""

import csv
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from running import environment, run_process
from sound_folders import RATE, write_sounds
from tiny import sound


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"))


def evaluate(bundle, *args):
    done = run_process(bundle, "evaluate", "reconstruction", *args, "--weights", bundle.path)
    assert b"Traceback" not in done.stderr
    return done


def test_a_folder_of_much_that_is_no_sound_gives_a_table_and_a_list(tiny_bundle, folder, tmp_path):
    options = ("--longest", "3", "--vocoder", "griffin-lim", "--json", "--csv", tmp_path / "table.csv")
    done = evaluate(tiny_bundle, folder, *options)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    sections = {section["domain"]: section for section in result["sections"]}
    assert {name: section["recordings"] for name, section in sections.items()} == {
        "all": 5, "birds": 2, "other": 1, "speech": 2
    }  # fmt: skip
    assert sections["all"]["seconds"] == pytest.approx(1.1 + 0.9 + 3.0 + 0.7, abs=0.1)
    assert sections["speech"]["rows"][0]["stoi"] is not None and sections["birds"]["rows"][0]["stoi"] is None
    left_out = {item["path"] for item in result["left_out"]}
    assert left_out == {
        *(f"birds/{name}" for name in ("cut.wav", "empty.flac", "late.flac", "long.flac", "silent.wav", "text.wav"))
    }
    assert all(path in done.stderr.decode() for path in left_out)
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["domain"] for row in rows] == [s["domain"] for s in result["sections"] for _ in s["rows"]]
    for row, wanted in zip(rows, (row for section in result["sections"] for row in section["rows"]), strict=True):
        assert row["name"] == wanted["name"]
        assert row["stft"] == str(wanted["stft"]) and math.isfinite(float(row["stft"]))
    again = evaluate(tiny_bundle, folder, "--csv", tmp_path / "table.csv")
    assert again.returncode == 2 and b"-f" in again.stderr


def test_decoded_files_enter_the_comparison(tiny_bundle, folder, tmp_path):
    shutil.copytree(folder / "speech", tmp_path / "decoded")
    (tmp_path / "decoded/far/away/b.ogg").unlink()
    soundfile.write(tmp_path / "decoded/far/away/b.wav", 0.5 * sound(0.9, 16_000, seed=1), 16_000)
    decoded = ("--decoded", f"same={folder / 'speech'}:6000", "--decoded", f"quieter={tmp_path / 'decoded'}")
    done = evaluate(tiny_bundle, folder / "speech", *decoded, "--speech", "all", "--json")
    assert done.returncode == 0, done.stderr
    sections = json.loads(done.stdout)["sections"]
    assert [section["domain"] for section in sections] == ["all", "far", "other"]
    rows = {row["name"]: row for row in sections[0]["rows"]}
    assert rows["same"]["log_mel_l1"] == 0.0 and rows["same"]["stoi"] == pytest.approx(1.0)
    assert rows["same"]["bits_per_second"] == pytest.approx(6000)
    assert 0.0 < rows["quieter"]["log_mel_l1"] < 0.1 and rows["quieter"]["bits_per_second"] is None


def test_without_a_decoded_file_a_recording_is_left_out(tiny_bundle, folder, tmp_path):
    (tmp_path / "speech").mkdir()
    (tmp_path / "birds").mkdir()
    shutil.copy(folder / "speech/a.wav", tmp_path / "speech")
    soundfile.write(tmp_path / "birds/long.wav", sound(1.0, seed=2), RATE)
    done = evaluate(tiny_bundle, folder, "--decoded", f"lyra={tmp_path}", "--json", "--vocoder", "griffin-lim")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["sections"][0]["recordings"] == 1
    reasons = {item["path"]: item["reason"] for item in result["left_out"]}
    assert "no such file of lyra" in reasons["beside.mp3"] and "lasts 1.00 s" in reasons["birds/long.flac"]


def test_half_of_a_short_recording_has_to_be_there(tiny_bundle, tmp_path):
    (tmp_path / "sounds").mkdir()
    (tmp_path / "decoded").mkdir()
    for name, share in (("all", 1.0), ("most", 0.8), ("little", 0.4)):
        soundfile.write(tmp_path / f"sounds/{name}.wav", sound(0.4), RATE)
        soundfile.write(tmp_path / f"decoded/{name}.wav", sound(0.4)[: round(share * 0.4 * RATE)], RATE)
    options = ("--decoded", f"lyra={tmp_path}/decoded", "--json", "--vocoder", "griffin-lim")
    done = evaluate(tiny_bundle, tmp_path / "sounds", *options)
    result = json.loads(done.stdout)
    assert result["sections"][0]["recordings"] == 2 and len(result["sections"]) == 1
    assert [item["path"] for item in result["left_out"]] == ["little.wav"]


def test_a_sound_folder_may_hold_any_index(tiny_bundle, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(0.3), RATE)
    (tmp_path / "index.json").write_text('{"of": "a web site"}')
    done = evaluate(tiny_bundle, tmp_path, "--json", "--vocoder", "griffin-lim")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sections"][0]["recordings"] == 1


@pytest.mark.parametrize("words, reason", [("lyra", "NAME=FOLDER"), ("lyra=nowhere:3200", "no folder nowhere")])
def test_what_decoded_takes(tiny_bundle, folder, words, reason):
    done = evaluate(tiny_bundle, folder, "--decoded", words)
    assert done.returncode == 2 and reason in done.stderr.decode()


def test_k_means_needs_a_pack(tiny_bundle, folder):
    done = evaluate(tiny_bundle, folder, "--peers", "k-means")
    assert done.returncode == 2 and b"specvq data pack" in done.stderr


def test_nothing_but_silence(tiny_bundle, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), RATE)
    done = evaluate(tiny_bundle, tmp_path)
    assert done.returncode == 2 and b"silent" in done.stderr


def test_a_page_of_everything(tiny_bundle, folder, tmp_path):
    page = tmp_path / "page.html"
    options = ("--vocoder", "griffin-lim", "--longest", "3", "--html", page)
    done = evaluate(tiny_bundle, folder, *options)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    for shown in (
        "tiny (",
        "<h3>birds",
        "<h3>speech",
        "speech/far/away/b.ogg",
        "birds/text.wav",
        "data:audio/flac;base64,",
    ):
        assert shown in text, shown
    assert text.count("<img") == text.count("<audio") == 3 * 3  # a recording a domain: original, tiny, Griffin-Lim
    assert page.stat().st_size < 3_000_000
    again = evaluate(tiny_bundle, folder, *options)
    assert again.returncode == 2 and b"-f" in again.stderr and page.read_text() == text
    assert evaluate(tiny_bundle, folder, *options, "-f", "--examples", "0").returncode == 0
    assert "<img" not in page.read_text()


def test_a_page_needs_matplotlib_before_anything_is_measured(tiny_bundle, folder, tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; from specvq_codec.cli import main; main()"
    command = [sys.executable, "-c", code, "evaluate", "reconstruction", folder, "--html", tmp_path / "page.html"]
    done = subprocess.run(command, capture_output=True, timeout=120, env=environment(tiny_bundle))
    assert done.returncode == 2 and b"specvq-codec[eval]" in done.stderr and not list(tmp_path.iterdir())
