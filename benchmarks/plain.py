"""The same networks written plainly: a peer for speed.py that runs in the same minutes on the same machine.

Channels-first layout, 1-D convolutions in the vocoder, nearest-neighbour upsampling followed by a 3x3 convolution,
weight normalisation computed at every call, nothing in place: the straightforward way, as published code often is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specvq_codec.codec import Codec
from specvq_codec.models import autoencoder, melgan
from specvq_codec.training.vocoder import normalise_weights


def _silu(x: Tensor) -> Tensor:
    return F.silu(x)


def _upsample(layer: autoencoder.Upsample, x: Tensor) -> Tensor:
    return layer.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _conv(layer: melgan.TimeConv, x: Tensor) -> Tensor:
    return F.conv1d(x.squeeze(2), layer.weight, layer.bias, dilation=layer.dilation).unsqueeze(2)


def _transposed(layer: melgan.TimeUpsample, x: Tensor) -> Tensor:
    return nn.ConvTranspose1d.forward(layer, x.squeeze(2)).unsqueeze(2)


@contextmanager
def plain(codec: Codec) -> Iterator[Codec]:
    """A codec with the networks of another one, run plainly within the block."""
    twin = copy.copy(codec)
    twin.autoencoder = copy.deepcopy(codec.autoencoder)
    for parameter in twin.autoencoder.parameters():
        parameter.data = parameter.data.contiguous()
    if codec.vocoder is not None:
        twin.vocoder = copy.deepcopy(codec.vocoder)
        normalise_weights(twin.vocoder)
    with ExitStack() as stack:
        for owner, name, function in (
            (autoencoder, "silu", _silu),
            (autoencoder.Upsample, "forward", _upsample),
            (melgan.TimeConv, "forward", _conv),
            (melgan.TimeUpsample, "forward", _transposed),
        ):
            stack.enter_context(patch.object(owner, name, function))
        yield twin


@torch.inference_mode()
def largest_difference(codec: Codec) -> float:
    """Between a spectrogram decoded both ways: it shows that they compute the same."""
    indices = torch.randint(codec.model.codebook_size, (5, 8), generator=torch.Generator().manual_seed(0))
    ours = codec.autoencoder.decode(indices[None])
    with plain(codec) as twin:
        return float((ours - twin.autoencoder.decode(indices[None])).abs().max())
