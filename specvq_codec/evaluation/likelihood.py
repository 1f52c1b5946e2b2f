"""How well a sampler foretells the indices of held-out sound: bits per index, beside what needs no network.

The convention. All whole columns of every recording count, each once, as `specvq data tokenize` encodes them. A
recording that is no longer than the sampler's window is seen from its beginning, with nothing before it. A longer one
is cut into windows of that size which overlap by half: in the first all indices count, in each later one those that no
window before it had, so that they have at least half a window before them, as `sampling.generate` gives them. Bits of a
domain are summed over its indices and divided by their number, so that long recordings weigh more.

A sampler that takes features of video sees the first window of a recording alone, which is what its features tell of,
and then no other index counts in any row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bitstream import CodingModel
from ..models.transformer import ROWS, Condition, Transformer
from ..training.data import Clip
from ..training.tokens import TokenPack
from .conditioning import Conditioning
from .labels import ALL, section_name

UNIFORM, FREQUENCIES = "uniform", "frequencies of each mel row"
_BATCH = 16  # windows at a time


@dataclass(frozen=True)
class Likelihood:
    """Bits per index in one domain, or in all recordings.

    Attributes:
        domain: its name.
        recordings: how many there are.
        indices: how many of theirs count.
        bits: per index, by the name of the row.
    """

    domain: str
    recordings: int
    indices: int
    bits: dict[str, float]


@torch.inference_mode()
def likelihood(
    known: Conditioning, tokens: TokenPack, track: Callable[[Sequence[Clip]], Iterable[Clip]] = iter
) -> list[Likelihood]:
    """Measure a sampler.

    The rows are: all indices equally likely; the frequencies of each mel row in the bundle's training sound, which the
    bitstream's static coding uses, if the bundle has them; the sampler, for every set of conditions it can be given.

    Args:
        known: the codec with its sampler, and what its sampler can be told of the recordings.
        tokens: of one split of the pack, by the codec's weights.
        track: iterates over recordings, and may show how far it is.

    Returns:
        All recordings, then each domain.

    Raises:
        UsageError: the sampler needs a condition that the pack does not have.
        WeightsError: the bundle has no sampler.
    """
    codec, network, clips = known.codec, known.codec.sampler, tokens.pack.clips
    longest = ROWS * network.config.columns if network.config.feature_frames else None
    items = {clip: item[:longest].long() for clip, item in zip(clips, tokens.items, strict=True)}
    bits: dict[Clip, dict[str, float]] = {}
    for clip in track(clips):
        bits[clip] = _without_network(items[clip], codec.model)
        for kind, names in known.kinds().items():
            condition = known.condition(clip, names)
            bits[clip][f"sampler, {kind}"] = bits_of(network, items[clip].to(codec.device), condition)
    sections = []
    groups = {ALL: list(clips)}
    for domain in sorted({clip.domain for clip in clips}):
        groups[section_name(domain)] = [clip for clip in clips if clip.domain == domain]
    for name, chosen in groups.items():
        indices = sum(len(items[clip]) for clip in chosen)
        means = {row: math.fsum(bits[clip][row] for clip in chosen) / indices for row in bits[chosen[0]]}
        sections.append(Likelihood(name, len(chosen), indices, means))
    return sections


def bits_of(network: Transformer, item: Tensor, condition: Condition | None) -> float:
    """Bits of all indices (5 T,), int64, of one recording."""
    size = ROWS * network.config.columns
    spans = windows(len(item) // ROWS, network.config.columns)
    found = []
    for first in range(0, len(spans), _BATCH):
        part = spans[first : first + _BATCH]
        indices = torch.stack([item[ROWS * start :][:size] for start, _ in part])
        nats = network.surprise(indices, condition)  # (B, 5 columns)
        found += [float(row[ROWS * skip :].double().sum()) for row, (_, skip) in zip(nats, part, strict=True)]
    return math.fsum(found) / math.log(2)


def windows(columns: int, size: int) -> list[tuple[int, int]]:
    """Windows of up to `size` columns over a recording: where each begins, and how many of its columns do not count."""
    found, end = [(0, 0)], min(size, columns)
    while end < columns:
        start = min(end - size // 2, columns - size)
        found.append((start, end - start))
        end = start + size
    return found


def _without_network(item: Tensor, model: CodingModel) -> dict[str, float]:
    """Bits of the indices (5 T,) of a recording by rows that need no network."""
    bits = {UNIFORM: len(item) * math.log2(model.codebook_size)}
    if model.static is not None:
        bits[FREQUENCIES] = model.static_bits(item.numpy().astype(np.int64).reshape(-1, ROWS))
    return bits
