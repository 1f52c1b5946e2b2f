"""Melception: Inception v3 on log-mel spectrograms, whose activations and logits the metrics of generated sound use.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (CVPR 2016), on one channel and without its
two max pools, as Iashin & Rahtu (BMVC 2021) use it. Module names are torchvision's, so that the authors' weights load
as they are; the auxiliary classifier, which only training could use, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape: TypeAlias = tuple[int, int, int]  # channels of a convolution in the full network, height and width of its kernel
Step: TypeAlias = tuple[Shape, ...]  # one convolution, or two side by side at the end of a branch

_DROPOUT = 0.5  # before the logits, in training
_EPS = 1e-3  # of batch normalisation
_TAPS = {
    "pool1": 64,
    "pool2": 192,
    "Mixed_6e": 768,
    "Mixed_7c": 2048,
}  # layers, and the channels they have in the full network


@dataclass(frozen=True)
class MelceptionConfig:
    """Shape of the classifier. The defaults are the reference's."""

    kind: ClassVar[str] = "melception"

    num_classes: int = 309
    width: float = 1.0  # every layer has so many times the channels of Inception v3
    max_pools: bool = False  # keep Inception's two max pools after early layers, which makes it ten times cheaper

    def __post_init__(self) -> None:
        if self.num_classes < 1 or not 1 / 32 <= self.width <= 4:
            raise ValueError(f"num_classes must be at least 1, and width in [1/32, 4]: {self}")

    @property
    def min_frames(self) -> int:
        """Length of the shortest spectrogram that it takes."""
        return 75 if self.max_pools else 23

    def channels(self, full: int) -> int:
        """Channels of a layer that has `full` in Inception v3."""
        return round(full * self.width)


