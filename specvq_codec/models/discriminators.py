"""The adversaries of training: one judges patches of spectrograms, the other waveforms at several rates.

Module names are the reference's, so that its state dicts load as they are (the waveform judges' after their weight
normalisation is folded). Neither network is part of a weight bundle.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of every LeakyReLU


@dataclass(frozen=True)
class PatchConfig:
    """Shape of the patch discriminator. The defaults are the reference's."""

    channels: int = 64  # after the first convolution; they double with every layer, up to eight times as many
    layers: int = 3  # convolutions of stride 2

    def __post_init__(self) -> None:
        if min(self.channels, self.layers) < 1:
            raise ValueError(f"channels and layers must be positive: {self}")

    @property
    def min_size(self) -> int:
        """Mels and frames of the smallest spectrogram that it judges."""
        return int(3 * 2**self.layers)


class PatchDiscriminator(nn.Module):
    """Spectrogram (B, 1, 80, T) in [-1, 1] -> logits (B, 1, h, w), one for each patch; above 0 stands for real.

    Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (CVPR 2017). With the default three
    layers a logit sees 70 x 70 values, h is 8 and w is T // 8 - 2. The logits depend on the rest of the batch while
    training, through the batch normalisation.
    """

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [nn.Conv2d(1, config.channels, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE, True)]
        width = config.channels
        for layer in range(1, config.layers + 1):
            wider = config.channels * min(2**layer, 8)
            stride = 2 if layer < config.layers else 1
            layers.append(nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=False))
            layers += [nn.BatchNorm2d(wider), nn.LeakyReLU(SLOPE, True)]
            width = wider
        layers.append(nn.Conv2d(width, 1, 4, padding=1))
        self.main = nn.Sequential(*layers)
        self.main.apply(_start_small)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


def _start_small(layer: nn.Module) -> None:
    """Fill a layer as Radford et al. (DCGAN, 2016) do."""
    if isinstance(layer, nn.Conv2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


@dataclass(frozen=True)
class ScaleConfig:
    """Shape of the waveform discriminators. The defaults are the reference's."""

    scales: int = 3  # discriminators; each hears the waveform at half the rate of the one before
    channels: int = 16  # after the first convolution; every strided layer multiplies them by `factor`
    layers: int = 4  # strided convolutions
    factor: int = 4  # stride of each
    max_channels: int = 1024  # no layer is wider; most of the time goes into the widest

    def __post_init__(self) -> None:
        sizes = (self.scales, self.channels, self.layers, self.factor, self.max_channels)
        if min(sizes) < 1 or self.channels % 4 or self.max_channels % self.channels:
            raise ValueError(f"sizes must be positive, and channels a multiple of 4 that divides max_channels: {self}")
        width = self.channels
        for _ in range(self.layers):  # every layer has a group for four channels of the one before
            before, width = width, min(width * self.factor, self.max_channels)
            if width % (before // 4):
                raise ValueError(f"{before} channels cannot become {width} in groups of four: {self}")

    @property
    def min_samples(self) -> int:
        """Length of the shortest waveform that the coarsest scale can judge."""
        return int(8 * 2 ** (self.scales - 1))


class ScaleDiscriminator(nn.Module):
    """Waveform (B, 1, N) -> feature maps (B, C, n) of every layer; the last are the logits (B, 1, n).

    Windowed judgement by grouped convolutions of four input channels a group: Kumar et al., "MelGAN" (NeurIPS 2019).
    """

    def __init__(self, config: ScaleConfig) -> None:
        super().__init__()
        width, stride = config.channels, config.factor
        layers = [nn.Sequential(nn.ReflectionPad1d(7), nn.Conv1d(1, width, 15), nn.LeakyReLU(SLOPE, True))]
        for _ in range(config.layers):
            wider = min(width * stride, config.max_channels)
            conv = nn.Conv1d(width, wider, 10 * stride + 1, stride, padding=5 * stride, groups=width // 4)
            layers.append(nn.Sequential(conv, nn.LeakyReLU(SLOPE, True)))
            width = wider
        wider = min(2 * width, config.max_channels)
        layers.append(nn.Sequential(nn.Conv1d(width, wider, 5, padding=2), nn.LeakyReLU(SLOPE, True)))
        self.model = nn.ModuleDict({f"layer_{i}": layer for i, layer in enumerate(layers)})
        self.model[f"layer_{len(layers)}"] = nn.Conv1d(wider, 1, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for layer in self.model.values():
            x = layer(x)
            features.append(x)
        return features


class ScaleDiscriminators(nn.Module):
    """Waveform (B, 1, N) in [-1, 1] -> for each scale the feature maps of a `ScaleDiscriminator`; logits above 0: real.

    N must be long enough for the coarsest scale: `min_samples` of the configuration.
    """

    def __init__(self, config: ScaleConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.ModuleDict({f"disc_{i}": ScaleDiscriminator(config) for i in range(config.scales)})

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        scales = []
        for discriminator in self.model.values():
            scales.append(discriminator(x))
            x = F.avg_pool1d(x, 4, stride=2, padding=1, count_include_pad=False)
        return scales
