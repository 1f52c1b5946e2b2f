"""When sounds begin, and whether that is when something is seen to happen.

Onsets are peaks of the spectral flux, picked by three of the rules of Böck, Krebs & Schedl, "Evaluating the online
capabilities of onset detection methods" (ISMIR 2012): a peak is the largest value near it, lies above the mean
around it, and keeps away from the peak before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from .. import spectrogram as spec

Times = npt.NDArray[np.float64]

FRAMES_A_SECOND = spec.SAMPLE_RATE / spec.HOP_LENGTH
_DECIBELS = 100.0  # between 0 and 1 of a spectrogram
_RANGE = 40.0  # dB below a recording's loudest band within which its bands count
_LAG = 3  # frames over which a rise is measured: a sudden one takes four, as windows overlap by three quarters
_PEAK = 6  # frames on either side in which a peak is the largest, 70 ms
_MEAN = 26  # frames on either side of whose mean it must lie above, 0.3 s
_ABOVE = 0.2  # by so much of the largest strength in the recording
_APART = 13  # frames between peaks, 0.15 s


def onset_strength(mel: Tensor) -> Tensor:
    """How much louder the bands become, averaged over them: the spectral flux.

    Args:
        mel: log-mel spectrogram (80, T) in [0, 1]. What lies 40 dB below its largest value counts as silence, so that
            a change of gain changes nothing.

    Returns:
        (T,), float32, in dB from 0: of frame t, the rise from frame t - 3. Silence goes before the first frame.
    """
    decibels = mel.float() * _DECIBELS
    heard = (decibels - (decibels.max() - _RANGE)).clamp(min=0)
    return (heard - F.pad(heard, (_LAG, 0))[:, :-_LAG]).clamp(min=0).mean(0)


def onsets(mel: Tensor) -> Times:
    """When sounds begin: seconds (n,), float64, ascending, in a log-mel spectrogram (80, T) in [0, 1], T >= 1.

    A spectrogram that is the same everywhere has none. They lie within some 20 ms of what is heard, which is less than
    a frame of a video.
    """
    strength = onset_strength(mel)
    largest = strength.max()
    if not largest > 0 or mel.max() == mel.min():
        return np.empty(0)
    near = F.max_pool1d(strength[None], 2 * _PEAK + 1, 1, _PEAK)[0]
    mean = F.avg_pool1d(strength[None], 2 * _MEAN + 1, 1, _MEAN)[0]
    peaks = (strength == near) & (strength >= mean + _ABOVE * largest)
    found: list[int] = []
    for frame in peaks.nonzero()[:, 0].tolist():
        if not found or frame - found[-1] >= _APART:
            found.append(frame)
    return np.array(found) / FRAMES_A_SECOND


class Alignment(NamedTuple):
    """How many times agree: pairs of a time found and a true one, each in one pair at most; and how many there are."""

    pairs: int
    found: int
    true: int

    @property
    def precision(self) -> float:
        """The share of the times found that are true; 0 if there are none."""
        return self.pairs / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """The share of the true times that are found; 0 if there are none."""
        return self.pairs / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 if there are no times at all."""
        return 2 * self.pairs / (self.found + self.true) if self.found + self.true else 0.0


def align(found: Times, true: Times, tolerance: float) -> Alignment:
    """As many pairs of times as possible that differ by at most `tolerance` seconds; both (n,) and ascending."""
    pairs = place = 0
    for time in true.tolist():  # with one tolerance for all, the first that is near enough is the best choice
        while place < len(found) and found[place] < time - tolerance:
            place += 1
        if place < len(found) and found[place] <= time + tolerance:
            pairs, place = pairs + 1, place + 1
    return Alignment(pairs, len(found), len(true))


def align_by_chance(found: Sequence[Times], true: Sequence[Times], tolerance: float) -> Alignment:
    """What to expect by chance: every recording with the true times of every other one, counted together."""
    count = len(found)
    return add_up(align(found[i], true[j], tolerance) for i in range(count) for j in range(count) if i != j)


def add_up(alignments: Iterable[Alignment]) -> Alignment:
    """Recordings counted together, as if they were one."""
    total = Alignment(0, 0, 0)
    for alignment in alignments:
        total = Alignment(*(mine + its for mine, its in zip(total, alignment, strict=True)))
    return total
