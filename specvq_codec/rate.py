"""A lower rate by choice: of the codebook vectors that are almost as near, those that the prior makes cheap.

Rate-distortion optimised quantisation (Sullivan and Wiegand, "Rate-distortion optimization for video compression",
1998): squared distance plus a weight times bits is made small by a beam search, since every index changes what those
after it cost. The files are decoded as all others are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .bitstream import BLOCK_COLUMNS, ROWS, Prior, UsageError, WeightsError, inspect
from .bitstream.prior import TOTAL
from .codes import Codes
from .models.quantizer import VectorQuantizer

if TYPE_CHECKING:
    from .audio import SoundStream
    from .codec import Codec

CANDIDATES = 128  # vectors to choose from for each index
BEAMS = 8  # beginnings that are kept
_DOUBLINGS = 12  # of the weight, by when distances hardly count
_HALVINGS = 5  # of the interval that holds the smallest weight that is enough

Integers = npt.NDArray[np.int16]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What each index of a sound could be.

    Attributes:
        indices: (T, 5, N), int16, those of the nearest vectors, the nearest first.
        distances: (T, 5, N), float32, squared distances from the latents, less that of the nearest.
    """

    indices: Integers
    distances: Floats

    @classmethod
    @torch.inference_mode()
    def of(cls, latents: Tensor, quantizer: VectorQuantizer, count: int = CANDIDATES) -> Candidates:
        """The candidates for latents (T, 5, D)."""
        distances = quantizer.distances(latents.flatten(0, 1))  # (5 T, K)
        nearest = distances.topk(min(count, distances.shape[1]), largest=False)
        beyond = nearest.values - nearest.values[:, :1]
        shape = (len(latents), ROWS, -1)
        return cls(nearest.indices.view(shape).cpu().numpy().astype(np.int16), beyond.view(shape).cpu().numpy())

    def __getitem__(self, columns: slice) -> Candidates:
        return Candidates(self.indices[columns], self.distances[columns])


def candidates_of(codec: Codec, stream: SoundStream, progress: Callable[[int], object] | None = None) -> Candidates:
    """All that the indices of a sound could be; `progress` is told how many columns more are done."""
    parts = []
    for latents in codec.latent_stream(stream):
        parts.append(Candidates.of(latents, codec.autoencoder.quantize))
        codec.check_length(stream, stream.num_samples)
        if progress:
            progress(len(latents))
    return Candidates(
        np.concatenate([part.indices for part in parts]), np.concatenate([part.distances for part in parts])
    )


def chosen(candidates: Candidates, prior: Prior, weight: float, beams: int = BEAMS) -> tuple[Integers, Floats]:
    """Choose among candidates so that distance plus `weight` times bits is small.

    Args:
        candidates: of a whole sound, of T columns.
        prior: tells the bits.
        weight: squared distance that a bit is worth, at least 0.
        beams: how many beginnings are kept.

    Returns:
        Indices (T, 5), int16, and the bits of each block.
    """
    columns = len(candidates.indices)
    whole = columns // BLOCK_COLUMNS * BLOCK_COLUMNS
    grids, bits = [], []
    for first, end, size in ((0, whole, BLOCK_COLUMNS), (whole, columns, columns - whole)):
        if first < end:  # all blocks of one size side by side, as the coder has them: they know nothing of each other
            part = candidates[first:end]
            shape = (-1, size, *part.indices.shape[1:])
            grid, cost = _search(part.indices.reshape(shape), part.distances.reshape(shape), prior, weight, beams)
            grids.append(grid.reshape(-1, ROWS))
            bits.append(cost)
    return np.concatenate(grids), np.concatenate(bits)


