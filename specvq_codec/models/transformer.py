"""The sampler's network: a GPT over codebook indices, after a condition of video features, a class, both or nothing.

Follows the transformer of Iashin & Rahtu, "Taming Visually Guided Sound Generation" (BMVC 2021), a GPT-2 over indices
in time-major order (the five mel rows of a column, then the next column). Parameter names are the reference's.

A sequence is [condition, indices], and its positions count from the first row of the condition. A row's logits say
which index comes next, so those of the condition's last row are for the first index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cache import Cache, PlacedRow

ROWS = 5  # indices in a column


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of the network. The defaults are the reference's for VGGSound, but for the condition, which is none."""

    codebook_size: int = 1024
    n_layer: int = 24
    n_head: int = 16
    n_embd: int = 1024
    columns: int = 53  # of a window, the longest sequence that the network sees at once
    feature_frames: int = 0  # rows of the condition that are features of video frames
    feature_depth: int = 0  # numbers in a feature
    num_classes: int = 0  # 0: no row of the condition is a class
    optional: bool = False  # features and class may be absent; learned rows then stand in their places
    dropout: float = 0.0  # in training, of embedded rows and of what each layer adds

    def __post_init__(self) -> None:
        sizes = (self.codebook_size, self.n_layer, self.n_head, self.n_embd, self.columns)
        if min(sizes) < 1 or self.n_embd % self.n_head:
            raise ValueError(f"sizes must be positive, and n_embd a multiple of n_head: {self}")
        conditions = (self.feature_frames, self.feature_depth, self.num_classes)
        if min(conditions) < 0 or (self.feature_frames == 0) != (self.feature_depth == 0):
            raise ValueError(f"features need both frames and depth, a condition cannot be negative: {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, not {self.dropout}")

    @property
    def window(self) -> int:
        """Indices in the longest sequence."""
        return ROWS * self.columns

    @property
    def condition_length(self) -> int:
        """Rows before the indices: one for each frame and one for the class, or one that is always the same."""
        return max(1, self.feature_frames + (self.num_classes > 0))


@dataclass(frozen=True)
class Condition:
    """What a sound is for. None means: the network has no such condition, or does without it (`optional`).

    Attributes:
        features: (B, feature_frames, feature_depth), floating point. With B = 1 they are for every sample of a batch.
        classes: (B,), int64, from 0 to num_classes - 1. B = 1 as above.
        has_features: (B,), bool: samples without them do as if they had none. None: all have them.
        has_classes: the same for the class.
    """

    features: Tensor | None = None
    classes: Tensor | None = None
    has_features: Tensor | None = None
    has_classes: Tensor | None = None


