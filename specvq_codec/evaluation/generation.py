"""What samplers make of the conditions of recordings, against the recordings themselves: the tables of the paper.

After Iashin & Rahtu, "Taming Visually Guided Sound Generation" (BMVC 2021).

The convention. Of every recording of a second at least, the first whole columns are the original, up to the sampler's
window (848 frames, ten seconds). For each original, several new sounds as long as it are drawn, with what the sampler
is told of it. FID and KID compare the features of all samples with those of all originals, IS is of the samples alone,
and MKL is the mean over all samples of the divergence of the original's classes from the sample's (`distributions`).
All spectrograms are those before any vocoder, which is what the reference stores and judges.

MKL is told of every class of recordings, too; FID, KID and IS only where a class has at least 20 originals.

Three rows tell the limits. "originals": the IS of what is real. "originals, decoded": what the codec alone does to the
originals, which no sample can be better than. "other originals, decoded": what MKL is by chance; in a class, between
its own recordings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..sampling import Sampling
from ..training.distributed import Processes
from .caching import VerdictCache
from .distributions import FEWEST, chance_divergences, divergences, frechet_distance, inception_score, kernel_distance
from .drawing import Original, Setting, codecs_of, decoded_mels, draw, encoded, original_mel
from .labels import ALL, labels_of, section_name
from .metrics import mean_and_error
from .relevance import Verdict, verdict

ORIGINALS, DECODED, OTHERS = "originals", "originals, decoded", "other originals, decoded"


@dataclass(frozen=True)
class Scores:
    """Measures of one set of sounds; None where there is nothing to measure, or too little.

    Attributes:
        fid: Fréchet distance of the features from those of the originals.
        kid: squared maximum mean discrepancy of the features from those of the originals.
        kid_deviation: its standard deviation over subsets; None where all sounds were compared at once.
        inception: inception score.
        inception_deviation: its standard deviation over parts.
        mkl: mean divergence from the originals' classes, in nats.
        mkl_error: its standard error over originals.
    """

    fid: float | None = None
    kid: float | None = None
    kid_deviation: float | None = None
    inception: float | None = None
    inception_deviation: float | None = None
    mkl: float | None = None
    mkl_error: float | None = None


@dataclass(frozen=True)
class Row:
    """One set of sounds.

    Attributes:
        name: what sounds they are.
        sounds: how many there are.
        scores: what was measured.
        weights: label of the bundle that made them (see `labels_of`); None for originals.
        condition: what the sampler was told; None where there is no sampler.
        features: how many of it were features of a video.
        top_k: the number of likeliest indices they were drawn from.
    """

    name: str
    sounds: int
    scores: Scores
    weights: str | None = None
    condition: str | None = None
    features: int | None = None
    top_k: int | None = None


@dataclass(frozen=True)
class Section:
    """The rows of one class, or of all originals."""

    label: str
    originals: int
    rows: tuple[Row, ...]


class Judged(NamedTuple):
    """The verdicts on one original, on what each codec makes of it, and on the samples of each setting."""

    place: int
    real: Verdict
    decoded: list[Verdict]
    drawn: list[Verdict]


@torch.inference_mode()
def judge(
    settings: Sequence[Setting],
    originals: Sequence[Original],
    cache: VerdictCache,
    samples: int,
    seed: int = 0,
    processes: Processes | None = None,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> list[Judged]:
    """Draw and judge. An original is a unit of work, so that results do not depend on the number of processes.

    Args:
        settings: ways to draw.
        originals: to draw for.
        cache: the classifier, and where its verdicts on originals are kept.
        samples: of each original and setting.
        seed: of the random numbers; that of original i is seed + i, whatever the setting is.
        processes: that share the work; this one alone if not given.
        track: iterates over this process's originals, and may show how far it is.

    Returns:
        What this process has judged.

    Raises:
        UsageError: a sampler needs a condition that the pack does not have.
    """
    processes = processes or Processes()
    codecs = codecs_of(settings)
    judged = []
    for place in track(range(processes.rank, len(originals), processes.count)):
        one = originals[place]
        mel = original_mel(settings[0].known.pack, one)
        decoded = [cache(decoded_mels(codec, [encoded(codec, mel)])) for codec in codecs]
        drawn = []
        for setting in settings:
            codes = draw(setting.known, one, setting.names, samples, Sampling(setting.top_k, seed=seed + place))
            drawn.append(verdict(cache.classifier, decoded_mels(setting.known.codec, codes)))
        judged.append(Judged(place, cache(mel[None]), decoded, drawn))
    return judged


def sections_of(settings: Sequence[Setting], originals: Sequence[Original], judged: Iterable[Judged]) -> list[Section]:
    """The tables: of all originals, and then of each class.

    Args:
        settings: as they were judged.
        originals: likewise.
        judged: from all processes, in any order.
    """
    ordered = sorted(judged, key=lambda one: one.place)
    labels = [original.clip.label for original in originals]
    groups = [(ALL, ordered)]
    for label in sorted(set(labels) - {""}):
        groups.append((section_name(label), [one for one in ordered if labels[one.place] == label]))
    return [Section(label, len(group), tuple(_rows(settings, group))) for label, group in groups]


def _rows(settings: Sequence[Setting], judged: Sequence[Judged]) -> Iterator[Row]:
    real = Verdict.together(one.real for one in judged)
    yield Row(ORIGINALS, len(judged), _alone(real))
    codecs = codecs_of(settings)
    bundles = {setting.known.codec.bundle.path: setting.known.codec.bundle for setting in settings}
    labels = dict(zip(bundles, labels_of(list(bundles.values())), strict=True))
    for place, codec in enumerate(codecs):
        name = labels[codec.bundle.path]
        by = f" by {name}" if len(codecs) > 1 else ""
        made = Verdict.together(one.decoded[place] for one in judged)
        yield Row(DECODED + by, len(judged), _compared(real, made), name)
        yield Row(OTHERS + by, len(judged), _by_chance(real, made), name)
    for place, setting in enumerate(settings):
        name = labels[setting.known.codec.bundle.path]
        title = f"new, {setting.condition}" + f", by {name}" * (len(labels) > 1)
        made = Verdict.together(one.drawn[place] for one in judged)
        told = (name, setting.condition, setting.features, setting.top_k)
        yield Row(title, len(made.hidden), _compared(real, made), *told)


def _alone(made: Verdict) -> Scores:
    """What sounds are without originals."""
    if len(made.hidden) < FEWEST:
        return Scores()
    inception, deviation = inception_score(made.unbiased)
    return Scores(inception=inception, inception_deviation=deviation)


def _by_chance(real: Verdict, made: Verdict) -> Scores:
    """What sounds are that were made for other originals."""
    if len(real.hidden) < 2:
        return Scores()
    mkl, error = mean_and_error(chance_divergences(real.probabilities, made.probabilities))
    return Scores(mkl=mkl, mkl_error=error)


def _compared(real: Verdict, made: Verdict) -> Scores:
    """What equally many sounds for each original are, which lie one after another."""
    originals = len(real.hidden)
    samples = len(made.hidden) // originals
    values = divergences(real.probabilities.repeat_interleave(samples, 0), made.probabilities)
    mkl, error = mean_and_error(values.unflatten(0, (originals, samples)).mean(1))
    if originals < FEWEST:
        return Scores(mkl=mkl, mkl_error=error)
    fid, kid = frechet_distance(real.hidden, made.hidden), kernel_distance(real.hidden, made.hidden)
    return Scores(fid, *kid, *inception_score(made.unbiased), mkl, error)
