"""What a classifier makes of spectrograms, and what that tells of generated sound: MKL, and the Fréchet distance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..classifiers import Classifier

_SMALL = 1e-6  # added to probabilities of generated sound, as the reference does


class Verdict(NamedTuple):
    """What a classifier makes of spectrograms.

    Attributes:
        probabilities: of its classes, float64 (B, C).
        hidden: what its logits are computed from, float64 (B, D).
    """

    probabilities: Tensor
    hidden: Tensor


@torch.inference_mode()
def verdict(classifier: Classifier, mels: Tensor) -> Verdict:
    """The verdict on log-mel spectrograms (B, 80, T) in [0, 1], T >= 16; the tensors are on the CPU."""
    device = next(classifier.network.parameters()).device
    standard = (mels - classifier.means[:, None]) / classifier.stds[:, None]
    hidden = classifier.network.hidden(standard[:, None].to(device))
    probabilities = classifier.network.logits(hidden).double().softmax(1)
    return Verdict(probabilities.cpu(), hidden.double().cpu())


def divergences(real: Tensor, generated: Tensor) -> Tensor:
    """Kullback-Leibler divergence of class distributions (N, C) of originals from those of generated sound: (N,), nats.

    Its mean over pairs is the relevance measure MKL of Iashin & Rahtu, "Taming Visually Guided Sound Generation"
    (BMVC 2021), with their 1e-6 added to the generated: 0 for equal ones, and more the less is kept.
    """
    return (torch.special.xlogy(real, real) - real * (generated + _SMALL).log()).sum(1)


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """The Fréchet distance of normal distributions with the means and covariances of features (N, D) and (M, D).

    Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium" (2017): FID,
    there of Inception's features. Few examples make it larger, so compare equal numbers. N and M are at least 2.
    """
    (first, first_mean), (second, second_mean) = (_centred(features.double()) for features in (one, other))
    # the trace of the root of both covariances' product is the sum of the singular values of this (N, M) matrix
    common = torch.linalg.matrix_norm(first @ second.mT, ord="nuc")
    squares = (first_mean - second_mean).square().sum() + first.square().sum() + second.square().sum()
    return max(0.0, float(squares - 2 * common))


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) without their mean, scaled so that A^T A is their covariance; and that mean (D,)."""
    mean = features.mean(0)
    return (features - mean) / (len(features) - 1) ** 0.5, mean
