"""What a classifier makes of whole recordings, in windows of ten seconds: the sets of FID, KID and MKL.

Iashin & Rahtu, "Taming Visually Guided Sound Generation" (BMVC 2021), judge spectrograms of 848 frames. A recording is
cut into such windows, and what is left of it counts if it has a second. MKL is the mean over windows, whatever their
length; FID and KID compare the sets of all windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ..classifiers import Classifier
from .distributions import FEWEST, divergences, frechet_distance, kernel_distance
from .relevance import Verdict, verdict

WINDOW_FRAMES = 848
SHORTEST_FRAMES = 86  # 1 s


class Relevance(NamedTuple):
    """How decoded sound differs from the original to a classifier; None where there are too few windows.

    Attributes:
        fid: Fréchet distance of the features.
        kid: kernel distance of the features.
        mkl: mean Kullback-Leibler divergence of the classes' probabilities, in nats.
    """

    fid: float | None
    kid: float | None
    mkl: float | None


def judge(classifier: Classifier, mel: Tensor) -> Verdict | None:
    """The verdict on the windows of one recording's log-mel spectrogram (80, T) in [0, 1]; None if there is none.

    A window's verdict depends on nothing around it.
    """
    windows = [window for window in mel.split(WINDOW_FRAMES, dim=1) if window.shape[1] >= SHORTEST_FRAMES]
    return verdict(classifier, windows) if windows else None


def relevance(originals: Sequence[Verdict], decoded: Sequence[Verdict]) -> Relevance:
    """Compare verdicts on the same recordings, in the same order."""
    if not originals:
        return Relevance(None, None, None)
    real, made = Verdict.together(originals), Verdict.together(decoded)
    mkl = float(divergences(real.probabilities, made.probabilities).mean())
    if len(real.hidden) < FEWEST:
        return Relevance(None, None, mkl)
    kid, _ = kernel_distance(real.hidden, made.hidden)
    return Relevance(frechet_distance(real.hidden, made.hidden), kid, mkl)
