import math

import pytest
import torch

from specvq_codec.evaluation.metrics import (
    gradient_energy,
    log_mel_l1,
    normalised_entropy,
    stft_distance,
    stoi,
    usage,
)

NOISE = torch.rand(2, 22_050, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.mark.parametrize("distance", [log_mel_l1, stft_distance])
@pytest.mark.parametrize("length", [1, 600, 22_050])
def test_nothing_lies_between_a_sound_and_itself(distance, length):
    assert distance(NOISE[0, :length], NOISE[0, :length]) == 0.0


@pytest.mark.parametrize("distance", [log_mel_l1, stft_distance])
def test_more_noise_is_further_away(distance):
    tone = torch.sin(torch.arange(22_050) * 0.2)
    distances = [distance(tone + level * NOISE[0], tone) for level in (0.0, 0.003, 0.03, 0.3)]
    assert distances == sorted(set(distances))


def test_half_the_amplitude_is_six_decibels_everywhere():
    assert log_mel_l1(0.5 * NOISE[0], NOISE[0]) == pytest.approx(0.2 * math.log10(2.0), abs=1e-5)


def test_stft_distance_of_half_the_amplitude():
    # at every resolution: |X - X/2| / |X| = 1/2, and |log X - log X/2| = log 2
    assert stft_distance(0.5 * NOISE[0], NOISE[0]) == pytest.approx(0.5 + math.log(2.0), abs=1e-3)


def test_usage_and_entropy_by_hand():
    counts = torch.tensor([[3, 3, 0, 0]])
    assert (usage(counts), normalised_entropy(counts)) == (0.5, 0.5)
    counts = torch.tensor([[1, 2, 4, 1]])  # bits: 1/8 * 3 + 1/4 * 2 + 1/2 * 1 + 1/8 * 3 = 1.75
    assert (usage(counts), normalised_entropy(counts)) == (1.0, pytest.approx(1.75 / 2))


def test_codebooks_are_averaged():
    counts = torch.tensor([[5, 0], [7, 7], [0, 0]])
    assert usage(counts) == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert normalised_entropy(counts) == pytest.approx(1 / 3)


def test_gradient_energy_by_hand():
    mel = torch.zeros(80, 10)
    assert gradient_energy(mel + 0.5) == 0.0
    mel[40, 5] = 0.5  # differs from four neighbours
    assert gradient_energy(mel) == 4 * 0.25
    mel[0, 0] = 1.0  # two neighbours
    assert gradient_energy(mel) == 4 * 0.25 + 2 * 1.0


@pytest.mark.parametrize("target", [torch.zeros(22_050), NOISE[0, :1], NOISE[0, :300], NOISE[0, :6000]])
def test_what_is_silent_or_short_has_no_intelligibility(target):
    assert stoi(target, target) is None


def test_intelligibility_of_the_original_and_of_something_else():
    assert stoi(NOISE[0], NOISE[0]) == pytest.approx(1.0)
    assert stoi(0.1 * NOISE[0], NOISE[0]) == pytest.approx(1.0)  # loudness does not matter
    assert abs(stoi(NOISE[1], NOISE[0])) < 0.2
