"""VGGish-ish: a VGG-16-like classifier of spectrograms, whose activations give the perceptual distance LPAPS.

Follows Simonyan & Zisserman, "Very deep convolutional networks" (2015), on one-channel spectrograms, as Iashin & Rahtu
(BMVC 2021) use it. Module names are the reference's, so that its state dict loads as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..spectrogram import N_MELS


@dataclass(frozen=True)
class VGGishConfig:
    """Shape of the classifier. The defaults are the reference's."""

    kind: ClassVar[str] = "vggish"

    channels: tuple[int, ...] = (64, 128, 256, 512, 512)  # of the convolutions at each resolution, the finest first
    convs: tuple[int, ...] = (2, 2, 3, 3, 3)  # how many there are at each resolution
    hidden: int = 4096  # width of the two layers before the logits
    num_classes: int = 309
    pooled: tuple[int, int] = (5, 10)  # mel bands and frames that are left before the linear layers
    batch_norm: bool = False  # after every convolution: trains faster, and needs batches of some size
    dropout: float = 0.0  # before every linear layer, in training

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.convs) or min(self.convs, default=0) < 1:
            raise ValueError(f"channels and convs must name the same resolutions, each with a convolution: {self}")
        if not 1 <= len(self.channels) <= N_MELS.bit_length():  # each halves the mel bands
            raise ValueError(f"there must be from 1 to {N_MELS.bit_length()} resolutions: {self}")
        if min(*self.channels, *self.pooled, self.hidden, self.num_classes) < 1:
            raise ValueError(f"sizes must be positive: {self}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1): {self}")

    @property
    def min_frames(self) -> int:
        """Length of the shortest spectrogram that it takes."""
        return int(2 ** (len(self.channels) - 1))


class Features(nn.Sequential):
    """The convolutions: spectrogram (B, 1, 80, T) -> features (B, C, 5, T // 16); 2x2 maxima between resolutions."""

    def __init__(self, config: VGGishConfig) -> None:
        layers: list[nn.Module] = []
        ends = []  # where each resolution's last activation stands
        width = 1
        for channels, count in zip(config.channels, config.convs, strict=True):
            if layers:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                layers.append(nn.Conv2d(width, channels, 3, padding=1))
                if config.batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(nn.ReLU(inplace=True))
                width = channels
            ends.append(len(layers) - 1)
        super().__init__(*layers)
        self.ends = tuple(ends)

    def channels_last(self) -> Self:
        """Lay the weights out as CPUs and tensor cores like them best; the function computed stays the same."""
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        return self

    def taps(self, x: Tensor) -> list[Tensor]:
        """Spectrogram (B, 1, 80, T) -> the last activations of every resolution (relu1_2 to relu5_3 in VGG's names).

        The i-th of them is (B, channels[i], 80 // 2^i, T // 2^i).
        """
        found = []
        for place, layer in enumerate(self):
            x = layer(x)
            if place in self.ends:
                found.append(x)
        return found


class VGGish(nn.Module):
    """Spectrogram (B, 1, 80, T), standardised per mel band -> logits (B, num_classes); T at least 16."""

    def __init__(self, config: VGGishConfig) -> None:
        super().__init__()
        self.config = config
        self.features = Features(config)
        flat = config.channels[-1] * config.pooled[0] * config.pooled[1]
        self.classifier = nn.Sequential(
            nn.Linear(flat, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, config.num_classes),
        )

    def taps(self, x: Tensor) -> list[Tensor]:
        """The last activations of every resolution: see `Features.taps`."""
        return self.features.taps(x)

    def hidden(self, x: Tensor) -> Tensor:
        """What the logits are a linear function of: (B, hidden), at least 0."""
        h = F.adaptive_avg_pool2d(self.features(x), self.config.pooled).flatten(1)
        for layer in list(self.classifier)[:-1]:
            if isinstance(layer, nn.Linear):  # not a layer of its own, which would change the names of the others
                h = F.dropout(h, self.config.dropout, self.training)
            h = layer(h)
        return h

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits (B, num_classes) that follow from `hidden`."""
        return self.classifier[-1](F.dropout(hidden, self.config.dropout, self.training))

    def unbiased_logits(self, hidden: Tensor) -> Tensor:
        """The logits (B, num_classes) without the last layer's bias, as the inception score takes them."""
        return F.linear(hidden, self.get_parameter(f"classifier.{len(self.classifier) - 1}.weight"))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.hidden(x))


@torch.no_grad()
def fold_batch_norm(network: VGGish) -> VGGish:
    """A network that computes the same in eval mode, its batch normalisation being part of the convolutions."""
    if not network.config.batch_norm:
        return network
    folded = VGGish(replace(network.config, batch_norm=False))
    targets = iter(layer for layer in folded.features if isinstance(layer, nn.Conv2d))
    for layer, norm in pairwise(network.features):
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            fused = nn.utils.fusion.fuse_conv_bn_eval(layer.eval(), norm.eval())
            next(targets).load_state_dict(fused.state_dict())
    folded.classifier.load_state_dict(network.classifier.state_dict())
    return folded.eval()
