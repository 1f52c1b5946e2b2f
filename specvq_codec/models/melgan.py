"""The vocoder: MelGAN's generator, log-mel spectrogram -> waveform.

Follows Kumar et al., "MelGAN: Generative Adversarial Networks for Conditional Waveform Synthesis" (NeurIPS 2019), as
the reference of this project uses it. Weights are plain: weight normalisation belongs to training and is folded away.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of every LeakyReLU


@dataclass(frozen=True)
class MelGANConfig:
    """Shape of the generator. The defaults are the reference's."""

    num_mels: int = 80
    channels: tuple[int, ...] = (512, 256, 128, 64, 32)  # before the first and after each upsampling
    ratios: tuple[int, ...] = (8, 8, 2, 2)  # upsampling factors; their product is the hop length
    num_res_layers: int = 3  # residual blocks a stage, dilated 1, 3, 9, ...

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.ratios) + 1:
            raise ValueError(f"channels must have one entry more than ratios: {self}")
        if min(self.num_mels, *self.channels) < 1 or min(self.ratios, default=2) < 2 or self.num_res_layers < 0:
            raise ValueError(f"sizes must be positive, and ratios at least 2: {self}")

    @property
    def hop_length(self) -> int:
        """Samples of output for a frame of input."""
        return prod(self.ratios)

    @property
    def context_frames(self) -> int:
        """Frames on either side of an output sample that it can depend on (the receptive field, rounded up)."""
        reach = 3.0  # in input frames: the first convolution has seven taps
        rate = 1.0
        for ratio in self.ratios:
            reach += 1.0 / rate  # a transposed convolution of twice its stride reaches one input sample each way
            rate *= ratio
            reach += sum(3**i for i in range(self.num_res_layers)) / rate
        return int(reach + 3.0 / rate) + 1


class TimeConv(nn.Conv1d):
    """A 1-D convolution on (B, C, 1, T) tensors.

    Run as a 2-D convolution because channels-last 2-D kernels are two to three times as fast as 1-D ones on CPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.unsqueeze(2), self.bias, dilation=(1, self.dilation[0]))


class TimeUpsample(nn.ConvTranspose1d):
    """A transposed 1-D convolution on (B, C, 1, T) tensors that makes T exactly `ratio` times longer."""

    def __init__(self, in_channels: int, out_channels: int, ratio: int) -> None:
        super().__init__(in_channels, out_channels, 2 * ratio, ratio, ratio // 2 + ratio % 2, ratio % 2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return F.conv_transpose2d(
            x,
            self.weight.unsqueeze(2),
            self.bias,
            stride=(1, self.stride[0]),
            padding=(0, int(self.padding[0])),
            output_padding=(0, self.output_padding[0]),
        )


class TimePad(nn.Module):
    """Reflection padding of the last axis; an input too short to be reflected repeats its edge."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        mode = "reflect" if x.shape[-1] > self.padding else "replicate"
        return F.pad(x, (self.padding, self.padding, 0, 0), mode=mode)


class ResidualLayer(nn.Module):
    """A dilated convolution of three taps and a 1x1 convolution, beside a 1x1 convolution."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.LeakyReLU(SLOPE),
            TimePad(dilation),
            TimeConv(channels, channels, 3, dilation=dilation),
            nn.LeakyReLU(SLOPE, inplace=True),
            TimeConv(channels, channels, 1),
        )
        self.shortcut = TimeConv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x).add_(self.shortcut(x))


class Generator(nn.Module):
    """Log-mel spectrogram (B, 80, T) in [0, 1] -> waveform (B, T * hop_length) in [-1, 1]."""

    def __init__(self, config: MelGANConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [TimePad(3), TimeConv(config.num_mels, config.channels[0], 7)]
        for i, ratio in enumerate(config.ratios):
            wide, narrow = config.channels[i : i + 2]
            layers += [nn.LeakyReLU(SLOPE), TimeUpsample(wide, narrow, ratio)]
            layers += [ResidualLayer(narrow, 3**j) for j in range(config.num_res_layers)]
        layers += [nn.LeakyReLU(SLOPE), TimePad(3), TimeConv(config.channels[-1], 1, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, mel: Tensor) -> Tensor:
        x = mel.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # (B, 80, 1, T)
        return self.model(x).flatten(1)
