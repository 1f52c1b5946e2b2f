"""Whether a continued sound goes on as it began: the seam, and the statistics on either side of it.

The convention. Of each recording the first columns count, as many as the sampler's window has or the recording has
whole. The first half of them is encoded by itself, so that nothing is known of what follows, and continued to the full
length. What is compared are log-mel spectrograms of waveforms, since these are what is heard.

A step of some width is the mean absolute difference over mel bands, in dB, between the means of so many frames before
and after a place: of one frame, and of the 16 of a column, which a change that is smeared over frames cannot escape.
The seam is where the given columns end. It is compared with the recording's inner step, the median over all places of
the original. By that definition half of all steps of a sound are larger, so that the row of the original tells how
often a seam that nobody made stays below. A mean over seams has a few large steps in it, as that over a sound's own
steps would have; like is compared with like by the median over seams of the step in units of the inner step.

The statistics of a piece of sound are the mean and the standard deviation over time of every mel band. Their distance
is the 2-Wasserstein distance of normal distributions that have them, as a root mean square over bands, in dB:
sqrt(mean((m1 - m2)^2 + (s1 - s2)^2)). That from the first half to its continuation should be near that to the true
second half, and below that to the second halves of all other recordings, decoded, in the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..bitstream.errors import UsageError
from ..codec import Codec
from ..codes import Codes
from ..continuation import continuations
from ..models.autoencoder import COLUMN_FRAMES
from ..sampling import Sampling
from ..spectrogram import SAMPLE_RATE
from ..training.data import Clip, Pack
from ..windows import COLUMN_SAMPLES
from .conditioning import Conditioning
from .metrics import mean_and_error, waveform_mel
from .reconstruction import spread

SHORTEST = 6.0  # seconds of a recording that is continued
DECIBELS = 100.0  # between 0 and 1 of a spectrogram
WIDTHS = (1, COLUMN_FRAMES)  # of steps, in frames
_LEAST = 1e-3  # dB, of an inner step that others are divided by
ORIGINAL, DECODED, OTHERS = "original", "decoded original", "second halves of others, decoded"


@dataclass(frozen=True)
class Step:
    """Steps of one width at the seam, in dB.

    Attributes:
        frames: the width.
        mean: over recordings, of the mean over their samples.
        error: its standard error over recordings.
        typical: the median over all samples of the step, as a multiple of the original's inner step.
        below: share of all samples whose step is no larger than the original's inner step.
    """

    frames: int
    mean: float
    error: float | None
    typical: float
    below: float


@dataclass(frozen=True)
class Row:
    """What was measured of one kind of second halves.

    Attributes:
        name: which ones.
        steps: at the seam, for each of `WIDTHS`; none where no sound goes on.
        distance: of the statistics of the first half from those of the second, in dB, mean over recordings.
        distance_error: its standard error.
    """

    name: str
    steps: tuple[Step, ...]
    distance: float
    distance_error: float | None


@dataclass(frozen=True)
class Report:
    """What was measured of continuations of some recordings, several samples of each.

    Attributes:
        recordings: their paths.
        samples: continuations of each, for each set of conditions.
        primed_columns: given columns, over all continuations.
        kept_columns: how many of them came back as they were, to the index.
        inner: the originals' inner step, mean over recordings, in dB, for each of `WIDTHS`.
        rows: of the originals, and of continuations.
    """

    recordings: tuple[str, ...]
    samples: int
    primed_columns: int
    kept_columns: int
    inner: tuple[float, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _Continued:
    """One recording: log-mel spectrograms (80, T) by what they are of, several where samples were drawn."""

    seam: int  # first frame after it
    primed: int  # columns, over all samples
    kept: int
    mels: dict[str, list[Tensor]]


def continued(
    known: Conditioning,
    clips: Sequence[Clip],
    samples: int,
    sampling: Sampling,
    track: Callable[[Sequence[Clip]], Iterable[Clip]] = iter,
) -> Report:
    """Continue recordings, for every set of conditions that the sampler can be given, and measure.

    Args:
        known: the codec with its sampler, and what its sampler can be told of the pack.
        clips: of the pack, as `long_enough` chooses them.
        samples: continuations of each.
        sampling: how indices are drawn; the seed of recording i is i more.
        track: iterates over recordings, and may show how far it is.

    Raises:
        UsageError: the pack holds spectrograms alone, or has no condition that the sampler needs.
        WeightsError: the bundle has no sampler.
    """
    measured: list[_Continued] = []
    for clip in track(clips):
        seeded = replace(sampling, seed=sampling.seed + len(measured))
        measured.append(_continued(known, clip, samples, seeded))
    inner = {width: torch.stack([inner_step(one.mels[ORIGINAL][0], width) for one in measured]) for width in WIDTHS}
    return Report(
        tuple(clip.path for clip in clips),
        samples,
        sum(one.primed for one in measured),
        sum(one.kept for one in measured),
        tuple(float(values.double().mean()) for values in inner.values()),
        (*(_row(name, measured, inner) for name in measured[0].mels), *_others(measured)),
    )


def long_enough(pack: Pack, count: int, seconds: float = SHORTEST) -> list[Clip]:
    """Up to `count` of a pack's recordings of at least so many seconds, evenly spread.

    Raises UsageError if there is none.
    """
    found = spread([clip for clip in pack.clips if pack.num_samples(clip) >= seconds * SAMPLE_RATE], count)
    if not found:
        raise UsageError(f"No recording of this split lasts {seconds:g} s: choose another split, or pack longer ones.")
    return found


def steps(mel: Tensor, width: int) -> Tensor:
    """Steps of a width at all places of a spectrogram (80, T) in [0, 1], in dB: (T - 2 width + 1,).

    The first is at the frame `width`.
    """
    means = mel.unfold(1, width, 1).mean(2)  # (80, T - width + 1)
    return DECIBELS * (means[:, width:] - means[:, :-width]).abs().mean(0)


def inner_step(mel: Tensor, width: int) -> Tensor:
    """The median step of a width in a spectrogram (80, T), in dB: ()."""
    return steps(mel, width).quantile(0.5)


def statistics_distance(one: Tensor, other: Tensor) -> float:
    """Distance in dB of the mean and deviation over time of the bands of two spectrograms (80, T) and (80, S)."""
    (variance, mean), (other_variance, other_mean) = (torch.var_mean(mel, 1, correction=0) for mel in (one, other))
    squares = (mean - other_mean).square() + (variance.sqrt() - other_variance.sqrt()).square()
    return DECIBELS * float(squares.mean().sqrt())


def _continued(known: Conditioning, clip: Clip, samples: int, sampling: Sampling) -> _Continued:
    codec = known.codec
    columns = min(clip.length // COLUMN_SAMPLES, codec.sampler.config.columns)
    prime = columns // 2
    if prime == 0:
        raise UsageError("Halves need two columns at least, and this sampler's window has one.")
    waveform = known.pack.waveform(clip)[: columns * COLUMN_SAMPLES].cpu()
    mels = {ORIGINAL: [waveform_mel(waveform)], DECODED: [_mel(codec, codec.encode(waveform))]}
    beginning = codec.encode(waveform[: prime * COLUMN_SAMPLES])
    seconds = (columns - prime) * COLUMN_SAMPLES / SAMPLE_RATE
    primed = kept = 0
    for kind, names in known.kinds().items():
        made = continuations(codec, beginning, seconds, samples, sampling, known.condition(clip, names))
        primed += samples * prime
        kept += sum(int(np.all(codes.indices[:prime] == beginning.indices, axis=1).sum()) for codes in made)
        mels[f"continued, {kind}"] = [_mel(codec, codes) for codes in made]
    return _Continued(prime * COLUMN_FRAMES, primed, kept, mels)


def _mel(codec: Codec, codes: Codes) -> Tensor:
    return waveform_mel(torch.from_numpy(codec.decode(codes)))


def _row(name: str, measured: Sequence[_Continued], inner: dict[int, Tensor]) -> Row:
    found = []
    for width, limits in inner.items():
        at_seam = [[steps(mel, width)[one.seam - width] for mel in one.mels[name]] for one in measured]
        values = torch.tensor(at_seam)  # (recordings, samples)
        below = float((values <= limits[:, None]).double().mean())
        typical = float((values / limits[:, None].clamp_min(_LEAST)).quantile(0.5))
        found.append(Step(width, *mean_and_error(values.mean(1)), typical, below))
    distances = [
        [statistics_distance(mel[:, : one.seam], mel[:, one.seam :]) for mel in one.mels[name]] for one in measured
    ]
    return Row(name, tuple(found), *mean_and_error(torch.tensor(distances).mean(1)))


def _others(measured: Sequence[_Continued]) -> list[Row]:
    """The distance of first halves from the second halves of other recordings; nothing if there is no other one."""
    halves = [(one.mels[DECODED][0][:, : one.seam], one.mels[DECODED][0][:, one.seam :]) for one in measured]
    distances = [
        [statistics_distance(first, second) for other, (_, second) in enumerate(halves) if other != place]
        for place, (first, _) in enumerate(halves)
    ]
    return [Row(OTHERS, (), *mean_and_error(torch.tensor(distances).mean(1)))] if len(halves) > 1 else []
