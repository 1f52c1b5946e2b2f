"""Indices of one block to payload bytes and back: fixed-length codes, and range coding with static tables.

A block is an array of shape (T, 5), time-major: row t holds the five codebook indices of column t, lowest mels first.
``FORMAT.md`` (sections 5 and 6) defines both codings to the bit; learned.py has the third.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import BitstreamError, UsageError, WeightsError
from .sizes import MAX_CODEBOOK_SIZE, ROWS, fixed_bytes, max_payload_bytes, symbol_width

if TYPE_CHECKING:
    from .prior import Prior

__all__ = [
    "INVALID",
    "MAX_CODEBOOK_SIZE",
    "PRECISION",
    "ROWS",
    "CodingModel",
    "decode_fixed",
    "decode_static",
    "encode_fixed",
    "encode_static",
    "fixed_bytes",
    "frequency_tables",
    "max_payload_bytes",
    "seal",
    "symbol_width",
]

PRECISION = 24
"""Probabilities are multiples of 2^-24."""

INVALID = "It was not written by a working encoder for these weights: encode the sound again."


@dataclass(frozen=True, eq=False)
class CodingModel:
    """All that the coding of indices needs to know about a weight bundle.

    Attributes:
        codebook_size: K, the number of codebook vectors, 2..32768; indices are 0..K-1.
        static: integer weights, shape (5, K), one table a mel row, or None if the bundle has no tables. Each row sums
            to exactly 2^24 - K; index k of row r has the probability (static[r, k] + 1) / 2^24. Read-only int32.
        prior: the model of learned coding, or None if the bundle has none.

    Raises:
        WeightsError: the codebook size or the tables are not as described, or the prior is of another codebook size.
    """

    codebook_size: int
    static: npt.NDArray[np.int32] | None = None
    prior: Prior | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.codebook_size <= MAX_CODEBOOK_SIZE:
            raise WeightsError(
                f"A codebook of {self.codebook_size} vectors cannot be coded: 2 to {MAX_CODEBOOK_SIZE} are possible."
            )
        if self.prior is not None and self.prior.codebook_size != self.codebook_size:
            raise WeightsError(
                f"The prior of the weights is for {self.prior.codebook_size} codebook vectors, and there are "
                f"{self.codebook_size}: make the prior again."
            )
        if self.static is None:
            return
        given = np.asarray(self.static)
        shape = (ROWS, self.codebook_size)
        if given.shape != shape or given.dtype.kind not in "iu":
            raise WeightsError(
                f"The static tables of the weights are {given.dtype}{given.shape} and must be integers of shape "
                f"{shape}: make the bundle again."
            )
        total = (1 << PRECISION) - self.codebook_size
        # Entries above the total are refused one by one, so that no sum can wrap around to a valid one.
        if given.min() < 0 or given.max() > total or np.any(given.sum(axis=1, dtype=np.int64) != total):
            raise WeightsError(
                f"The rows of the weights' static tables must be at least 0 and sum to {total}: make the bundle again."
            )
        table = np.array(given, dtype=np.int32)
        table.setflags(write=False)
        object.__setattr__(self, "static", table)

    def static_bits(self, indices: npt.NDArray[Any]) -> float:
        """The information in ``indices``, shape (T, 5), under the static tables: what an ideal coder needs, in bits."""
        table = _static_table(self)
        total = 0.0
        for row in range(ROWS):
            total += float(np.sum(PRECISION - np.log2(table[row, indices[:, row]] + 1.0)))
        return total


def frequency_tables(counts: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Static tables from how often each index occurred in each mel row.

    Half a count is added to every index (the Krichevsky-Trofimov estimate), so that indices that were never seen stay
    cheap enough. All arithmetic is in integers, with largest remainders for the rounding (and the lowest index first
    among equals): the same counts give the same tables everywhere.

    Args:
        counts: integers >= 0, shape (5, K), each row with a sum below 2^37.

    Returns:
        The weights of :class:`CodingModel`, int32, shape (5, K).

    Raises:
        UsageError: the counts have another shape, type or range.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != ROWS or not 2 <= counts.shape[1] <= MAX_CODEBOOK_SIZE:
        raise UsageError(f"Index counts must have the shape (5, codebook size), not {counts.shape}.")
    if counts.dtype.kind not in "iu" or counts.min() < 0 or counts.max() >= 1 << 37:
        raise UsageError("Index counts must be integers from 0 to below 2^37.")
    if counts.sum(axis=1).max() >= 1 << 37:
        raise UsageError("The index counts of one mel row must sum to less than 2^37: scale them down.")
    doubled = 2 * counts.astype(np.int64) + 1
    total = (1 << PRECISION) - counts.shape[1]
    weights, remainders = np.divmod(doubled * total, doubled.sum(axis=1, keepdims=True))  # at most 2^62: exact in int64
    for row in range(ROWS):
        missing = total - int(weights[row].sum())
        weights[row, np.argsort(-remainders[row], kind="stable")[:missing]] += 1
    return weights.astype(np.int32)


def encode_fixed(indices: npt.NDArray[Any], model: CodingModel) -> bytes:
    """Indices, shape (T, 5), as ceil(log2 K) bits each, time-major, high bit first, zero bits at the end."""
    shifts = np.arange(symbol_width(model.codebook_size) - 1, -1, -1)
    bits = (indices.reshape(-1, 1).astype(np.int32) >> shifts) & 1  # (5T, width)
    return np.packbits(bits.astype(np.uint8)).tobytes()


def decode_fixed(payload: bytes | memoryview, columns: int, model: CodingModel) -> npt.NDArray[np.int16]:
    """The indices, int16 of shape (columns, 5), that :func:`encode_fixed` made into ``payload``.

    Raises:
        BitstreamError: no encoder writes this payload: its length is another, the bits at its end are not zero, or an
            index is not in the codebook.
    """
    width = symbol_width(model.codebook_size)
    if len(payload) != fixed_bytes(columns, width):
        raise BitstreamError(f"The file has a block of a wrong length. {INVALID}")
    bits = np.unpackbits(np.frombuffer(payload, dtype=np.uint8))
    used = columns * ROWS * width
    values = bits[:used].reshape(-1, width).astype(np.int32) @ (1 << np.arange(width - 1, -1, -1, dtype=np.int32))
    if np.any(bits[used:]) or values.max() >= model.codebook_size:
        raise BitstreamError(f"The file has a block with codes that no index has. {INVALID}")
    return values.astype(np.int16).reshape(columns, ROWS)


def encode_static(indices: npt.NDArray[Any], model: CodingModel) -> bytes:
    """Indices, shape (T, 5), range coded with the static tables, all of mel row 0 first, then row 1, and so on.

    Raises:
        WeightsError: the model has no static tables.
    """
    import constriction  # here, so that importing this package stays quick

    table = _static_table(model)
    encoder = constriction.stream.queue.RangeEncoder()
    for row in range(ROWS):
        symbols = np.ascontiguousarray(indices[:, row], dtype=np.int32)
        encoder.encode(symbols, _categorical(table[row]))
    words, (lower, span) = encoder.pos()
    return seal(encoder.get_compressed(), words, lower, span)


def decode_static(payload: bytes | memoryview, columns: int, model: CodingModel) -> npt.NDArray[np.int16]:
    """The indices, int16 of shape (columns, 5), that :func:`encode_static` made into ``payload``.

    Raises:
        WeightsError: the model has no static tables.
        BitstreamError: no encoder writes this payload.
    """
    import constriction

    table = _static_table(model)
    if len(payload) > max_payload_bytes(columns):
        raise BitstreamError(f"The file has a block of a wrong length. {INVALID}")
    # Every index takes at most one more word, so with this padding the decoder never meets the end of its input.
    padded = bytes(payload).ljust(4 * (ROWS * columns + 2), b"\0")
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))
    indices = np.empty((columns, ROWS), dtype=np.int16)
    try:
        for row in range(ROWS):
            indices[:, row] = decoder.decode(_categorical(table[row]), columns)
    except AssertionError as error:  # constriction's way to say that the point lies outside of all symbols
        raise BitstreamError(f"The file has a block with codes that no index has. {INVALID}") from error
    # The decoder takes any number of stray bytes without complaint. One grid has one payload: compare.
    if encode_static(indices, model) != bytes(payload):
        raise BitstreamError(f"The file has a block that is not in its shortest form. {INVALID}")
    return indices


def _static_table(model: CodingModel) -> npt.NDArray[np.int32]:
    if model.static is None:
        raise WeightsError("These weights have no static tables: use weights that have them, or encode with fixed.")
    return model.static


def _categorical(weights: npt.NDArray[np.int32]) -> Any:
    """An exact integer model: weights w that sum to 2^24 - K get the probabilities (w + 1) / 2^24.

    constriction scales floats so that they sum to 2^24 - K and gives one more count to each: the scale is exactly 1
    here, and all sums are integers far below 2^53, so nothing is rounded, on any machine.
    """
    import constriction

    return constriction.stream.model.Categorical(weights.astype(np.float64), perfect=False)


def seal(compressed: npt.NDArray[np.uint32], words: int, lower: int, span: int) -> bytes:
    """The shortest byte string inside the encoder's final interval; the lowest of them if there are several.

    Args:
        compressed: the encoder's own words, which name one point of the interval.
        words: how many words the encoder has shifted out so far.
        lower: the bottom of the interval within the 64 bits that follow them, 0..2^64-1.
        span: the size of the interval, 2^32..2^64-1.

    A byte string stands for the number with these leading digits and zeros after them. ``lower`` lacks the words
    before it (and a carry into them may still be pending), so they are taken from the point: it lies less than 2^64
    above the bottom of the interval, which makes the distance known from its last 64 bits.
    """
    digits = 32 * words + 64
    point = int.from_bytes(compressed.astype(">u4").tobytes(), "big") << (digits - 32 * len(compressed))
    bottom = point - ((point - lower) & (2**64 - 1))
    if bottom == 0:
        return b""
    # Of all numbers from bottom to top, the one with the most trailing zero bits has as many as there are digits below
    # the first in which bottom - 1 and top differ.
    zeros = ((bottom - 1) ^ (bottom + span - 1)).bit_length() - 1
    dropped = zeros - zeros % 8
    return (-(-bottom >> dropped)).to_bytes((digits - dropped) // 8, "big")
