"""The spectrogram autoencoder: a convolutional encoder and decoder around a codebook.

Follows the Spectrogram VQGAN of Iashin & Rahtu, "Taming Visually Guided Sound Generation" (BMVC 2021). Module names are
the reference's, so that its state dict loads as it is. Layout everywhere: (batch, channel, mel band, time).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .quantizer import VectorQuantizer

COLUMN_FRAMES = 16  # frames (and mel bands) that one index covers
_GROUPS = 32  # of channels that are normalised together


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the networks. The defaults are the reference's VGGSound codebook."""

    channels: tuple[int, ...] = (128, 128, 256, 256, 512)  # at each resolution, the finest first
    num_res_blocks: int = 2  # residual blocks at each resolution (the decoder has one more)
    attention_levels: tuple[int, ...] = (4,)  # resolutions with attention after every residual block
    z_channels: int = 256  # channels of the encoder's output and the decoder's input
    embed_dim: int = 256  # length of a codebook vector
    codebook_size: int = 1024
    patch: int = 1  # the spectrogram is folded patch x patch -> channels before the first convolution
    linear_path: bool = False  # a linear 16 x 16 patch transform beside encoder and decoder

    def __post_init__(self) -> None:
        if not self.channels or any(width < 1 or width % _GROUPS for width in self.channels):
            raise ValueError(f"channels must be multiples of {_GROUPS}: {self}")
        if self.patch * 2 ** (len(self.channels) - 1) != COLUMN_FRAMES:
            raise ValueError(f"patch and levels must shrink both axes {COLUMN_FRAMES} times: {self}")
        if not all(0 <= level < len(self.channels) for level in self.attention_levels):
            raise ValueError(f"attention_levels name a resolution that does not exist: {self}")
        if min(self.num_res_blocks, self.z_channels, self.embed_dim) < 1 or self.codebook_size < 2:
            raise ValueError(f"sizes must be positive, and codebook_size at least 2: {self}")
        if self.linear_path and self.embed_dim > COLUMN_FRAMES**2:
            raise ValueError(
                f"with a linear_path embed_dim is at most {COLUMN_FRAMES**2}, as a patch has values: {self}"
            )


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups=_GROUPS, num_channels=channels, eps=1e-6)


def silu(x: Tensor) -> Tensor:
    """The activation, in place where no gradient needs x: fresh memory costs more than the arithmetic."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class ResidualBlock(nn.Module):
    """Two normalised 3x3 convolutions beside an identity (or a 1x1 convolution where the channels change)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = _group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.nin_shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x)))
        h = self.conv2(silu(self.norm2(h)))
        return h.add_(x if self.nin_shortcut is None else self.nin_shortcut(x))


class Attention(nn.Module):
    """Single-head self-attention over all positions of the window."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).mT for layer in (self.q, self.k, self.v))  # (B, H*W, C)
        mixed = F.scaled_dot_product_attention(q, k, v).mT.unflatten(2, x.shape[2:])  # (B, C, H, W)
        return self.proj_out(mixed).add_(x)


class Downsample(nn.Module):
    """Halves both axes; pads only below and on the right, so that odd sizes lose their remainder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # so that what is kept can be trained with, whoever asks first
def _upsampling_taps(device: torch.device) -> Tensor:
    """Which of a 3x3 convolution's taps add up to each tap of `Upsample`: (9, 16)."""
    axis = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    return torch.kron(axis, axis).mT.contiguous().to(device)


class Upsample(nn.Module):
    """Doubles both axes: nearest neighbour, then a 3x3 convolution.

    An output sees 2x2 different inputs, so both steps are one transposed 4x4 convolution, whose taps are sums of the
    3x3 ones: four products instead of nine. Along one axis, taps (a, b, c) become (c, b + c, a + b, a).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kernel = (self.conv.weight.flatten(2) @ _upsampling_taps(x.device)).unflatten(2, (4, 4))  # (out, in, 4, 4)
        return F.conv_transpose2d(x, kernel.transpose(0, 1), self.conv.bias, stride=2, padding=1)


class Level(nn.Module):
    """Residual blocks of one resolution, with attention after each where asked, and the step to the next resolution."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, attention: bool) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * (blocks - 1)
        self.block = nn.ModuleList(ResidualBlock(width, out_channels) for width in widths)
        self.attn = nn.ModuleList(Attention(out_channels) for _ in range(blocks if attention else 0))
        self.downsample: Downsample | None = None
        self.upsample: Upsample | None = None

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        if self.downsample is not None:
            x = self.downsample(x)
        if self.upsample is not None:
            x = self.upsample(x)
        return x


