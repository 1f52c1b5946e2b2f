"""What a classifier tells of decoded recordings, in windows of ten seconds."""

import math
from functools import partial

import pytest
import torch
from judging import tiny_classifier
from tiny import sound

from specvq_codec.evaluation.distributions import FEWEST, kernel_distance
from specvq_codec.evaluation.judge import judge, relevance
from specvq_codec.evaluation.metrics import waveform_mel
from specvq_codec.evaluation.reconstruction import evaluate
from specvq_codec.evaluation.relevance import verdict
from specvq_codec.evaluation.systems import Decoded
from specvq_codec.training.data import Clip

COUNT = FEWEST + 2


@pytest.fixture(scope="module")
def classifier():
    return tiny_classifier()


@pytest.fixture(scope="module")
def recordings():
    """Enough for sets to be compared; of two domains, of which one has too few."""
    clips = [Clip(f"{i}.wav", "", "few" if i < 3 else "many", 0, 24_000 + 300 * i) for i in range(COUNT)]
    clips.append(Clip("short.wav", "", "few", 0, 5000))
    return [(clip, torch.from_numpy(0.3 * sound(clip.length / 22_050, seed=i))) for i, clip in enumerate(clips)]


class Noisy:
    """A codec that adds noise, at several levels."""

    def __init__(self, *levels):
        self.levels = levels
        self.names = [f"noise {level}" for level in levels]

    def decode(self, recording):
        noise = torch.randn(recording.waveform.shape, generator=torch.Generator().manual_seed(1))
        for name, level in zip(self.names, self.levels, strict=True):
            yield name, Decoded(recording.waveform + level * noise)


@pytest.mark.parametrize(
    "frames, windows", [(20, 0), (85, 0), (86, 1), (848, 1), (848 + 85, 1), (848 + 86, 2), (3 * 848, 3)]
)
def test_windows_of_ten_seconds_and_a_rest_of_at_least_one(classifier, frames, windows):
    found = judge(classifier, torch.rand(80, frames, generator=torch.Generator().manual_seed(0)))
    assert (0 if found is None else len(found.hidden)) == windows


def test_a_window_depends_on_nothing_around_it(classifier):
    mel = torch.rand(80, 2000, generator=torch.Generator().manual_seed(0))
    whole, second = judge(classifier, mel), verdict(classifier, mel[None, :, 848:1696])
    assert torch.equal(whole.hidden[1:2], second.hidden)
    assert torch.equal(whole.probabilities[1:2], second.probabilities)


def test_a_set_against_itself_and_more_and_more_noise(classifier, recordings):
    rows = evaluate([Noisy(0.0, 0.0003, 0.003, 0.03)], recordings, classifier=classifier)[0].rows
    assert rows[0].fid == pytest.approx(0.0, abs=1e-9) and rows[0].mkl == pytest.approx(0.0, abs=1e-5)
    assert rows[0].kid <= 0.0  # unbiased, so that pairs of equals give less than nothing
    for measure in ("fid", "kid", "mkl"):
        values = [getattr(row, measure) for row in rows]
        assert values == sorted(set(values)), measure


def test_the_order_of_recordings_does_not_matter(classifier, recordings, monkeypatch):
    some = partial(kernel_distance, subsets=5, subset_size=10)  # so that KID is of random subsets
    monkeypatch.setattr("specvq_codec.evaluation.judge.kernel_distance", some)
    rows = [evaluate([Noisy(0.01)], order, classifier=classifier)[0].rows for order in (recordings, recordings[::-1])]
    assert rows[0] == rows[1] and rows[0][0].kid != 0


def test_too_few_windows_for_sets(classifier, recordings):
    everything, few, many = evaluate([Noisy(0.1)], recordings, classifier=classifier)
    assert (few.domain, many.domain) == ("few", "many")
    assert few.rows[0].fid is None and few.rows[0].kid is None and few.rows[0].mkl > 0
    assert many.rows[0].fid is None and COUNT - 3 < FEWEST
    assert everything.rows[0].fid > 0


def test_without_a_classifier_or_a_window_there_is_nothing(classifier, recordings):
    short = recordings[-1:]
    for rows in (evaluate([Noisy(0.1)], recordings)[0].rows, evaluate([Noisy(0.1)], short, (), classifier)[0].rows):
        assert (rows[0].fid, rows[0].kid, rows[0].mkl) == (None, None, None)
        assert rows[0].stft > 0


def test_mkl_is_a_mean_over_windows(classifier):
    mels = [waveform_mel(torch.from_numpy(sound(seconds, seed=2))) for seconds in (1.5, 22.0)]
    real = [judge(classifier, mel) for mel in mels]
    made = [judge(classifier, (mel + 0.2).clamp(max=1.0)) for mel in mels]
    assert [len(one.hidden) for one in real] == [1, 3]
    each = [relevance([one], [other]).mkl for one, other in zip(real, made, strict=True)]
    assert relevance(real, made).mkl == pytest.approx((each[0] + 3 * each[1]) / 4)
    assert all(math.isfinite(value) for value in each)
