"""Whether a classifier names recordings rightly, which is what distances by its features and verdicts are worth.

The convention is that of `judge`: a recording is heard in windows of ten seconds, and its probabilities are the mean
over windows. Silence follows recordings that are shorter than a window may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bitstream.errors import UsageError
from ..classifiers import Classifier
from ..training.data import Clip
from .classification import classification_metrics
from .judge import SHORTEST_FRAMES, judge
from .labels import ALL, section_name

METRICS = ("accuracy", "accuracy_5", "mAP", "mAUC")  # d', which only says mAUC again, can be infinite


@dataclass(frozen=True)
class Section:
    """How often a classifier is right on the recordings of a domain, or on all.

    Attributes:
        domain: which recordings.
        recordings: how many.
        classes: that occur among them.
        chance: the accuracy of always naming the class that occurs most often.
        metrics: the `METRICS` among those of `classification_metrics`; none of fewer than two classes.
    """

    domain: str
    recordings: int
    classes: int
    chance: float
    metrics: dict[str, float]


def named(clips: Sequence[Clip], labels: Sequence[str]) -> list[Clip]:
    """The recordings whose label a classifier knows; UsageError if there is none."""
    known = set(labels)
    found = [clip for clip in clips if clip.label in known]
    if not found:
        raise UsageError("No recording has a label that the classifier knows: train it on such labels.")
    return found


def probabilities_of(classifier: Classifier, mels: Iterable[Tensor]) -> Tensor:
    """Probabilities of the classes for the log-mel spectrograms (80, T) in [0, 1] of recordings: float64 (N, C)."""
    found = []
    for mel in mels:
        judged = judge(classifier, F.pad(mel, (0, max(0, SHORTEST_FRAMES - mel.shape[1]))))
        assert judged is not None  # a recording of that length has a window
        found.append(judged.probabilities.mean(0))
    return torch.stack(found)


def sections_of(clips: Sequence[Clip], labels: Sequence[str], probabilities: Tensor) -> list[Section]:
    """All recordings, and those of each domain, if there are several.

    Args:
        clips: N recordings, whose labels are among `labels`.
        labels: of the C classes.
        probabilities: of `probabilities_of`, (N, C).
    """
    targets = torch.tensor([labels.index(clip.label) for clip in clips])
    domains = sorted({clip.domain for clip in clips})
    sections = [_section(ALL, targets, probabilities)]
    for domain in domains if len(domains) > 1 else ():
        places = torch.tensor([place for place, clip in enumerate(clips) if clip.domain == domain])
        sections.append(_section(section_name(domain), targets[places], probabilities[places]))
    return sections


def _section(domain: str, targets: Tensor, probabilities: Tensor) -> Section:
    counts = targets.bincount()
    classes = int((counts > 0).sum())
    found = classification_metrics(probabilities, targets) if classes > 1 else {}
    metrics = {name: found[name] for name in METRICS if name in found}
    return Section(domain, len(targets), classes, float(counts.max()) / len(targets), metrics)
