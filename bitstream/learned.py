"""Indices of blocks to payload bytes and back, range coded with the frequencies of a learned prior.

``FORMAT.md`` (section 7) defines the coding to the bit. Blocks know nothing of each other, so that many are decoded
together: a step of the prior takes hardly longer for fifty of them than for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .entropy import INVALID, PRECISION, CodingModel, seal
from .errors import BitstreamError, WeightsError
from .integers import Array
from .prior import Prior
from .sizes import ROWS, max_payload_bytes

__all__ = ["decode_learned", "encode_learned", "learned_bits"]

TOGETHER = 64
"""Blocks that are decoded at once, an hour and a bit less: more are no quicker, and take more memory."""

_WORD = np.uint64(32)


def prior_of(model: CodingModel) -> Prior:
    """The model's prior. WeightsError if it has none."""
    if model.prior is None:
        raise WeightsError("These weights have no prior for learned coding: use weights that have one.")
    return model.prior


def encode_learned(indices: npt.NDArray[np.int16], model: CodingModel) -> bytes:
    """Indices of a block, shape (T, 5), range coded in time-major order.

    Raises:
        WeightsError: the model has no prior.
    """
    import constriction

    weights = prior_of(model).frequencies(indices[None])[0].reshape(-1, model.codebook_size) - 1.0
    encoder = constriction.stream.queue.RangeEncoder()
    family = constriction.stream.model.Categorical(perfect=False)
    encoder.encode(np.ascontiguousarray(indices.reshape(-1), dtype=np.int32), family, weights)
    words, (lower, span) = encoder.pos()
    return seal(encoder.get_compressed(), words, lower, span)


def learned_bits(indices: npt.NDArray[np.int16], model: CodingModel) -> Array:
    """The information in each index of a block (T, 5) given those before it, in bits: float64 (T, 5).

    Raises:
        WeightsError: the model has no prior.
    """
    frequencies = prior_of(model).frequencies(indices[None])[0]  # (T, 5, K)
    own = np.take_along_axis(frequencies, indices[..., None].astype(np.int64), axis=-1)[..., 0]
    return PRECISION - np.log2(own)


def decode_learned(
    payloads: Sequence[bytes | memoryview], columns: Sequence[int], model: CodingModel
) -> list[npt.NDArray[np.int16] | BitstreamError]:
    """The indices that `encode_learned` made into payloads.

    Args:
        payloads: of any number of blocks.
        columns: how many columns each block has.
        model: whose prior it is.

    Returns:
        For each block its indices, int16 (its columns, 5), or, if no encoder writes its payload, what is wrong with it.

    Raises:
        WeightsError: the model has no prior.
    """
    prior = prior_of(model)
    results: list[npt.NDArray[np.int16] | BitstreamError] = []
    for first in range(0, len(payloads), TOGETHER):
        results += _Batch(payloads[first : first + TOGETHER], columns[first : first + TOGETHER], prior).decoded()
    return results


class _Batch:
    """Range decoders of some blocks, side by side, as section 6 of FORMAT.md has them.

    constriction decodes one block at a time, and does not tell its last state, by which the sealing is checked.
    """

    def __init__(self, payloads: Sequence[bytes | memoryview], columns: Sequence[int], prior: Prior) -> None:
        self.prior, self.columns = prior, np.array(columns)
        self.payloads = [bytes(payload) for payload in payloads]
        self.valid = np.array([len(p) <= max_payload_bytes(n) for p, n in zip(self.payloads, columns, strict=True)])
        # Every index takes at most one more word, so with this padding the decoders never meet the end of their input.
        size = 4 * (ROWS * int(self.columns.max()) + 2)
        padded = b"".join(payload[:size].ljust(size, b"\0") for payload in self.payloads)
        self.words = np.frombuffer(padded, dtype=">u4").reshape(len(self.payloads), -1).astype(np.uint64)
        self.span = np.full(len(self.payloads), 2**64 - 1, dtype=np.uint64)
        self.distance = self.words[:, 0] << _WORD | self.words[:, 1]
        self.taken = np.full(len(self.payloads), 2)
        self.indices = np.zeros((len(self.payloads), int(self.columns.max()), ROWS), dtype=np.int16)

    def decoded(self) -> list[npt.NDArray[np.int16] | BitstreamError]:
        """The indices of each block, or why it has none."""
        steps = self.prior.start(len(self.payloads))
        on = np.arange(len(self.payloads))  # those on their way
        for column in range(self.indices.shape[1]):
            kept = self.valid[on] & (self.columns[on] > column)
            if not kept.all():
                on, steps = on[kept], steps.chosen(kept.nonzero()[0])
            if not len(on):
                break
            for row in range(ROWS):
                found = self._next(on, steps.frequencies())
                self.indices[on, column, row] = found
                steps.push(found)
        return [self._result(place) for place in range(len(self.payloads))]

    def _next(self, on: Array, frequencies: Array) -> Array:
        """The next index of the blocks `on`; one that is invalid gets any, and is marked."""
        ends = np.cumsum(frequencies, axis=-1, dtype=np.uint64)  # (B, K)
        scale = self.span[on] >> np.uint64(PRECISION)
        quantile = self.distance[on] // scale
        self.valid[on] &= quantile < 2**PRECISION
        found = np.minimum((ends <= quantile[:, None]).sum(axis=-1), frequencies.shape[-1] - 1)
        places = np.arange(len(on)), found
        frequency = frequencies[places].astype(np.uint64)
        distance, span = self.distance[on] - scale * (ends[places] - frequency), scale * frequency
        short = span < 2**32
        taken = self.taken[on]
        self.distance[on] = np.where(short, distance << _WORD | self.words[on, taken], distance)
        self.span[on] = np.where(short, span << _WORD, span)
        self.taken[on] = taken + short
        return found

    def _result(self, place: int) -> npt.NDArray[np.int16] | BitstreamError:
        payload, taken = self.payloads[place], 4 * int(self.taken[place])
        if not self.valid[place]:
            return BitstreamError(f"The file has a block with codes that no index has. {INVALID}")
        if payload:
            unit = 1 << 8 * max(0, taken - len(payload))
            distance, span = int(self.distance[place]), int(self.span[place])
            sealed = payload[-1] > 0 and len(payload) <= taken and distance < unit
            if not sealed or distance + (256 - payload[-1]) * unit < span:
                return BitstreamError(f"The file has a block that is not in its shortest form. {INVALID}")
        return self.indices[place, : self.columns[place]]
