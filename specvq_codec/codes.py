"""Codes: a sound as codebook indices, and their way into and out of `.svq` files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from .bitstream import (
    ROWS,
    BitstreamError,
    Coding,
    CodingModel,
    Header,
    UsageError,
    WeightsError,
    inspect,
    read,
    read_lenient,
    write,
)
from .files import read_file, write_file
from .weights import Bundle, bundle_for, locate


@dataclass(frozen=True, eq=False)
class Codes:
    """A sound as indices into the codebook of certain weights.

    Attributes:
        indices: (T, 5) int16, time-major: row t holds the five mel rows, low to high, of the t-th 0.186 s. Flattened it
            is the sequence that the transformer models.
        sample_rate: rate of the original sound in Hz.
        num_samples: its length in samples at that rate.
        fingerprint: of the weights that the indices belong to (32 bytes).
        model: the weights' codebook size and coding tables.
        lost: ranges of columns, as (first, after the last), that a damaged file no longer held; their indices are 0.
    """

    indices: npt.NDArray[np.int16]
    sample_rate: int
    num_samples: int
    fingerprint: bytes
    model: CodingModel = field(repr=False)
    lost: tuple[tuple[int, int], ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Codes):
            return NotImplemented
        mine = (self.sample_rate, self.num_samples, self.fingerprint, self.lost)
        theirs = (other.sample_rate, other.num_samples, other.fingerprint, other.lost)
        return mine == theirs and np.array_equal(self.indices, other.indices)

    @property
    def duration(self) -> float:
        """Length of the sound in seconds."""
        return self.num_samples / self.sample_rate

    @cached_property
    def bitrate(self) -> float:
        """Bits per second of the file that `to_bytes` makes, with everything that is in it."""
        return 8 * len(self.to_bytes()) / self.duration

    def beginning(self, seconds: float) -> Codes:
        """The codes of the first seconds; all, if there are no more. Raises UsageError if that is nothing."""
        if not seconds > 0 or round(min(seconds, self.duration) * self.sample_rate) == 0:
            raise UsageError(f"The beginning of a sound must be longer than 0 s, and {seconds} s is not.")
        samples = round(min(seconds, self.duration) * self.sample_rate)
        columns = Header(Coding.FIXED, self.fingerprint[:4], self.sample_rate, samples).columns
        lost = tuple((first, min(end, columns)) for first, end in self.lost if first < columns)
        return dataclasses.replace(self, indices=self.indices[:columns], num_samples=samples, lost=lost)

    def to_bytes(self, entropy: str = "auto") -> bytes:
        """The `.svq` file.

        Args:
            entropy: "fixed", "static", "learned", or "auto" for the smallest that the weights can make.

        Raises:
            UsageError: the coding does not exist, the weights lack what it needs, or columns are lost, which a file
                cannot tell.
        """
        if self.lost:
            raise UsageError("Codes with lost columns cannot be stored, as a file cannot say so: decode them instead.")
        return write(self.indices, self.sample_rate, self.num_samples, self.fingerprint, self.model, entropy)

    def save(self, path: str | PathLike[str], entropy: str = "auto", force: bool = False) -> None:
        """Write the `.svq` file; it appears whole or not at all. An existing one is replaced only with `force`."""
        write_file(path, self.to_bytes(entropy), force)

    @classmethod
    def from_bytes(cls, data: bytes, weights: Bundle | str | None = None, lenient: bool = False) -> Codes:
        """Read an `.svq` file.

        Args:
            data: the whole file.
            weights: the bundle it was made with; None looks for it among those that are installed.
            lenient: keep what is left of a damaged file.

        Raises:
            BitstreamError: the bytes are no `.svq` file or a damaged one.
            WeightsError: the file needs other weights.
        """
        bundle = weights if isinstance(weights, Bundle) else bundle_of(data, weights)
        model = bundle.coding_model()
        lost: list[tuple[int, int]] = []
        if lenient:
            header, indices, lost = read_lenient(data, model, bundle.fingerprint)
        else:
            header, indices = read(data, model, bundle.fingerprint)
        return cls(indices, header.sample_rate, header.num_samples, bundle.fingerprint, model, tuple(lost))

    @classmethod
    def load(cls, path: str | PathLike[str], weights: Bundle | str | None = None, lenient: bool = False) -> Codes:
        """Read an `.svq` file from disk; arguments and errors are those of `from_bytes`."""
        return cls.from_bytes(read_file(path), weights, lenient)


def bundle_of(data: bytes, weights: str | None = None) -> Bundle:
    """The bundle that was named, or else the installed one whose fingerprint a file carries.

    Raises:
        BitstreamError: the bytes are no `.svq` file.
        WeightsError: there is no such bundle.
    """
    if weights is not None:
        return locate(weights)
    mark = Header.parse(data)[0].fingerprint
    bundle = bundle_for(mark)
    if bundle is None:
        if not any(inspect(data).intact):
            raise BitstreamError("The file is damaged (no check in it fits): get another copy of it.")
        raise WeightsError(
            f"The file needs the weights {mark.hex()}, which are not installed: name them (--weights), or their folder "
            "in SPECVQ_WEIGHTS."
        )
    return bundle


def checked_indices(indices: Any, codebook_size: int) -> npt.NDArray[np.int16]:
    """Indices as int16 (T, 5); raises UsageError if they are not indices of such a codebook."""
    array = np.asarray(indices)
    if array.ndim != 2 or array.shape[1] != ROWS or len(array) == 0 or array.dtype.kind not in "iu":
        raise UsageError(f"Indices must be integers of shape (T, {ROWS}), not {array.dtype}{array.shape}.")
    if array.min() < 0 or array.max() >= codebook_size:
        raise UsageError(f"Indices must lie from 0 to {codebook_size - 1} for these weights.")
    return array.astype(np.int16)
