"""How far a set of sounds is from another, by a classifier's features and probabilities: FID, KID, MKL, and IS.

All compute in float64, with the options of Iashin & Rahtu, "Taming Visually Guided Sound Generation" (BMVC 2021). They
are written here, since torchmetrics and torch-fidelity take pictures and a network in the place of features, draw the
subsets of KID from other random numbers, and need torchvision.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

SEED = 2020  # the reference's, of the subsets of KID and the splits of IS
SUBSETS = 100
SUBSET_SIZE = 1000
SPLITS = 10
FEWEST = 20  # sounds of which means and covariances tell anything; of fewer, tables leave FID, KID and IS out
_SMALL = 1e-6  # added to probabilities of generated sound, as the reference does


def divergences(real: Tensor, generated: Tensor) -> Tensor:
    """Kullback-Leibler divergence of class distributions (N, C) of originals from those of generated sound: (N,), nats.

    Its mean over pairs is the relevance measure MKL of Iashin & Rahtu, with their 1e-6 added to the generated: 0 for
    equal ones, and more the less is kept.
    """
    real, generated = real.double(), generated.double()
    return (torch.special.xlogy(real, real) - real * (generated + _SMALL).log()).sum(1)


def chance_divergences(real: Tensor, generated: Tensor) -> Tensor:
    """For each original, the mean of `divergences` from the sounds made for all others: (N,), N >= 2, nats."""
    real, logarithms = real.double(), (generated.double() + _SMALL).log()
    others = (logarithms.sum(0) - logarithms) / (len(real) - 1)
    return (torch.special.xlogy(real, real) - real * others).sum(1)


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """The Fréchet distance of normal distributions with the means and covariances of features (N, D) and (M, D).

    Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium" (2017): FID,
    there of Inception's features. Few examples make it larger, so compare equal numbers. N and M are at least 2.
    """
    (first, first_mean), (second, second_mean) = (_centred(features.double()) for features in (one, other))
    # the trace of the root of both covariances' product is the sum of the singular values of this matrix
    common = torch.linalg.matrix_norm(first @ second.mT, ord="nuc")
    squares = (first_mean - second_mean).square().sum() + first.square().sum() + second.square().sum()
    return max(0.0, float(squares - 2 * common))


def kernel_distance(
    one: Tensor,
    other: Tensor,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
) -> tuple[float, float | None]:
    """The squared maximum mean discrepancy of features (N, D) and (M, D) for the kernel (gamma x.y + coef0)^degree.

    Bińkowski et al., "Demystifying MMD GANs" (2018): KID, there of Inception's features. The estimate is unbiased: for
    sets of one distribution it is around zero, whatever their size, and can be negative.

    Args:
        one: N at least 2.
        other: M at least 2.
        subsets: drawn of both sets, each without replacement, over which it is averaged. Which rows they take is
            decided by the places of rows, so that the order of a set matters a little; sets no larger than a subset are
            compared once, as a whole.
        subset_size: rows of a subset; all of the smaller set, if that has fewer.
        degree: of the kernel.
        gamma: of the kernel; 1 / D if not given.
        coef0: of the kernel.

    Returns:
        Mean and standard deviation over subsets; no deviation where there was one.
    """
    size = min(subset_size, len(one), len(other))
    gamma = 1.0 / one.shape[1] if gamma is None else gamma
    subsets = 1 if size == max(len(one), len(other)) else subsets  # all of them would be the whole sets

    def kernel(first: Tensor, second: Tensor) -> Tensor:
        return (gamma * first @ second.mT + coef0) ** degree

    random = np.random.RandomState(SEED)
    values = []
    for _ in range(subsets):
        first, second = (part[torch.from_numpy(random.choice(len(part), size, replace=False))] for part in (one, other))
        first, second = first.double(), second.double()
        within = _off_diagonal_mean(kernel(first, first)) + _off_diagonal_mean(kernel(second, second))
        values.append(float(within - 2 * kernel(first, second).mean()))
    return float(np.mean(values)), float(np.std(values)) if subsets > 1 else None


def inception_score(logits: Tensor, splits: int = SPLITS, shuffle: bool = True) -> tuple[float, float]:
    """The exponential of the mean divergence of single sounds' classes from those of all: 1 at worst, C at best.

    Salimans et al., "Improved techniques for training GANs" (2016). It is large where every sound is clearly of a class
    and all classes occur, whatever the originals are.

    Args:
        logits: (N, C), N at least 1; the reference takes those without the last layer's bias.
        splits: parts of the set, each of which has a score; no more than N. The fewer sounds a part has, the lower its
            score is, so compare equal numbers.
        shuffle: whether sounds are assigned to parts at random.

    Returns:
        Mean and standard deviation over parts.
    """
    logits = logits.double()
    count, splits = len(logits), min(splits, len(logits))
    if shuffle:
        logits = logits[torch.from_numpy(np.random.RandomState(SEED).permutation(count))]
    scores = []
    for part in range(splits):
        chances = logits[part * count // splits : (part + 1) * count // splits].log_softmax(1)
        together = chances.logsumexp(0) - math.log(len(chances))  # logarithms, since chances can be 0 in float64
        divergence = (chances.exp() * (chances - together)).sum(1)
        scores.append(float(divergence.mean().exp()))
    return float(np.mean(scores)), float(np.std(scores))


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix A (min(N, D), D), for which A^T A is the covariance of features (N, D), and their mean (D,)."""
    mean = features.mean(0)
    scaled = (features - mean) / (len(features) - 1) ** 0.5
    # a triangular matrix stands for many features, so that their number does not decide how long it takes
    return torch.linalg.qr(scaled, mode="r").R if len(scaled) > scaled.shape[1] else scaled, mean


def _off_diagonal_mean(kernel: Tensor) -> Tensor:
    """Of a square matrix."""
    size = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (size * (size - 1))
