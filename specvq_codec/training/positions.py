"""Where a sampler with features begins: what is of the same time attends to each other.

The reference lets the network find out from data which feature belongs to which index. Few data and short trainings do
not tell it, so what is learned begins with what is known.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .. import spectrogram as spec
from ..conditions import CLIP_FRAMES, clip_places
from ..models.transformer import ROWS, Transformer
from ..windows import COLUMN_SAMPLES

_PERIODS = 0.25, 20.0  # seconds: a little more than a column, and twice a window
_FEATURES = CLIP_FRAMES / 10  # a second
_POSITION = 0.3  # root mean square of a position: what features add must not hide it
_INDEX = 5.0  # embeddings of indices are larger by this factor, not to vanish beside positions
_SHARP = 1.4  # of queries and keys: most of the attention then goes to 0.2 s on either side


@torch.no_grad()
def begin_in_time(network: Transformer) -> None:
    """Let rows of a fresh network with features know their time, and attend to rows of a similar one.

    The first half of each position are sines and cosines of its time, as in Vaswani et al., "Attention is all you need"
    (2017); the second half is random, and the same for all features, and for all indices of one row of the grid.
    Queries and keys of the first layer begin with one projection of the first half, so that similar times attract, as
    in Trockman & Kolter, "Mimetic initialization of self-attention layers" (2023).
    """
    config = network.config
    positions = network.pos_emb[0]  # (condition_length + 5 * columns, n_embd)
    features, columns = config.feature_frames, config.columns
    timed = config.n_embd // 4 * 2
    kinds = _POSITION * torch.randn(1 + ROWS, config.n_embd - timed, device=positions.device)
    frames = clip_places(features)
    of_features = torch.from_numpy(frames).float() / _FEATURES
    of_columns = (torch.arange(columns) + 0.5) * COLUMN_SAMPLES / spec.SAMPLE_RATE
    _place(positions[:features], of_features, kinds[:1].expand(features, -1))
    _place(positions[-ROWS * columns :], of_columns.repeat_interleave(ROWS), kinds[1:].repeat(columns, 1))
    network.tok_emb.weight.mul_(_INDEX)
    attention = network.get_submodule("blocks.0.attn")
    projection = torch.randn(config.n_embd, timed, device=positions.device) * _SHARP / math.sqrt(timed)
    for name in ("query", "key"):
        attention.get_parameter(f"{name}.weight")[:, :timed] += projection


def _place(positions: Tensor, times: Tensor, kinds: Tensor) -> None:
    """Write positions (N, n_embd) of times (N,), in seconds, and of kinds (N, D), which take the last D numbers."""
    timed = positions.shape[1] - kinds.shape[1]
    periods = torch.from_numpy(np.geomspace(*_PERIODS, timed // 2)).float()
    phases = 2 * math.pi * times[:, None] / periods
    positions[:, :timed] = _POSITION * math.sqrt(2) * torch.cat([phases.sin(), phases.cos()], dim=1)
    positions[:, timed:] = kinds
