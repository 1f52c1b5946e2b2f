"""LPAPS: a perceptual distance of spectrograms, from the activations of a spectrogram classifier.

Learned perceptual audio patch similarity, after Zhang et al., "The unreasonable effectiveness of deep features as a
perceptual metric" (CVPR 2018); for spectrograms, Iashin & Rahtu (BMVC 2021).
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from ..models.vggishish import VGGish

EPS = 1e-10  # beside the length of a feature vector, which may be zero


class LPAPS(nn.Module):
    """Distance of two spectrograms (B, 1, 80, T) in [-1, 1]: (B, 1, 1, 1), float32, >= 0; T at least 16.

    The classifier's activations at each of its resolutions are brought to unit length over channels; their squared
    differences, weighted by channel, are summed over channels, averaged over places and added up over resolutions.
    Always in eval mode, and never trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: VGGish, means: Tensor, stds: Tensor, weights: list[Tensor] | None = None) -> None:
        """Take over a network.

        Args:
            network: the classifier; only its convolutions are kept.
            means: of the mel bands of spectrograms in [0, 1] that the network was trained with, (80,).
            stds: their standard deviations, (80,).
            weights: of the channels of each resolution, (channels,) each; one each if not given, which is LPIPS's
                "baseline", and what can be had without human judgements of distances.
        """
        super().__init__()
        self.features = network.features.channels_last()
        self.register_buffer("mean", (2 * means - 1).float()[:, None])  # (80, 1)
        self.register_buffer("std", (2 * stds).float()[:, None])
        weights = weights or [torch.ones(channels) for channels in network.config.channels]
        for level, weight in enumerate(weights):
            self.register_buffer(f"weight{level}", weight.float()[:, None, None])
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever the module around this one is put into."""
        return super().train(False)

    def per_level(self, x: Tensor, y: Tensor) -> Tensor:
        """The distances at each resolution, the finest first: (levels, B)."""
        parts = []
        for level, (a, b) in enumerate(zip(self._directions(x), self._directions(y), strict=True)):
            difference = (a - b).square() * self.get_buffer(f"weight{level}")
            parts.append(difference.sum(1).mean((1, 2)))
        return torch.stack(parts)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance: (B, 1, 1, 1)."""
        return self.per_level(x, y).sum(0)[:, None, None, None]

    def _directions(self, x: Tensor) -> list[Tensor]:
        taps = [tap.float() for tap in self.features.taps((x - self.mean) / self.std)]
        # vector_norm, unlike a square root of a sum, has a gradient where all features are zero
        return [tap / (torch.linalg.vector_norm(tap, dim=1, keepdim=True) + EPS) for tap in taps]
