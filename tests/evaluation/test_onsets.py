"""Onsets of synthetic sounds whose beginnings are known, and how times are compared."""

import numpy as np
import pytest
import torch

from specvq_codec.evaluation.onsets import (
    FRAMES_A_SECOND,
    Alignment,
    add_up,
    align,
    align_by_chance,
    onset_strength,
    onsets,
)
from specvq_codec.evaluation.reconstruction import spectrogram_of

RATE = 22_050
BEGINNINGS = np.array([0.8, 1.5, 2.75, 4.0])


def strokes(times=BEGINNINGS, seconds=5.0, decay=8.0, noise=0.0, gain=1.0):
    """The spectrogram of tones of 300 to 3000 Hz that are struck at some times and die away, over noise."""
    rng = np.random.default_rng(0)
    samples = noise * rng.standard_normal(round(seconds * RATE))
    for number, time in enumerate(times):
        start = round(time * RATE)
        clock = np.arange(len(samples) - start) / RATE
        samples[start:] += np.sin(2 * np.pi * 300 * 10 ** (number / 3) * clock) * np.exp(-decay * clock)
    return spectrogram_of(torch.from_numpy(0.3 * gain * samples).float())


@pytest.mark.parametrize("decay", [2.0, 8.0, 30.0])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_it_finds_when_tones_are_struck(decay, noise):
    found = onsets(strokes(decay=decay, noise=noise))
    assert found.shape == BEGINNINGS.shape
    assert np.abs(found - BEGINNINGS).max() < 0.025


def test_nothing_is_found_where_nothing_begins():
    assert onsets(torch.zeros(80, 100)).shape == (0,)
    assert onsets(torch.full((80, 100), 0.7)).shape == (0,)
    assert onsets(torch.zeros(80, 1)).shape == (0,)


def test_a_change_of_gain_changes_nothing():
    assert np.array_equal(onsets(strokes(gain=0.1)), onsets(strokes()))


def test_strength_is_how_much_louder_bands_become():
    mel = torch.zeros(80, 10)
    mel[:40, 5:] = 0.7
    assert torch.allclose(onset_strength(mel), torch.tensor([0.0] * 5 + [20.0] * 3 + [0.0] * 2), atol=1e-4)


def test_a_fall_is_no_onset():
    mel = torch.full((80, 200), 0.8)
    mel[:, 100:] = 0.2
    assert not (np.abs(onsets(mel) - 100 / FRAMES_A_SECOND) < 0.1).any()


def test_pairs_are_as_many_as_possible():
    found, true = np.array([1.0, 1.1, 3.0]), np.array([1.05, 1.15, 2.0])
    assert align(found, true, 0.06) == Alignment(2, 3, 3)
    assert align(found, true, 0.04) == Alignment(0, 3, 3)
    # were 1.1 given to 1.05, nothing would be left for 1.2
    assert align(np.array([0.95, 1.1]), np.array([1.05, 1.2]), 0.101).pairs == 2
    assert align(np.empty(0), true, 0.1) == Alignment(0, 0, 3)


def test_precision_recall_and_f1():
    some = Alignment(2, 4, 3)
    assert (some.precision, some.recall) == (0.5, 2 / 3)
    assert some.f1 == pytest.approx(2 / (1 / some.precision + 1 / some.recall))
    assert Alignment(0, 0, 0).f1 == Alignment(0, 0, 2).precision == Alignment(0, 2, 0).recall == 0.0


def test_recordings_are_counted_together_and_chance_leaves_out_their_own():
    times = [np.array([1.0, 2.0]), np.array([1.0, 3.0]), np.array([5.0])]
    assert add_up(align(own, own, 0.1) for own in times) == Alignment(5, 5, 5)
    assert align_by_chance(times, times, 0.1) == Alignment(2, 10, 10)  # the two at 1 s, both ways round
