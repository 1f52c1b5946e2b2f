"""Autoregressive generation of codebook indices, with a key/value cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .bitstream.errors import UsageError
from .models.step_graph import quickest_step
from .models.transformer import ROWS, Condition, Transformer

Progress = Callable[[int, int], None]  # columns that are there, columns that are wanted


@dataclass(frozen=True)
class Sampling:
    """How an index is drawn.

    Attributes:
        top_k: only indices whose logit is not below the k-th largest can be drawn: 1 takes the likeliest index, larger
            numbers give more diversity and less relevance. None stands for half of the codebook, as the paper has it.
        temperature: logits are divided by it; above 0.
        nucleus: of the indices that are left, only the likeliest ones that together have this probability, in (0, 1].
        seed: of the random numbers. Sample i of a batch has a stream of its own, which follows from `seed` and i alone.
    """

    top_k: int | None = None
    temperature: float = 1.0
    nucleus: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k must be at least 1, not {self.top_k}.")
        if not 0 < self.temperature < float("inf"):
            raise UsageError(
                f"The temperature must be above 0, not {self.temperature}: a top-k of 1 takes the likeliest."
            )
        if not 0 < self.nucleus <= 1:
            raise UsageError(f"The nucleus must be above 0 and at most 1, not {self.nucleus}.")
        if self.seed < 0:
            raise UsageError(f"The seed must not be negative, as {self.seed} is.")


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities that indices are drawn with: (B, K) -> (B, K), float64, zero for those that cannot be drawn."""
    scaled = logits.double()  # float64: what is drawn shall not depend on how it is summed up
    scaled = (scaled - scaled.amax(1, keepdim=True)) / sampling.temperature  # all finite or -inf, however cold
    count = sampling.top_k or max(1, logits.shape[1] // 2)
    if count < logits.shape[1]:
        least = scaled.topk(count).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    chances = scaled.softmax(1)
    if sampling.nucleus < 1:
        ordered = chances.sort(descending=True)
        likelier = ordered.values.cumsum(1) - ordered.values  # the first one always stays
        outside = torch.zeros_like(likelier, dtype=torch.bool).scatter(1, ordered.indices, likelier >= sampling.nucleus)
        chances = chances.masked_fill(outside, 0.0)
        chances /= chances.sum(1, keepdim=True)
    return chances


@torch.inference_mode()
def generate(
    network: Transformer,
    prime: Tensor,
    length: int,
    sampling: Sampling,
    condition: Condition | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Continue sequences of indices.

    Up to one window, everything that is there is seen. Longer sequences are made as the reference makes them: a window
    of `network.config.columns` columns is centred on the column that is made, but for the ends, and the indices before
    it in that window are seen, after the same condition.

    Args:
        network: in eval mode.
        prime: (B, t), int64, time-major, on the network's device; t may be 0, and need not be whole columns.
        length: indices wanted, the prime's included.
        sampling: how to draw them.
        condition: what they are for.
        progress: told after every column.

    Returns:
        (B, length), int64, which begins with the prime. Sample i depends on the seed and i, not on the others.

    Raises:
        ValueError: the condition is not one of this network.
    """
    batch, given = prime.shape
    sequence = prime.new_zeros(batch, max(length, given))
    sequence[:, :given] = prime
    total = -(-length // ROWS)
    there = "cpu" if prime.device.type == "mps" else prime.device  # Apple's GPUs have no float64
    drawn = _random_numbers(sampling.seed, batch, length - given).to(there)
    cache, logits = network.begin(condition, batch)
    step = quickest_step(network, cache, batch)
    start = 0  # of the window, in columns
    seen = 0  # indices in the cache reach to here
    for place in range(given, length):
        wanted = window_start(place // ROWS, total, network.config.columns)
        if wanted != start:  # positions change: what the cache knows of the indices is of no use
            start, seen = wanted, wanted * ROWS
            cache.length = network.config.condition_length
        if place > seen:
            logits = step(sequence[:, seen:place], cache)
            seen = place
        sequence[:, place] = _draw(probabilities(logits.to(there), sampling), drawn[:, place - given])
        if progress and (place + 1) % ROWS == 0:
            progress((place + 1) // ROWS, total)
    return sequence


def window_start(column: int, total: int, size: int) -> int:
    """First column of the window in which a column is made: it is in its middle, unless the window meets an end."""
    return max(0, min(column - size // 2, total - size))


def _random_numbers(seed: int, batch: int, count: int) -> Tensor:
    """(batch, count) in [0, 1), float64: a stream for each sample, made on the CPU so that it is the same anywhere."""
    streams = [np.random.default_rng([seed, sample]).random(max(0, count)) for sample in range(batch)]
    return torch.from_numpy(np.stack(streams))


def _draw(chances: Tensor, uniform: Tensor) -> Tensor:
    """The index (B,) whose part of the cumulated probabilities (B, K) holds the random number (B,)."""
    cumulated = chances.cumsum(1)
    found = torch.searchsorted(cumulated, (uniform * cumulated[:, -1])[:, None], right=True)[:, 0]
    last = chances.shape[1] - 1 - (chances > 0).flip(1).int().argmax(1)  # rounding must not pass the last possible one
    return found.minimum(last)