def _search(indices: Integers, distances: Floats, prior: Prior, weight: float, beams: int) -> tuple[Integers, Floats]:
    """Beam search through blocks of the same size: candidates (S, T, 5, N) -> indices (S, T, 5), bits (S,)."""
    blocks, columns, _, count = indices.shape
    steps = prior.start(blocks)
    own = np.arange(blocks)[:, None]
    cost = spent = np.zeros((blocks, 1))  # of the beginnings (S, B): what is made small, and bits
    trace = []  # of each place, which beginning a beam goes on from, and with which index: both (S, B)
    for place in np.ndindex(columns, ROWS):
        options = indices[:, *place]  # (S, N)
        alive = cost.shape[1]
        frequencies = steps.frequencies().reshape(blocks, alive, -1)
        bits = np.log2(TOTAL / np.take_along_axis(frequencies, options[:, None].astype(np.int64), axis=2))
        total = cost[..., None] + distances[:, *place][:, None] + weight * bits  # (S, B, N)
        best = total.reshape(blocks, -1).argsort(axis=1, kind="stable")[:, :beams]
        parents, picks = best // count, best % count
        cost = total[own, parents, picks]
        spent = spent[own, parents] + bits[own, parents, picks]
        picked = options[own, picks]
        trace.append((parents, picked))
        steps = steps.chosen((own * alive + parents).reshape(-1))
        steps.push(picked.reshape(-1))
    beam = cost.argmin(axis=1)
    found = np.empty((columns * ROWS, blocks), dtype=np.int16)
    bits_of_best = spent[own[:, 0], beam]
    for number in reversed(range(len(trace))):
        parents, picked = trace[number]
        found[number] = picked[own[:, 0], beam]
        beam = parents[own[:, 0], beam]
    return found.T.reshape(blocks, columns, ROWS), bits_of_best


def encode_to_rate(
    codec: Codec, stream: SoundStream, target_bps: float, progress: Callable[[int], object] | None = None
) -> Codes:
    """Encode a sound into a file in learned coding of at most so many bits a second, as little changed as that allows.

    Args:
        codec: of a bundle with a prior.
        stream: the sound, open.
        target_bps: what the whole file may take, in bits per second of sound.
        progress: told how many columns more went through the encoder.

    Raises:
        WeightsError: the bundle has no prior.
        UsageError: the file cannot be made so small.
        AudioError: the sound cannot be read.
    """
    prior = codec.model.prior
    if prior is None:
        raise WeightsError(f"The bundle {codec.bundle.name} has no prior, by which rates are chosen: use another one.")
    if not 0 < target_bps < math.inf:
        raise UsageError(f"A target must be above 0 bits per second, not {target_bps}.")
    candidates = candidates_of(codec, stream, progress)
    nearest = Codes(
        candidates.indices[..., 0], stream.sample_rate, stream.num_samples, codec.bundle.fingerprint, codec.model
    )
    about = inspect(nearest.to_bytes("learned"))
    budget = math.floor(target_bps * nearest.duration / 8)
    if about.size <= budget:
        return nearest
    others = about.size - about.payload_bytes
    grid, size = _fitted(candidates, prior, budget - others)
    if others + size > budget:
        least = math.ceil(8 * (others + size) / nearest.duration)
        raise UsageError(
            f"The sound cannot be made smaller than about {least} bits per second: ask for more than that."
        )
    return dataclasses.replace(nearest, indices=grid)


def _fitted(candidates: Candidates, prior: Prior, budget: int) -> tuple[Integers, int]:
    """The choice with the smallest weight that was found to take at most `budget` bytes, and how many it takes at most.

    If distances count for nothing in the end, and it still takes more, that choice.
    """

    def tried(weight: float) -> tuple[Integers, int]:
        grid, bits = chosen(candidates, prior, weight)
        return grid, int((np.ceil(bits / 8) + 1).sum())  # sealing a block takes less than a byte

    low, high = 0.0, float(candidates.distances.mean()) / 16
    best = tried(high)
    for _ in range(_DOUBLINGS):
        if best[1] <= budget:
            break
        low, high = high, 2 * high
        best = tried(high)
    else:
        return best
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        other = tried(middle)
        if other[1] <= budget:
            best, high = other, middle
        else:
            low = middle
    return best
