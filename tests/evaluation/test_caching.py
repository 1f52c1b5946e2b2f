"""Verdicts: of every spectrogram alone, and kept in a folder."""

import dataclasses
import os

import pytest
import torch
from judging import random_mels, tiny_classifier

from specvq_codec import UsageError
from specvq_codec.evaluation import caching
from specvq_codec.evaluation.caching import VerdictCache
from specvq_codec.evaluation.relevance import Verdict, verdict

MELS = random_mels(5)


def same(one: Verdict, other: Verdict) -> bool:
    return all(torch.equal(*parts) for parts in zip(one, other, strict=True))


@pytest.fixture
def judged(monkeypatch):
    """How many spectrograms were judged, call after call."""
    counts = []

    def counted(classifier, mels):
        counts.append(len(mels))
        return verdict(classifier, mels)

    monkeypatch.setattr(caching, "verdict", counted)
    return counts


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_verdict_is_the_networks_and_does_not_depend_on_the_batch(batch_norm):
    classifier = tiny_classifier(batch_norm=batch_norm)
    found = verdict(classifier, MELS)
    for parts in ([MELS[:1], MELS[1:]], [MELS[:3], MELS[3:]], MELS.split(1)):
        assert same(found, Verdict.together(verdict(classifier, part) for part in parts))
    whole = classifier.network(((MELS - 0.5) / 0.1)[:, None])  # as one batch, which rounds otherwise
    assert torch.allclose(found.logits, whole, rtol=1e-5, atol=1e-5)
    assert torch.allclose(found.probabilities, whole.double().softmax(1), rtol=1e-5)
    assert torch.allclose(found.logits - found.unbiased, classifier.network.classifier[-1].bias, atol=1e-5)
    assert found.hidden.shape == (5, 16) and found.hidden.std() > 0.1


def test_spectrograms_of_several_lengths():
    mels = [MELS[0], MELS[1, :, :32]]
    found = verdict(tiny_classifier(), mels)
    assert same(found, Verdict.together(verdict(tiny_classifier(), mel[None]) for mel in mels))


def test_what_was_judged_is_not_judged_again(tmp_path, judged):
    expected = verdict(tiny_classifier(), MELS)
    for _ in range(2):
        assert same(VerdictCache(tiny_classifier(), tmp_path / "new" / "cache")(MELS), expected)
    assert judged == [5]
    assert same(VerdictCache(tiny_classifier(), None)(MELS), expected) and judged == [5, 5]


def test_everything_that_matters_makes_another_file(tmp_path, judged):
    classifier = tiny_classifier()
    other = dataclasses.replace(classifier, means=classifier.means + 0.1)
    for one in (classifier, tiny_classifier(seed=1), other, tiny_classifier(batch_norm=True)):
        VerdictCache(one, tmp_path)(MELS)
    cache = VerdictCache(classifier, tmp_path)
    for mels in (MELS[:4], MELS.flip(0), MELS[:, :, :32], [MELS[0], MELS[1, :, :32]]):
        cache(mels)
    assert judged == [5, 5, 5, 5, 4, 5, 5, 2]
    assert len(os.listdir(tmp_path)) == 8


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", flipped])
def test_a_damaged_file_is_made_anew(tmp_path, judged, damage):
    cache = VerdictCache(tiny_classifier(), tmp_path)
    expected = cache(MELS)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert same(cache(MELS), expected) and path.read_bytes() == whole
    assert judged == [5, 5] and os.listdir(tmp_path) == [path.name]


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="choose another with --cache"):
        VerdictCache(tiny_classifier(), tmp_path / "file")
