import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny import sound
from typer.testing import CliRunner

from specvq_codec import UsageError
from specvq_codec.cli.app import app
from specvq_codec.features import save_features
from specvq_codec.training import packing
from specvq_codec.training.data import Pack
from specvq_codec.training.packing import pack


class Stopped(BaseException):
    """What stops a packing in the middle, as Ctrl-C does."""


@pytest.fixture
def sounds(tmp_path):
    """Ten recordings; one is none."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number in range(10):
        soundfile.write(folder / f"{number}.wav", sound(0.1 + 0.02 * number, seed=number), 22_050)
    (folder / "3.wav").write_bytes(b"no sound")
    return folder


@pytest.mark.parametrize("text", ["path,split\n1.wav,training\n", "file,split\n1.wav,train\n", "path\n1.wav\n"])
def test_a_manifest_that_makes_no_sense_is_refused(sounds, tmp_path, text):
    (sounds / "manifest.csv").write_text(text)
    with pytest.raises(UsageError, match=r"manifest\.csv needs columns path and split"):
        pack(sounds, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recording_in_two_splits_is_refused(sounds, tmp_path):
    (sounds / "manifest.csv").write_text("path,split\n1.wav,train\n2.wav,train\n1.wav,valid\n")
    with pytest.raises(UsageError, match=r"manifest\.csv have 1\.wav in two splits, train and valid: leave it in one"):
        pack(sounds, tmp_path / "out")
    (sounds / "manifest.csv").write_text("path,split\n1.wav,train\n1.wav,train\n")  # twice as often
    assert len(pack(sounds, tmp_path / "out").clips) == 2


@pytest.mark.parametrize("content", [b"path,split\n" + b"x" * 140_000 + b",train\n", b'path,split\n"a\x00\n', None])
def test_a_manifest_that_is_no_csv_is_refused(sounds, tmp_path, content):
    if content is None:
        (sounds / "manifest.csv").mkdir()
    else:
        (sounds / "manifest.csv").write_bytes(content)
    with pytest.raises(UsageError):
        pack(sounds, tmp_path / "out")


def test_a_manifest_of_another_encoding_is_refused(sounds, tmp_path):
    (sounds / "manifest.csv").write_bytes("path,split\nTür.wav,train\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"manifest\.csv is no CSV file in UTF-8"):
        pack(sounds, tmp_path / "out")


def test_a_folder_without_sound_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    with pytest.raises(UsageError, match="No recording"):
        pack(tmp_path / "texts", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(UsageError, match="There is no folder"):
        pack(tmp_path / "nowhere", tmp_path / "out")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after(monkeypatch, count):
    """Let packing be stopped in the middle of the recording after `count`; returns the names of what it has read."""
    read = []
    append = packing._append_sound

    def stopping(store, path):
        read.append(path.name)
        if len(read) > count:
            store.write(b"half")
            raise Stopped
        return append(store, path)

    monkeypatch.setattr(packing, "_append_sound", stopping)
    return read


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_an_interrupted_packing_goes_on_and_ends_the_same(sounds, tmp_path, monkeypatch, count):
    whole = pack(sounds, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, count)
        with pytest.raises(Stopped):
            pack(sounds, tmp_path / "pack")
    with pytest.raises(UsageError, match="is not packed sound"):
        Pack(tmp_path / "pack", "train")
    read = stop_after(monkeypatch, 100)
    assert pack(sounds, tmp_path / "pack") == whole
    assert len(read) == 10 - count  # nothing twice
    assert contents(tmp_path / "pack") == contents(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["journal", "samples", "garbage"])
def test_a_packing_whose_end_was_lost_goes_on_from_what_is_left(sounds, tmp_path, monkeypatch, damage):
    whole = pack(sounds, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 6)
        with pytest.raises(Stopped):
            pack(sounds, tmp_path / "pack")
    journal, samples = tmp_path / "pack" / "packing.jsonl", tmp_path / "pack" / "packing.samples.i16"
    if damage == "journal":
        journal.write_bytes(journal.read_bytes()[:-20])
    elif damage == "samples":
        samples.write_bytes(samples.read_bytes()[:-1000])
    else:
        journal.write_bytes(b"\x00" * 100)
    assert pack(sounds, tmp_path / "pack") == whole
    assert contents(tmp_path / "pack") == contents(tmp_path / "whole")


def test_other_recordings_are_packed_from_the_beginning(sounds, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Stopped):
            pack(sounds, tmp_path / "pack")
    shutil.copy(sounds / "9.wav", sounds / "00.wav")
    clips = pack(sounds, tmp_path / "pack").clips
    assert [clip.path for clip in clips[:3]] == ["0.wav", "00.wav", "1.wav"]
    assert clips == pack(sounds, tmp_path / "again").clips


def test_a_pack_stays_until_another_is_whole_and_may_lie_in_the_folder(sounds, tmp_path, monkeypatch):
    out = sounds / "pack"
    clips = pack(sounds, out).clips
    before = contents(out)
    assert pack(sounds, out, force=True).clips == clips  # not of what is in the pack
    assert contents(out) == before
    monkeypatch.chdir(tmp_path)
    assert pack(Path("sounds"), out).clips == clips  # however it is called
    soundfile.write(sounds / "more.wav", np.zeros(100), 22_050)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Stopped):
            pack(sounds, out, force=True)
    assert before.items() <= contents(out).items()
    read = stop_after(monkeypatch, 100)
    assert len(pack(sounds, out, force=True).clips) == len(clips) + 1
    assert len(read) == 6  # it went on
    assert sorted(contents(out)) == ["index.json", "samples.i16"]


def test_a_pack_of_the_same_recordings_stays_as_it_is(sounds, tmp_path, monkeypatch):
    out, read = tmp_path / "pack", stop_after(monkeypatch, 100)
    packed = pack(sounds, out)
    (out / "tokens-01234567.npz").write_bytes(b"hours of work")
    before, count = contents(out), len(read)
    again = pack(sounds, out)
    assert packed.new and not again.new
    assert (again.clips, again.seconds) == (packed.clips, packed.seconds)
    assert contents(out) == before and len(read) == count
    assert pack(sounds, out, force=True) == packed
    assert contents(out).keys() == {"index.json", "samples.i16"} and len(read) == 2 * count


@pytest.mark.parametrize("change", ["a recording more", "other sound", "a manifest", "no fingerprint", "garbage"])
def test_a_pack_of_other_recordings_is_replaced_only_by_force(sounds, tmp_path, change):
    out = tmp_path / "pack"
    pack(sounds, out)
    (out / "tokens-01234567.npz").write_bytes(b"hours of work")
    if change == "a recording more":
        shutil.copy(sounds / "9.wav", sounds / "more.wav")
    elif change == "other sound":
        shutil.copy(sounds / "8.wav", sounds / "9.wav")
    elif change == "a manifest":
        (sounds / "manifest.csv").write_text("path,split\n1.wav,train\n")
    elif change == "no fingerprint":  # it was made before there were some
        index = json.loads((out / "index.json").read_text())
        del index["packing"]
        (out / "index.json").write_text(json.dumps(index))
    else:
        (out / "index.json").write_text("[" * 100_000)
    before = contents(out)
    with pytest.raises(
        UsageError, match=r"is a pack already, of other or changed recordings.*use -f .*remove its tokens"
    ):
        pack(sounds, out)
    assert contents(out) == before
    clips = pack(sounds, out, force=True).clips
    assert Pack(out, None).clips == clips and "tokens-01234567.npz" not in contents(out)


@pytest.mark.parametrize("place", ["", "deep", "deep/er"])
def test_a_pack_needs_a_folder_of_its_own(sounds, place):
    (sounds / place).mkdir(parents=True, exist_ok=True)
    before = sorted(sounds.rglob("*"))
    with pytest.raises(UsageError, match=r"lies in the folder of the pack.*for the pack alone"):
        pack(sounds / place, sounds)
    assert sorted(sounds.rglob("*")) == before


def test_a_name_that_is_no_utf_8_is_packed_and_read_back(sounds, tmp_path):
    name = os.fsdecode(b"\xff.wav")
    try:
        shutil.copy(sounds / "0.wav", sounds / name)
    except OSError:
        pytest.skip("this file system has no such names")
    clips = pack(sounds, tmp_path / "pack").clips
    data = Pack(tmp_path / "pack", None)
    assert data.clips == clips and name in {clip.path for clip in clips}
    sounds_of = {clip.path: data.waveform(clip) for clip in clips}
    assert torch.equal(sounds_of[name], sounds_of["0.wav"])
    assert len(data.digest()) == 64
    assert not pack(sounds, tmp_path / "pack").new


def test_features_of_each_sound_are_packed_beside_it(sounds, tmp_path):
    rng, wanted = np.random.default_rng(0), {}
    (tmp_path / "seen").mkdir()
    for number in (0, 1, 2, 5):
        rows = wanted[f"{number}.wav"] = rng.standard_normal((4 if number else 216, 6)).astype(np.float32)
        save_features(tmp_path / "seen" / f"{number}.npz", rows, "pixels")
    np.save(tmp_path / "seen" / "4.npy", np.zeros((215, 5), np.float32))
    packed = pack(sounds, tmp_path / "pack", [str(tmp_path / "seen")])
    data = Pack(tmp_path / "pack", None)
    assert data.feature_kind == "pixels" and {clip.path for clip in data.clips} == wanted.keys()
    for clip in data.clips:
        rows = wanted[clip.path].astype(np.float16)  # the four of a short video come again and again
        assert np.array_equal(data.features(clip), np.tile(rows, (54, 1))[:215])
        assert len(data.waveform(clip)) == clip.length
    reasons = {line.partition(":")[0]: line for line in packed.skipped}
    assert "have 5 numbers a frame, and those before it 6" in reasons["4.wav"]
    assert "it has no features" in reasons["6.wav"] and len(reasons) == 6


def test_the_command_names_and_counts_what_it_skips(sounds, tmp_path):
    done = CliRunner().invoke(app, ["data", "pack", str(sounds), str(tmp_path / "pack")])
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert [line.partition(":")[2].strip().partition(":")[0] for line in lines[:-1]] == ["skipped 3.wav"]
    assert lines[-1] == f"{tmp_path / 'pack'}: 9 recordings (6 train, 2 valid, 1 test), 0.00 h; 1 skipped"
    done = CliRunner().invoke(app, ["data", "pack", str(sounds), str(tmp_path / "pack")])
    assert (
        done.exit_code == 0
        and "9 recordings (6 train, 2 valid, 1 test), 0.00 h; packed already, and left as it is (-f" in done.stderr
    )
    done = CliRunner().invoke(app, ["data", "pack", str(sounds), str(tmp_path / "pack"), "-f"])
    assert done.exit_code == 0 and done.stderr.splitlines() == lines
    (tmp_path / "file").touch()
    for out in ("file", "file/pack"):
        done = CliRunner().invoke(app, ["data", "pack", str(sounds), str(tmp_path / out)])
        assert done.exit_code == 2 and "cannot be made" in done.stderr
    done = CliRunner().invoke(app, ["data", "pack", str(sounds), str(tmp_path / "pack"), "--features", "rgb"])
    assert done.exit_code == 2 and "There is no folder rgb: make the features" in done.stderr


def test_why_nothing_could_be_packed_is_told(sounds, tmp_path):
    (tmp_path / "features").mkdir()
    with pytest.raises(UsageError, match=r"could be read \(0\.wav: it has no features .*0\.npz"):
        pack(sounds, tmp_path / "out", [str(tmp_path / "features")])


def test_links_to_folders_are_told(sounds, tmp_path):
    (sounds / "link").symlink_to(tmp_path)
    (sounds / "gone.wav").symlink_to("nowhere.wav")
    skipped = pack(sounds, tmp_path / "out").skipped
    assert "link: it is a link to a folder" in skipped and "gone.wav: no such file or directory" in skipped
