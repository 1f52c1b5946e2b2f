"""PESQ of something that goes loud and quiet as speech does. The package comes as C source and may be absent."""

import numpy as np
import pytest
import torch
from tiny import sound

from specvq_codec.evaluation.metrics import pesq, pesq_is_there

package = pytest.importorskip("pesq", reason="pesq is not installed, which needs a C compiler")

SPEECH = torch.from_numpy(sound(3.0))
NOISE = torch.randn(len(SPEECH), generator=torch.Generator().manual_seed(0))


def test_the_original_has_the_best_quality_and_noise_takes_it_away():
    assert pesq_is_there()
    scores = [pesq(SPEECH + level * NOISE, SPEECH) for level in (0.0, 0.001, 0.01, 0.1)]
    assert scores[0] == pytest.approx(4.6439, abs=1e-4)  # where the mapping of ITU-T P.862.2 ends
    assert scores == sorted(set(scores), reverse=True) and 1.0 < scores[-1] < 2.5
    assert pesq(0.1 * SPEECH, SPEECH) == pytest.approx(scores[0], abs=1e-3)  # loudness does not matter


def test_silence_in_the_place_of_speech_is_the_worst():
    assert pesq(torch.zeros_like(SPEECH), SPEECH) == 1.0


@pytest.mark.parametrize("lost, expected", [(False, 1.0), (True, None)])
def test_where_no_utterance_is_found_the_original_decides(monkeypatch, lost, expected):
    """The package does not tell in which of the two sounds it found none."""

    def measured(rate, original, decoded, mode):
        if lost or not np.array_equal(original, decoded):
            raise package.NoUtterancesError("none")
        return 4.6

    monkeypatch.setattr(package, "pesq", measured)
    assert pesq(NOISE, SPEECH) == expected


@pytest.mark.parametrize("target", [torch.zeros(44_100), SPEECH[:1], SPEECH[:300], SPEECH[:5000]])
def test_what_is_silent_or_short_has_no_quality(target):
    assert pesq(target, target) is None
    assert pesq(torch.zeros_like(target), target) is None


def test_long_speech_is_measured_in_pieces():
    """In one piece it would be written over the memory of the process. Pieces without speech do not count."""
    speech, silence = torch.cat([SPEECH] * 5), torch.zeros(5 * len(SPEECH))  # 15 s
    noisy = speech + 0.01 * NOISE.repeat(5)
    worse, best = pesq(noisy, speech), pesq(speech, speech)
    both = pesq(torch.cat([noisy, speech]), torch.cat([speech, speech]))
    assert both == pytest.approx((worse + best) / 2, abs=1e-3)
    assert pesq(torch.cat([noisy, silence]), torch.cat([speech, silence])) == pytest.approx(worse, abs=1e-3)
    minutes = torch.cat([speech] * 12)
    assert pesq(minutes, minutes) == pytest.approx(best, abs=1e-3)