class Attention(nn.Module):
    """Causal self-attention with several heads: (B, t, n_embd) -> the same."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.key = nn.Linear(config.n_embd, config.n_embd)
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, cache: Cache | PlacedRow | None, layer: int) -> Tensor:
        parts = (part.unflatten(2, (self.n_head, -1)) for part in (self.query(x), self.key(x), self.value(x)))
        q, k, v = (part.transpose(1, 2) for part in parts)  # (B, heads, t, depth)
        return self.proj(attended(q, k, v, cache, layer))


def attended(q: Tensor, k: Tensor, v: Tensor, cache: Cache | PlacedRow | None, layer: int) -> Tensor:
    """What rows find in those before them, of queries, keys and values (B, heads, t, depth): (B, t, n_embd)."""
    if cache is None:
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        k, v, mask = cache.extended(layer, k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Attention and a network for each row, each after a normalisation and beside an identity."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.n_embd
        self.ln1 = nn.LayerNorm(width)
        self.ln2 = nn.LayerNorm(width)
        self.attn = Attention(config)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cache: Cache | PlacedRow | None, layer: int) -> Tensor:
        x = x + self.drop(self.attn(self.ln1(x), cache, layer))
        return x + self.drop(self.mlp(self.ln2(x)))


class Transformer(nn.Module):
    """Which index comes next. `forward` takes whole sequences, for training; `begin` and `step` go row by row,
    and need no gradient. Both give the same logits, but for rounding.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.n_embd
        self.tok_emb = nn.Embedding(config.codebook_size, width)
        self.pos_emb = nn.Parameter(torch.empty(1, config.condition_length + config.window, width))
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.codebook_size, bias=False)
        both = bool(config.feature_frames and config.num_classes)  # the reference then names them apart
        self._feature_embedder = "feat_embedder" if both else "embedder"
        self._class_embedder = "cls_embedder" if both else "embedder"
        if config.feature_frames:
            self.add_module(self._feature_embedder, nn.Conv1d(config.feature_depth, width, 1))
        if config.num_classes:
            self.add_module(self._class_embedder, nn.Embedding(config.num_classes, width))
        for kind in ("features", "class"):
            there = config.feature_frames if kind == "features" else config.num_classes
            if config.optional and there:
                self.register_parameter(f"no_{kind}", nn.Parameter(torch.empty(1, 1, width)))
        if not config.feature_frames and not config.num_classes:
            self.start = nn.Parameter(torch.empty(1, 1, width))
        self._initialise()

    def _initialise(self) -> None:
        """As GPT-2: small random weights, no biases."""
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)
            elif not name.startswith("ln_f.") and ".ln" not in name:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, indices: Tensor, condition: Condition | None = None) -> Tensor:
        """Logits of whole sequences.

        Args:
            indices: (B, T), int64, time-major, T <= config.window.
            condition: what they are for.

        Returns:
            (B, condition_length + T, codebook_size). Row condition_length - 1 + t is for index t.

        Raises:
            ValueError: the condition is not one of this network, or the sequence is too long.
        """
        x = torch.cat([self._condition_rows(condition, len(indices)), self.tok_emb(indices)], dim=1)
        return self._run(x, None)

    def loss(self, indices: Tensor, condition: Condition | None = None) -> Tensor:
        """Mean negative log-likelihood of the indices (B, T), in nats for each index; errors are those of `forward`."""
        return self.surprise(indices, condition).mean()

    def surprise(self, indices: Tensor, condition: Condition | None = None) -> Tensor:
        """Negative log-likelihood of each of the indices (B, T), in nats: (B, T); errors are those of `forward`."""
        logits = self(indices[:, :-1], condition)[:, self.config.condition_length - 1 :]
        return F.cross_entropy(logits.float().mT, indices, reduction="none")

    @torch.no_grad()
    def begin(self, condition: Condition | None, batch: int) -> tuple[Cache, Tensor]:
        """A cache that holds the condition, and the logits (batch, codebook_size) of the first index.

        Raises ValueError if the condition is not one of this network.
        """
        rows = self._condition_rows(condition, batch)
        config = self.config
        cache = Cache(
            (config.n_layer, batch, config.n_head, self.pos_emb.shape[1], config.n_embd // config.n_head), rows
        )
        return cache, self._run(rows, cache)[:, -1]

    @torch.no_grad()
    def step(self, indices: Tensor, cache: Cache) -> Tensor:
        """Logits (B, codebook_size) of the index after those given: (B, t), which follow what is in the cache.

        Raises ValueError if the window is full.
        """
        return self._run(self.tok_emb(indices), cache)[:, -1]

    @torch.no_grad()
    def step_at(self, indices: Tensor, row: PlacedRow) -> Tensor:
        """`step` for one index of each sequence, (B, 1), with the same operations on the same memory at every place.

        What comes before it is in the cache that `row` belongs to; the length of the cache stays as it is.
        """
        row.see()
        x = self.tok_emb(indices) + self.pos_emb[:, row.place]
        for layer, block in enumerate(self.blocks):
            x = block(x, row, layer)
        return self.head(self.ln_f(x))[:, -1]

    def _run(self, x: Tensor, cache: Cache | None) -> Tensor:
        """Embedded rows (B, t, n_embd) -> logits, of all rows without a cache, of the last one with it."""
        before = cache.length if cache else 0
        end = before + x.shape[1]
        if end > self.pos_emb.shape[1]:
            raise ValueError(f"a sequence of {end} rows is longer than the window of {self.pos_emb.shape[1]}")
        x = self.drop(x + self.pos_emb[:, before:end])
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        if cache is not None:
            cache.length = end
            x = x[:, -1:]
        return self.head(self.ln_f(x))

    def _condition_rows(self, condition: Condition | None, batch: int) -> Tensor:
        """What stands before the indices: (batch, condition_length, n_embd)."""
        given = condition or Condition()
        config = self.config
        rows = [
            self._rows("features", given.features, given.has_features, (config.feature_frames, config.feature_depth)),
            self._rows("class", given.classes, given.has_classes, () if config.num_classes else (0,)),
        ]
        there = [part.expand(batch, -1, -1) for part in rows if part is not None]
        return torch.cat(there, dim=1) if there else self.start.expand(batch, -1, -1)

    def _rows(
        self, kind: Literal["features", "class"], given: Tensor | None, present: Tensor | None, shape: tuple[int, ...]
    ) -> Tensor | None:
        """Rows (B, rows, n_embd) of one kind of condition; None if the network has no such kind: a 0 in its shape."""
        if 0 in shape:
            if given is not None:
                raise ValueError(f"the network takes no {kind}")
            return None
        if not self.config.optional and (given is None or present is not None):
            raise ValueError(f"the network needs {kind}")
        if given is None:
            return self.get_parameter(f"no_{kind}").expand(-1, shape[0] if shape else 1, -1)
        if given.shape[1:] != shape:
            raise ValueError(f"{kind} must have the shape (B, {', '.join(map(str, shape))}), not {tuple(given.shape)}")
        if kind == "class":
            rows = self.get_submodule(self._class_embedder)(given)[:, None]
        else:
            rows = self.get_submodule(self._feature_embedder)(given.to(self.pos_emb.dtype).mT).mT
        if present is None:
            return rows
        return torch.where(present[:, None, None], rows, self.get_parameter(f"no_{kind}").to(rows.dtype))
