"""How often a classifier is right, by domain."""

import pytest
import torch
from judging import tiny_classifier

from specvq_codec.bitstream.errors import UsageError
from specvq_codec.evaluation.classification import classification_metrics
from specvq_codec.evaluation.judge import SHORTEST_FRAMES, judge
from specvq_codec.evaluation.verdicts import METRICS, named, probabilities_of, sections_of
from specvq_codec.training.data import Clip

LABELS = ("bell", "dog", "rain")


def clip(label, domain="sound"):
    return Clip(f"{label}.wav", "test", domain, 0, 22_050, label)


def test_recordings_of_unknown_labels_are_left_out():
    known = [clip("dog"), clip("rain")]
    assert named([known[0], clip("cat"), known[1], clip("")], LABELS) == known
    with pytest.raises(UsageError, match="No recording"):
        named([clip("cat")], LABELS)


def test_probabilities_are_means_over_windows():
    classifier = tiny_classifier()
    mels = [torch.rand(80, frames, generator=torch.Generator().manual_seed(frames)) for frames in (300, 1700, 40)]
    found = probabilities_of(classifier, mels)
    for mel, row in zip(mels[:2], found, strict=False):
        assert torch.equal(row, judge(classifier, mel).probabilities.mean(0))
    silence = torch.zeros(80, SHORTEST_FRAMES - 40)
    assert torch.equal(found[2], judge(classifier, torch.cat([mels[2], silence], 1)).probabilities[0])
    torch.testing.assert_close(found.sum(1), torch.ones(3, dtype=torch.float64))


def test_sections():
    clips = [clip("dog"), clip("rain"), clip("dog"), clip("bell", "music")]
    probabilities = torch.tensor([[0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.2, 0.7, 0.1], [0.9, 0.1, 0.0]]).double()
    everything, music, sound = sections_of(clips, LABELS, probabilities)
    assert (everything.domain, everything.recordings, everything.classes, everything.chance) == ("all", 4, 3, 0.5)
    assert everything.metrics["accuracy"] == 0.75
    whole = classification_metrics(probabilities, torch.tensor([1, 2, 1, 0]))
    assert everything.metrics == {name: whole[name] for name in METRICS}
    assert (music.domain, music.recordings, music.classes, music.chance, music.metrics) == ("music", 1, 1, 1.0, {})
    assert (sound.domain, sound.classes, sound.chance) == ("sound", 2, pytest.approx(2 / 3))
    assert sound.metrics["accuracy"] == pytest.approx(2 / 3)


def test_a_domain_called_all_is_not_everything():
    clips = [clip("dog", "all"), clip("rain")]
    sections = sections_of(clips, LABELS, torch.rand(2, 3).double())
    assert [(section.domain, section.recordings) for section in sections] == [("all", 2), ("all/", 1), ("sound", 1)]


def test_one_domain_has_one_section():
    assert len(sections_of([clip("dog"), clip("rain")], LABELS, torch.rand(2, 3).double())) == 1
