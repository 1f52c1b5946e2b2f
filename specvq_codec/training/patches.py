"""Spectrogram patches: principal components and k-means, the best that can be had without a network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.autoencoder import COLUMN_FRAMES


def principal_patches(patches: Tensor, count: int) -> tuple[Tensor, float]:
    """Patches (N, 256) -> leading right singular vectors (count, 256), and the root mean square of their coefficients.

    Not centred, for the transposed convolution that puts patches back has no bias a pixel: the first component carries
    the mean.
    """
    basis = torch.linalg.svd(patches.double().mT @ patches.double())[0].mT[:count].float()  # (count, 256)
    return basis, float((patches @ basis.mT).square().mean().sqrt())


def k_means(points: Tensor, count: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Lloyd's algorithm on points (N, D) -> centres (count, D); an empty cluster starts again at a random point."""
    centres = points[torch.randperm(len(points), generator=generator)[:count]].clone()
    for _ in range(iterations):
        nearest = assign(points, centres)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        counts = torch.bincount(nearest, minlength=count).to(points.dtype)
        fresh = points[torch.randint(len(points), (count,), generator=generator)]
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), fresh)
    return centres


def assign(points: Tensor, centres: Tensor) -> Tensor:
    """Index of the nearest centre (N,) for points (N, D)."""
    half = 0.5 * centres.square().sum(1)
    return torch.cat([(half - chunk @ centres.mT).argmin(1) for chunk in points.split(8192)])


def patches_of(mel: Tensor) -> Tensor:
    """Spectrograms (B, 1, 80, T) -> their 16 x 16 patches (N, 256), row by row of each spectrogram."""
    folded = F.unfold(mel, COLUMN_FRAMES, stride=COLUMN_FRAMES)  # (B, 256, N)
    return folded.mT.reshape(-1, COLUMN_FRAMES**2)
