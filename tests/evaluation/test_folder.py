"""Plain folders of sound: what can be measured of them."""

import shutil

import pytest
import soundfile
import torch
from sound_folders import RATE, write_sounds
from tiny import sound

from specvq_codec import UsageError
from specvq_codec.evaluation.folder import SoundFolder, absent, counterpart, measurable
from specvq_codec.training.data import Clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"))


def test_domains_are_the_sub_folders(folder):
    clips = {clip.path: clip.domain for clip in SoundFolder(folder, RATE).clips}
    assert clips["speech/a.wav"] == clips["speech/far/away/b.ogg"] == "speech"
    assert clips["birds/long.flac"] == "birds" and clips["beside.mp3"] == "other"
    assert "notes.txt" not in clips


def test_one_sub_folder_is_a_domain_too(folder, tmp_path):
    clips = {clip.path: clip.domain for clip in SoundFolder(folder / "speech", RATE).clips}
    assert clips == {"a.wav": "other", "far/away/b.ogg": "far"}
    shutil.copytree(folder / "speech" / "far", tmp_path / "speech")
    assert [clip.domain for clip in SoundFolder(tmp_path, RATE).clips] == ["speech"]
    assert [clip.domain for clip in SoundFolder(tmp_path / "speech" / "away", RATE).clips] == [""]


def test_what_cannot_be_looked_into_is_left_out_with_the_reason(folder, tmp_path):
    shutil.copytree(folder / "speech", tmp_path / "speech")
    (tmp_path / "link").symlink_to(folder)
    sounds = SoundFolder(tmp_path, RATE)
    assert len(sounds.clips) == 2
    assert sounds.left_out == [("link", "it is a link to a folder")]


def test_lengths_are_what_headers_announce(folder):
    lengths = {clip.path: clip.length for clip in SoundFolder(folder, RATE).clips}
    assert lengths["speech/a.wav"] == pytest.approx(1.1 * RATE, abs=1)
    assert lengths["birds/long.flac"] == 4 * RATE


def test_what_cannot_be_opened_is_left_out_with_the_reason(folder):
    left_out = {item.path: item.reason for item in SoundFolder(folder, RATE).left_out}
    assert sorted(left_out) == ["birds/cut.wav", "birds/empty.flac", "birds/text.wav"]
    assert "cut short" in left_out["birds/cut.wav"]
    assert "not a sound file" in left_out["birds/text.wav"]


def test_what_can_be_measured_is_read_no_further_than_needed(folder):
    left_out = []
    sounds = SoundFolder(folder, RATE)
    measured = {clip.path: (clip, waveform) for clip, waveform in measurable(sounds, sounds.clips, RATE, left_out)}
    assert sorted(measured) == [
        "beside.mp3", "birds/long.flac", "birds/short.wav", "speech/a.wav", "speech/far/away/b.ogg"
    ]  # fmt: skip
    for clip, waveform in measured.values():
        assert waveform.dtype == torch.float32 and clip.length == len(waveform) <= RATE
    assert len(measured["birds/short.wav"][1]) == 1
    reasons = dict(left_out)
    assert "silent" in reasons["birds/silent.wav"] and "first 1 s" in reasons["birds/long.flac"]


def test_a_file_that_ends_too_early_is_left_out(folder):
    left_out = []
    sounds = SoundFolder(folder, 10 * RATE)
    paths = [clip.path for clip, _ in measurable(sounds, sounds.clips, 10 * RATE, left_out)]
    assert "birds/long.flac" in paths and "birds/late.flac" not in paths
    assert "damaged or cut short" in dict(left_out)["birds/late.flac"]


def test_channels_are_averaged_and_rates_unified(folder):
    sounds = SoundFolder(folder / "speech", RATE * 10)
    stereo = sounds.waveform(Clip("a.wav", "", "", 0, 0))
    mono = torch.from_numpy(sound(1.1))
    # the same sweep at another rate, but for noise above the half of ours
    assert len(stereo) == pytest.approx(len(mono), abs=1)
    assert float(stereo.abs().max()) < 1.0


def test_what_is_louder_than_most_codecs_know_is_clipped(tmp_path):
    soundfile.write(tmp_path / "loud.wav", 20 * sound(0.5), RATE, subtype="FLOAT")
    sounds = SoundFolder(tmp_path, RATE)
    ((_, waveform),) = measurable(sounds, sounds.clips, RATE, [])
    torch.testing.assert_close(waveform, torch.from_numpy(20 * sound(0.5)).clamp(-1.0, 1.0))
    assert float(waveform.abs().max()) == 1.0


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"There is no folder .*nowhere"):
        SoundFolder(tmp_path / "nowhere", RATE)


@pytest.mark.parametrize("make", [lambda place: None, lambda place: (place / "text.wav").write_text("no sound")])
def test_without_any_sound(tmp_path, make):
    make(tmp_path)
    with pytest.raises(UsageError, match="specvq data pack"):
        SoundFolder(tmp_path, RATE)


def test_counterparts_may_have_another_suffix(folder, tmp_path):
    (tmp_path / "speech").mkdir()
    for name in ("a.txt", "a.flac", "a.b.wav", "c.wav", "c.flac.wav", "d.wav", "d.ogg", "e.mp3.wav", "e.mp3.flac"):
        (tmp_path / "speech" / name).touch()
    assert counterpart(tmp_path, "speech/a.wav") == tmp_path / "speech" / "a.flac"
    assert counterpart(tmp_path, "speech/a.b.wav") == tmp_path / "speech" / "a.b.wav"
    assert counterpart(tmp_path, "speech/c.flac") == tmp_path / "speech" / "c.flac.wav"
    assert counterpart(tmp_path, "speech/b.wav") is None and counterpart(tmp_path, "birds/a.wav") is None
    for path in ("speech/d.flac", "speech/e.mp3"):
        with pytest.raises(UsageError, match=f"could both be what became of {path}: remove one"):
            counterpart(tmp_path, path)


def test_a_decoded_file_belongs_to_one_recording(tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    assert absent(tmp_path, ["a.flac", "b.wav", "c.wav"]) == {"c.wav"}
    with pytest.raises(UsageError, match=r"of a\.flac or of a\.mp3: name it a\.mp3\.wav or a\.flac\.wav"):
        absent(tmp_path, ["a.flac", "a.mp3"])
