"""The clips of the synthetic audio-visual set: what one sees is what one hears."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from scripts import load_example

from specvq_codec.evaluation.onsets import align, onsets
from specvq_codec.evaluation.reconstruction import spectrogram_of
from specvq_codec.video import read_frames

BACKGROUND = 128


@pytest.fixture(scope="module")
def script():
    return load_example("make_audiovisual")


def test_a_clip_follows_from_seed_and_number(script):
    one, same, other = script.make_clip(3, 5), script.make_clip(3, 5), script.make_clip(4, 5)
    assert one.events == same.events
    assert np.array_equal(one.frames, same.frames) and np.array_equal(one.samples, same.samples)
    assert one.label == other.label and one.events != other.events


def test_all_kinds_are_seen_and_heard_when_they_happen(script):
    clips = [script.make_clip(0, number) for number in range(len(script.KINDS))]
    assert len({clip.label for clip in clips}) == len(script.KINDS) >= 8
    for clip in clips:
        assert clip.frames.shape == (250, 64, 64) and len(clip.samples) == 220_500
        times = np.array([event.time for event in clip.events])
        heard = onsets(spectrogram_of(torch.from_numpy(clip.samples / 32768).float()))
        found = align(heard, times, 0.05)
        assert found.recall == 1 and found.precision >= 0.5, clip.label  # an engine throbs after its beginning
        shown = (clip.frames != BACKGROUND).any((1, 2))
        assert all(shown[int(time * script.FRAME_RATE) + 1] for time in times)
        clocks = np.arange(250) / script.FRAME_RATE
        near = (np.abs(clocks[:, None] - times) < max(script.BEFORE, script.AFTER)).any(1)
        assert not shown[~near].any()


@pytest.mark.parametrize("quality", [1, 2])
def test_pitch_and_strength_are_seen_and_heard(script, quality):
    """Pictures and spectra of a kind change when one of the two does, and strength is loudness."""
    time = np.linspace(-0.3, 0.9, 30)[:, None, None]
    for kind in script.KINDS.values():
        low, high = ([0.1, 0.9] if quality == axis else [0.5, 0.5] for axis in (1, 2))
        weak, strong = [(a, b) for a, b in zip(low, high, strict=True)]
        pictures = [kind.picture(time, *values) for values in (weak, strong)]
        assert np.abs(pictures[0] - pictures[1]).max() > 0.2
        sounds = [kind.sound(np.random.default_rng(0), *values) for values in (weak, strong)]
        level = [10 * np.log10(np.square(sound).mean()) for sound in sounds]
        if quality == 2:
            assert level[1] > level[0] + 6
        else:
            centroids = [spectral_centroid(sound) for sound in sounds]
            assert centroids[1] > 1.3 * centroids[0]


def spectral_centroid(samples):
    power = np.abs(np.fft.rfft(samples)) ** 2
    return (power * np.fft.rfftfreq(len(samples), 1 / 22_050)).sum() / power.sum()


def test_the_set_is_written_as_videos_sounds_and_a_manifest(script, tmp_path):
    script.make_set(tmp_path, {"train": 2, "test": 1}, seed=1)
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["split"], row["label"]) for row in rows] == [
        ("train-00000.flac", "train", "ball"),
        ("train-00001.flac", "train", "drop"),
        ("test-00002.flac", "test", "drum"),
    ]
    for number, row in enumerate(rows):
        clip = script.make_clip(1, number)
        samples, rate = soundfile.read(tmp_path / row["path"], dtype="int16")
        assert rate == 22_050 and np.array_equal(samples, clip.samples)
        assert [float(time) for time in row["times"].split()] == [round(event.time, 4) for event in clip.events]
        frames = list(read_frames((tmp_path / row["path"]).with_suffix(".mp4")))
        assert len(frames) == 215  # 21.5 a second
        seen = np.abs(np.stack(frames).astype(float).mean(3) - BACKGROUND).max((1, 2)) > 20
        drawn = (np.abs(clip.frames.astype(float) - BACKGROUND).max((1, 2)) > 20)[
            np.rint(np.arange(215) / 21.5 * 25).astype(int).clip(max=249)
        ]
        assert (seen == drawn).mean() > 0.97


def test_clips_that_are_there_stay(script, tmp_path):
    script.make_set(tmp_path, {"train": 1}, seed=1)
    (tmp_path / "train-00000.mp4").write_bytes(b"mine")
    script.make_set(tmp_path, {"train": 1}, seed=1)
    assert (tmp_path / "train-00000.mp4").read_bytes() == b"mine"
