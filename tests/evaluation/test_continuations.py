"""Seams that are there are found, distances are what they are said to be, and primed columns are compared."""

import dataclasses

import numpy as np
import pytest
import torch
from packs import write_mel_pack, write_pack
from sampler_cases import add_tiny_sampler
from tiny import write_tiny_bundle

from specvq_codec import Codec, UsageError
from specvq_codec.evaluation import continuations as module
from specvq_codec.evaluation.conditioning import Conditioning
from specvq_codec.evaluation.continuations import continued, inner_step, long_enough, statistics_distance, steps
from specvq_codec.sampling import Sampling
from specvq_codec.training.data import Pack

SEAM = 3 * 4096  # sample: the tiny sampler's window has six columns


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Codec:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    return Codec(add_tiny_sampler(bundle, num_classes=2, optional=True), "cpu", "melgan")


@pytest.fixture(scope="module")
def known(codec, tmp_path_factory) -> Conditioning:
    recordings = [("test", "sound", 6.5, "bell"), ("test", "sound", 6.2, "dog"), ("test", "sound", 5.9, "dog")]
    return Conditioning(codec, Pack(write_pack(tmp_path_factory.mktemp("packs") / "pack", recordings), "test"))


def with_sound(known: Conditioning, samples: np.ndarray, monkeypatch) -> Conditioning:
    monkeypatch.setattr(known.pack, "waveform", lambda clip: torch.from_numpy(samples.astype(np.float32)))
    return known


def test_steps_are_in_decibels_and_at_their_place():
    mel = torch.full((80, 100), 0.2)
    mel[:, 48:] = 0.5
    single, wide = steps(mel, 1), steps(mel, 16)
    assert single.shape == (99,) and wide.shape == (69,)
    assert single[48 - 1] == pytest.approx(30.0) and int((single > 1e-3).sum()) == 1
    assert wide.argmax() == 48 - 16 and wide.max() == pytest.approx(30.0, rel=1e-4)
    assert inner_step(mel, 1) == 0.0
    assert float(inner_step(torch.linspace(0, 0.99, 100).expand(80, -1), 1)) == pytest.approx(1.0, rel=1e-3)


def test_a_smeared_change_does_not_escape_the_wide_step():
    mel = torch.full((80, 100), 0.2)
    mel[:, 40:56] = torch.linspace(0.2, 0.5, 16)
    mel[:, 56:] = 0.5
    assert steps(mel, 1)[48 - 1] < 2.1 < 20 < steps(mel, 16)[48 - 16]


def test_distance_of_statistics():
    one = torch.rand(80, 50, generator=torch.Generator().manual_seed(0))
    assert statistics_distance(one, one.flip(1)) == pytest.approx(0.0, abs=1e-3)
    assert statistics_distance(one, one + 0.1) == pytest.approx(10.0, rel=1e-4)
    level, tremolo = torch.full((80, 40), 0.5), torch.tensor([0.4, 0.6]).repeat(80, 30)
    assert statistics_distance(level, tremolo) == pytest.approx(10.0, rel=1e-4)
    assert statistics_distance(tremolo, level) == statistics_distance(level, tremolo)


def test_a_seam_made_on_purpose_is_found(known, monkeypatch):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * SEAM)
    clips = known.pack.clips[:1]
    steady = continued(with_sound(known, noise, monkeypatch), clips, 1, Sampling()).rows[0]
    louder = noise * np.where(np.arange(2 * SEAM) < SEAM, 0.01, 1.0)
    report = continued(with_sound(known, louder, monkeypatch), clips, 1, Sampling())
    (narrow, wide), (inner, wide_inner) = report.rows[0].steps, report.inner
    assert report.rows[0].name == steady.name == "original"
    assert (narrow.below, wide.below) == (0.0, 0.0)
    assert narrow.typical == pytest.approx(narrow.mean / inner)
    assert wide.typical == pytest.approx(wide.mean / wide_inner)
    assert narrow.mean > 2 * inner and 30 < wide.mean < 41 and wide.mean > 5 * wide_inner
    assert steady.steps[1].mean < 5 and steady.distance < 5 < 30 < report.rows[0].distance < 45


def test_a_report_of_several(known):
    clips = long_enough(known.pack, 20)
    report = continued(known, clips, 3, Sampling(seed=1))
    assert report.recordings == ("0.wav", "1.wav")
    names = ["original", "decoded original", "continued, no condition", "continued, class"]
    assert [row.name for row in report.rows] == [*names, "second halves of others, decoded"]
    assert report.primed_columns == report.kept_columns == 2 * 2 * 3 * 3  # recordings, kinds, samples, columns
    assert all([step.frames for step in row.steps] == [1, 16] for row in report.rows[:-1])
    assert report.rows[2] != report.rows[3] and report.rows[-1].steps == ()
    assert continued(known, clips, 3, Sampling(seed=1)) == report
    assert continued(known, clips, 3, Sampling(seed=2)) != report
    assert continued(known, clips[:1], 1, Sampling()).rows[-1].name == names[-1]  # there are no others


def test_primed_columns_that_change_are_counted(known, monkeypatch):
    made = module.continuations

    def careless(*arguments):
        codes = made(*arguments)
        indices = codes[0].indices.copy()
        indices[1, 4] = (indices[1, 4] + 1) % 64
        return [dataclasses.replace(codes[0], indices=indices), *codes[1:]]

    monkeypatch.setattr(module, "continuations", careless)
    report = continued(known, known.pack.clips[:1], 2, Sampling())
    assert (report.primed_columns, report.kept_columns) == (12, 10)


def test_a_window_of_one_column_has_no_halves(known, tmp_path):
    bundle = add_tiny_sampler(write_tiny_bundle(tmp_path / "narrow"), columns=1)
    narrow = Conditioning(Codec(bundle, "cpu", "griffin-lim"), known.pack)
    with pytest.raises(UsageError, match="this sampler's window has one"):
        continued(narrow, known.pack.clips[:1], 1, Sampling())


def test_recordings_that_are_too_short(known):
    assert [clip.path for clip in long_enough(known.pack, 1)] == ["0.wav"]
    with pytest.raises(UsageError, match="No recording of this split lasts 7 s"):
        long_enough(known.pack, 20, 7.0)


def test_lengths_of_packed_spectrograms_are_in_frames(known, tmp_path):
    mels = Pack(write_mel_pack(tmp_path / "mels", known.pack), "test")
    assert mels.kind == "mels" and long_enough(mels, 20, 1.0) == [
        clip for clip in mels.clips if clip.length >= 22_050 / 256
    ]
