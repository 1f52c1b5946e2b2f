"""Fidelity and diversity of what a sampler makes against top-X, the number of likeliest indices that it draws from.

After Iashin & Rahtu, "Taming Visually Guided Sound Generation" (BMVC 2021), whose figure shows that X trades one for
the other. There the conditions are features of videos; here they are all that the sampler can be told of the pack.

The convention. The originals are recordings of some seconds at least, cut to these seconds. For each, several new
sounds as long as it are drawn with its condition. Fidelity is MKL of original and sample (`distributions.divergences`),
and the Fréchet distance of the classifier's hidden features of originals and samples. Diversity is the mean absolute
difference between the log-mel spectrograms of samples for the same original, in dB, and the number of distinct indices
in samples. The Fréchet distance and the number of indices are means over sets of samples with one for each original,
since both depend on how many there are. All spectrograms are those before any vocoder.

Two rows tell the limits. "originals, decoded": what the codec alone does to the originals, which no sample can be
better than; its difference is between originals of the same class. "other originals, decoded": what MKL is by chance,
when every original is compared with all others instead of with samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bitstream.errors import UsageError
from ..classifiers import Classifier
from ..codec import Codec
from ..codes import Codes
from ..sampling import Sampling
from ..spectrogram import SAMPLE_RATE
from ..training.data import Clip
from ..windows import COLUMN_SAMPLES
from .conditioning import Conditioning
from .continuations import DECIBELS
from .distributions import chance_divergences, divergences, frechet_distance
from .drawing import Original, decoded_mels, draw, encoded, original_mel
from .generation import DECODED, OTHERS
from .metrics import mean_and_error
from .relevance import Verdict, verdict


@dataclass(frozen=True)
class Point:
    """One row.

    Attributes:
        name: what sounds they are.
        top_k: the number of indices they were drawn from; None for originals.
        mkl: mean divergence, in nats, over originals.
        mkl_error: its standard error.
        fid: Fréchet distance of the classifier's hidden features; None for `OTHERS`, which are the originals again.
        indices: distinct ones; None for `OTHERS`.
        difference: mean difference between sounds for the same thing, in dB; None where there are no two.
        difference_error: its standard error, over originals or classes.
    """

    name: str
    top_k: int | None
    mkl: float
    mkl_error: float | None
    fid: float | None = None
    indices: float | None = None
    difference: float | None = None
    difference_error: float | None = None


@torch.inference_mode()
def trade_off(
    known: Conditioning,
    classifier: Classifier,
    clips: Sequence[Clip],
    seconds: float,
    top_ks: Sequence[int],
    samples: int,
    seed: int = 0,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> list[Point]:
    """Measure samples for every top-X, after two rows of originals.

    Args:
        known: the codec with its sampler, and what its sampler can be told of the pack.
        classifier: whose verdicts are compared; its classes need not be those of the pack.
        clips: the originals, two at least, each of these seconds at least (`continuations.long_enough`).
        seconds: their length, of which the whole columns count.
        top_ks: numbers of likeliest indices.
        samples: of each original, at least two.
        seed: of the random numbers; that of original i is seed + i, whatever top-X is.
        track: iterates over `top_ks`, and may show how far it is.

    Raises:
        UsageError: there are too few originals, the time is too short, or the sampler needs a condition that the pack
            does not have.
        WeightsError: the bundle has no sampler.
    """
    columns = int(seconds * SAMPLE_RATE) // COLUMN_SAMPLES
    if columns < 1 or len(clips) < 2:
        raise UsageError(
            f"Two recordings of a column (0.19 s) are needed at least: {len(clips)} of {seconds:g} s are too few. "
            "Choose other --seconds, a larger -n, or another split."
        )
    codec = known.codec
    kind, names = list(known.kinds().items())[-1]
    beginnings = [Original(clip, columns) for clip in clips]
    mels = [original_mel(known.pack, one) for one in beginnings]
    originals = verdict(classifier, mels)
    points = _of_originals(codec, classifier, originals, [encoded(codec, mel) for mel in mels], clips)
    for top_k in track(top_ks):
        drawn = []
        for place, one in enumerate(beginnings):
            drawn.append(draw(known, one, names, samples, Sampling(top_k, seed=seed + place)))
        points.append(_of_samples(codec, classifier, originals, drawn, f"new, {kind}", top_k))
    return points


def pairwise_difference(mels: Tensor) -> float:
    """Mean absolute difference in dB over all pairs of log-mel spectrograms (N, 80, T) in [0, 1], N >= 2."""
    pairs = itertools.combinations(mels, 2)
    return DECIBELS * float(torch.stack([(one - other).abs().mean() for one, other in pairs]).mean())


def _of_samples(
    codec: Codec, classifier: Classifier, originals: Verdict, drawn: Sequence[Sequence[Codes]], name: str, top_k: int
) -> Point:
    """The point of the samples of each original."""
    mels = torch.stack([decoded_mels(codec, codes) for codes in drawn])  # (N, samples, 80, T)
    sets = [verdict(classifier, one) for one in mels.unbind(1)]
    values = torch.stack([divergences(originals.probabilities, one.probabilities) for one in sets]).mean(0)
    fid = sum(frechet_distance(originals.hidden, one.hidden) for one in sets) / len(sets)
    indices = sum(_distinct(one) for one in zip(*drawn, strict=True)) / len(sets)
    difference = mean_and_error(torch.tensor([pairwise_difference(one) for one in mels]))
    return Point(name, top_k, *mean_and_error(values), fid, indices, *difference)


def _of_originals(
    codec: Codec, classifier: Classifier, originals: Verdict, codes: Sequence[Codes], clips: Sequence[Clip]
) -> list[Point]:
    """What the decoded originals themselves give, and what MKL is when others stand in their places."""
    mels = decoded_mels(codec, codes)
    decoded = verdict(classifier, mels)
    mkl = mean_and_error(divergences(originals.probabilities, decoded.probabilities))
    fid, indices = frechet_distance(originals.hidden, decoded.hidden), _distinct(codes)
    labels = sorted({clip.label for clip in clips} - {""})
    classes = [[place for place, clip in enumerate(clips) if clip.label == label] for label in labels]
    differences = [pairwise_difference(mels[places]) for places in classes if len(places) > 1]
    difference = mean_and_error(torch.tensor(differences)) if differences else (None, None)
    chance = chance_divergences(originals.probabilities, decoded.probabilities)
    return [
        Point(DECODED, None, *mkl, fid, indices, *difference),
        Point(OTHERS, None, *mean_and_error(chance)),
    ]


def _distinct(codes: Sequence[Codes]) -> int:
    return len(np.unique(np.stack([one.indices for one in codes])))
