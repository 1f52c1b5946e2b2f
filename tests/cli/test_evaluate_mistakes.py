"""evaluate: what users get wrong, and names that look like something else."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import soundfile
from running import run_process
from tiny import sound, write_tiny_bundle

from specvq_codec import UsageError
from specvq_codec.evaluation.columns import COLUMNS
from specvq_codec.evaluation.reconstruction import Row
from specvq_codec.files import check_output, check_outputs

RATE = 22_050
ARGUMENTS = ("evaluate", "reconstruction", "sounds", "--vocoder", "griffin-lim")


@pytest.fixture
def sounds(specvq):
    """Two domains, in the working folder."""
    for number, domain in enumerate(("birds", "talk")):
        Path("sounds", domain).mkdir(parents=True)
        soundfile.write(f"sounds/{domain}/a.wav", sound(1.0, seed=number), RATE)


@pytest.mark.parametrize(
    "options, reason",
    [
        (["--speech", "talk,bird"], "'bird', which is no domain: these are there: birds, talk; or say all"),
        (["--longest", "nan"], "from 1 to 86400, and not nan"),
        (["--longest", "inf"], "from 1 to 86400, and not inf"),
        (["--longest", "0.5"], "from 1 to 86400, and not 0.5"),
        (["--decoded", "lyra=sounds:0"], "bits per second above 0"),
        (["--decoded", "lyra=sounds:" + 400 * "9"], "bits per second above 0"),
        (["--decoded", "lyra=sounds", "--decoded", "lyra=sounds:3200"], "Two rows would be called 'lyra'"),
        (["--weights", "tiny", "--weights", "tiny"], "is a bundle that was named before"),
        (["--csv", "same", "--html", "./same"], "same would be written twice"),
        (["--csv", "-"], "name a file instead of -"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(specvq, sounds, options, reason):
    assert reason in specvq(*ARGUMENTS, *options, code=2).err
    assert os.listdir() == ["sounds"]


def test_without_domains_speech_can_only_be_all(specvq, sounds):
    assert (
        "there are no domains here; or say all"
        in specvq("evaluate", "reconstruction", "sounds/talk", "--speech", "talk", code=2).err
    )


@pytest.mark.parametrize("speech, domains", [("talk", ["talk"]), ("all", ["birds", "talk"]), ("", []), (None, [])])
def test_speech_is_what_is_named(specvq, sounds, speech, domains):
    options = [] if speech is None else ["--speech", speech]
    sections = json.loads(specvq(*ARGUMENTS, *options, "--json").out)["sections"]
    assert [one["domain"] for one in sections[1:] if one["rows"][0]["stoi"] is not None] == domains


def test_a_file_that_could_belong_to_two_recordings(specvq, sounds):
    shutil.copytree("sounds", "decoded")
    soundfile.write("sounds/talk/a.flac", sound(1.0), RATE)
    assert "name it a.wav.wav or a.flac.wav" in specvq(*ARGUMENTS, "--decoded", "lyra=decoded", code=2).err
    soundfile.write("decoded/talk/a.flac.wav", sound(1.0), RATE)
    rows = json.loads(specvq(*ARGUMENTS, "--decoded", "lyra=decoded", "--json").out)["sections"][0]["rows"]
    assert rows[-1]["name"] == "lyra" and rows[-1]["log_mel_l1"] < 1e-3


def test_names_are_no_markup_and_lines_are_whole(specvq, sounds):
    label = "[bold]lyra[/bold] " + 300 * "x"
    lines = specvq(*ARGUMENTS, "--decoded", f"{label}=sounds:3200").out.splitlines()
    assert [line for line in lines if line.startswith(f"| {label} ")]


def test_bundles_of_one_name_and_fingerprint_have_rows_of_their_own(specvq, sounds):
    for folder in ("one/tiny", "two/tiny"):
        write_tiny_bundle(Path(folder))
    result = json.loads(specvq(*ARGUMENTS, "--weights", "one/tiny", "--weights", "two/tiny", "--json").out)
    names = [row["name"] for row in result["sections"][0]["rows"]]
    assert len(set(names)) == len(names) == 3 and "(one/tiny)" in names[0] and "(two/tiny)" in names[1]


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_of_files_that_are_no_unicode(tiny_bundle, tmp_path):
    folder = os.fsencode(tmp_path) + b"/sounds/"
    for domain in (b"caf\xe9", b"talk"):
        os.makedirs(folder + domain)
        soundfile.write(tmp_path / "a.wav", sound(1.0), RATE)
        shutil.copy(tmp_path / "a.wav", folder + domain + b"/a.wav")
    options = ("--csv", tmp_path / "table.csv", "--html", tmp_path / "page.html", "--vocoder", "griffin-lim")
    done = run_process(tiny_bundle, "evaluate", "reconstruction", tmp_path / "sounds", *options)
    assert done.returncode == 0, done.stderr
    assert rb"caf\udce9: 1 recording" in done.stdout
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        assert r"caf\udce9" in {row["domain"] for row in csv.DictReader(file)}
    assert r"caf\udce9" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_results_are_shown_even_if_a_file_cannot_be_written(specvq, sounds, monkeypatch):
    def fail(*_):
        raise UsageError("the disk is full")

    monkeypatch.setattr("specvq_codec.files.write_file", fail)
    done = specvq(*ARGUMENTS, "--csv", "table.csv", code=2)
    assert "| griffin-lim on the original spectrogram" in done.out and "the disk is full" in done.err


def test_nothing_is_minus_zero():
    zeros = Row("row", *[-1e-9] * 15)
    for column in COLUMNS:
        cell = column.cell(zeros)
        assert not cell.startswith("-") or cell.strip("-0.%"), column.heading
    assert next(column for column in COLUMNS if column.measure == "kid").cell(zeros) == "-1e-09"


def test_outputs_that_are_one_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    check_outputs([tmp_path / "file", None, tmp_path / "other"])
    with pytest.raises(UsageError, match="link would be written twice"):
        check_outputs([tmp_path / "file", tmp_path / "link"])


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # permissions do not bind a superuser
    with pytest.raises(UsageError, match="cannot be written to"):
        check_output(tmp_path / "file")