class Convolution(nn.Module):
    """A convolution, batch normalisation and a rectifier: (B, C, H, W) -> (B, C', H', W')."""

    def __init__(
        self, width: int, channels: int, kernel: tuple[int, int], stride: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Branches side by side: (B, C, H, W) -> (B, channels, H, W), or half as high and wide if it `halves`.

    Beside the branches that are given there is a pool: an average in front of a 1 x 1 convolution with `pool` channels,
    or, in a block that halves, the maximum.
    """

    def __init__(
        self, config: MelceptionConfig, width: int, branches: Mapping[str, Sequence[Step]], pool: int = 0
    ) -> None:
        super().__init__()
        self.halves = not pool
        self.channels = 0
        self._branches: list[list[list[str]]] = []  # names of the convolutions in each step of each branch
        for branch, steps in branches.items():
            self._branches.append([])
            before = width
            for number, step in enumerate(steps, start=1):
                last = number == len(steps)
                names = []
                for letter, (full, high, wide) in zip("ab", step, strict=False):
                    names.append(branch + f"_{number}" * (len(steps) > 1) + letter * (len(step) > 1))
                    stride, padding = (2, (0, 0)) if last and self.halves else (1, (high // 2, wide // 2))
                    layer = Convolution(before, config.channels(full), (high, wide), stride, padding)
                    self.add_module(names[-1], layer)
                    self.channels += layer.conv.out_channels * last
                before = config.channels(step[0][0])
                self._branches[-1].append(names)
        if self.halves:
            self.channels += width
        else:
            self.branch_pool = Convolution(width, config.channels(pool), (1, 1))
            self.channels += config.channels(pool)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for steps in self._branches:
            found = [x]
            for names in steps:
                found = [self.get_submodule(name)(found[0]) for name in names]
            outputs += found
        outputs.append(F.max_pool2d(x, 3, 2) if self.halves else self.branch_pool(F.avg_pool2d(x, 3, 1, 1)))
        return torch.cat(outputs, 1)


def _one(*shapes: Shape) -> list[Step]:
    """Steps of one convolution each."""
    return [(shape,) for shape in shapes]


_FORK: Step = ((384, 1, 3), (384, 3, 1))
_DOUBLE = _one((64, 1, 1), (96, 3, 3), (96, 3, 3))
_FINE = {"branch1x1": _one((64, 1, 1)), "branch5x5": _one((48, 1, 1), (64, 5, 5)), "branch3x3dbl": _DOUBLE}
_HALVING = {"branch3x3": _one((384, 3, 3)), "branch3x3dbl": _DOUBLE}
_HALVING_AGAIN = {
    "branch3x3": _one((192, 1, 1), (320, 3, 3)),
    "branch7x7x3": _one((192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3)),
}
_COARSE = {
    "branch1x1": _one((320, 1, 1)),
    "branch3x3": [*_one((384, 1, 1)), _FORK],
    "branch3x3dbl": [*_one((448, 1, 1), (384, 3, 3)), _FORK],
}


def _long(inner: int) -> dict[str, list[Step]]:
    """Branches with kernels of seven bands or frames, `inner` channels wide inside."""
    return {
        "branch1x1": _one((192, 1, 1)),
        "branch7x7": _one((inner, 1, 1), (inner, 1, 7), (192, 7, 1)),
        "branch7x7dbl": _one((inner, 1, 1), (inner, 7, 1), (inner, 1, 7), (inner, 7, 1), (192, 1, 7)),
    }


_BLOCKS = {  # branches and pooled channels
    "Mixed_5b": (_FINE, 32),
    "Mixed_5c": (_FINE, 64),
    "Mixed_5d": (_FINE, 64),
    "Mixed_6a": (_HALVING, 0),
    "Mixed_6b": (_long(128), 192),
    "Mixed_6c": (_long(160), 192),
    "Mixed_6d": (_long(160), 192),
    "Mixed_6e": (_long(192), 192),
    "Mixed_7a": (_HALVING_AGAIN, 0),
    "Mixed_7b": (_COARSE, 192),
    "Mixed_7c": (_COARSE, 192),
}


class Melception(nn.Module):
    """Spectrogram (B, 1, 80, T), standardised per mel band -> logits (B, num_classes); T at least `min_frames`."""

    def __init__(self, config: MelceptionConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third, fourth = (config.channels(full) for full in (32, 64, 80, 192))
        self.Conv2d_1a_3x3 = Convolution(1, first, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = Convolution(first, first, (3, 3))
        self.Conv2d_2b_3x3 = Convolution(first, second, (3, 3), padding=(1, 1))
        self.pool1 = nn.MaxPool2d(3, 2) if config.max_pools else nn.Identity()
        self.Conv2d_3b_1x1 = Convolution(second, third, (1, 1))
        self.Conv2d_4a_3x3 = Convolution(third, fourth, (3, 3))
        self.pool2 = nn.MaxPool2d(3, 2) if config.max_pools else nn.Identity()
        width = fourth
        for name, (branches, pool) in _BLOCKS.items():
            block = Mixed(config, width, branches, pool)
            self.add_module(name, block)
            width = block.channels
        self.fc = nn.Linear(width, config.num_classes)

    def taps(self, x: Tensor) -> dict[int, Tensor]:
        """Averages over the whole map at four depths, by the number of channels D that the full network has there.

        Each is (B, width D), at least 0, for D of 64, 192, 768 and 2048.
        """
        found = {}
        for name, layer in self.named_children():
            if layer is not self.fc:
                x = layer(x)
            if name in _TAPS:
                found[_TAPS[name]] = x.mean((2, 3))
        return found

    def hidden(self, x: Tensor) -> Tensor:
        """What the logits are a linear function of: (B, 2048 width), at least 0."""
        return self.taps(x)[2048]

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits (B, num_classes) that follow from `hidden`."""
        return self.fc(F.dropout(hidden, _DROPOUT, self.training))

    def unbiased_logits(self, hidden: Tensor) -> Tensor:
        """The logits (B, num_classes) without the last layer's bias, as the inception score takes them."""
        return F.linear(hidden, self.fc.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.hidden(x))