class Middle(nn.Module):
    """Residual block, attention, residual block at the coarsest resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels)
        self.attn_1 = Attention(channels)
        self.block_2 = ResidualBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """Spectrogram (B, 1, 80, T) -> features (B, z_channels, 5, T // 16)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels = config.channels
        self.patch = config.patch
        self.conv_in = nn.Conv2d(config.patch**2, channels[0], 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(channels):
            level = Level(channels[max(i - 1, 0)], width, config.num_res_blocks, i in config.attention_levels)
            if i < len(channels) - 1:
                level.downsample = Downsample(width)
            self.down.append(level)
        self.mid = Middle(channels[-1])
        self.norm_out = _group_norm(channels[-1])
        self.conv_out = nn.Conv2d(channels[-1], config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.patch > 1:
            x = F.pixel_unshuffle(x, self.patch)
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """Features (B, z_channels, 5, W) -> spectrogram (B, 1, 80, 16 W)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels = config.channels
        self.patch = config.patch
        self.conv_in = nn.Conv2d(config.z_channels, channels[-1], 3, padding=1)
        self.mid = Middle(channels[-1])
        self.up = nn.ModuleList()  # indexed by resolution, the finest first; run from the last
        for i, width in enumerate(channels):
            coarser = channels[min(i + 1, len(channels) - 1)]
            level = Level(coarser, width, config.num_res_blocks + 1, i in config.attention_levels)
            if i > 0:
                level.upsample = Upsample(width)
            self.up.append(level)
        self.norm_out = _group_norm(channels[0])
        self.conv_out = nn.Conv2d(channels[0], config.patch**2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        h = self.conv_out(silu(self.norm_out(h)))
        return F.pixel_shuffle(h, self.patch) if self.patch > 1 else h


class Autoencoder(nn.Module):
    """Spectrogram in [-1, 1] <-> grid of codebook indices.

    With `linear_path`, a stride-16 convolution and its transpose carry the best linear code of each 16 x 16 patch, and
    the convolutional stacks add what is not linear; initialised with principal components, training starts from a
    working codec (see `specvq_codec.training.codebook`).
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = VectorQuantizer(config.codebook_size, config.embed_dim)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)
        if config.linear_path:
            size = COLUMN_FRAMES
            self.linear_in = nn.Conv2d(1, config.embed_dim, size, stride=size)
            self.linear_out = nn.ConvTranspose2d(config.embed_dim, 1, size, stride=size)

    def channels_last(self) -> Self:
        """Lay the weights out as CPUs and tensor cores like them best; the function computed stays the same."""
        for parameter in self.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return self

    def latents(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 1, 80, T) in [-1, 1] -> latents before quantisation (B, embed_dim, 5, T // 16)."""
        z = self.quant_conv(self.encoder(x))
        return z + self.linear_in(x) if self.config.linear_path else z

    def reconstruct(self, quantized: Tensor) -> Tensor:
        """Codebook vectors (B, embed_dim, 5, W) -> spectrogram (B, 1, 80, 16 W), about [-1, 1], not clamped."""
        out = self.decoder(self.post_quant_conv(quantized))
        return out + self.linear_out(quantized) if self.config.linear_path else out

    def encode(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 1, 80, T) in [-1, 1] -> indices (B, 5, T // 16), int64."""
        return self.quantize.nearest(self.latents(x))

    def decode(self, indices: Tensor) -> Tensor:
        """Indices (B, 5, W), int64 -> spectrogram (B, 1, 80, 16 W), about [-1, 1], not clamped."""
        return self.reconstruct(self.quantize.lookup(indices))


def to_sequence(grid: Tensor) -> Tensor:
    """Index grid (..., 5, W) -> time-major sequence (..., 5 W): sequence[5 w + h] = grid[h, w]."""
    return grid.mT.flatten(-2)


def to_grid(sequence: Tensor, rows: int = 5) -> Tensor:
    """The inverse of `to_sequence`: (..., rows * W) -> (..., rows, W)."""
    return sequence.unflatten(-1, (-1, rows)).mT
