"""Indices to the bytes of an ``.svq`` file, and back.

Example:
    >>> import numpy as np
    >>> model = CodingModel(codebook_size=1024)
    >>> indices = np.arange(40).reshape(8, 5)
    >>> data = write(indices, 44100, 60_000, bytes.fromhex("5eed5eed"), model)
    >>> header, decoded = read(data, model, bytes.fromhex("5eed5eed"))
    >>> header.sample_rate, header.num_samples, decoded.shape, len(data)
    (44100, 60000, (8, 5), 64)
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Block, BlockMap, pack_block
from .entropy import (
    ROWS,
    CodingModel,
    decode_fixed,
    decode_static,
    encode_fixed,
    encode_static,
    symbol_width,
)
from .errors import BitstreamError, UsageError, WeightsError
from .header import ENTROPY_CHOICES, FINGERPRINT_BYTES, Coding, Header
from .inspection import inspect
from .learned import decode_learned, encode_learned
from .recovery import surviving_blocks

__all__ = ["check_coding", "read", "read_lenient", "write"]


def write(
    indices: npt.NDArray[Any],
    sample_rate: int,
    num_samples: int,
    fingerprint: bytes,
    model: CodingModel,
    entropy: str = "auto",
) -> bytes:
    """Make an ``.svq`` file.

    Args:
        indices: codebook indices, integers of shape (T, 5), time-major, 0..K-1, where T is the number of columns that
            the sound has (see :class:`Header`).
        sample_rate: rate of the original sound in Hz, 1000..768000.
        num_samples: its length in samples, 1 to 25 hours.
        fingerprint: of the weights; the file carries its first 4 bytes.
        model: codebook size, tables and prior of the weights.
        entropy: ``fixed``, ``static``, ``learned``, or ``auto`` for the smallest file that the weights can make.

    Returns:
        The whole file. It has been decoded again, to the same indices.

    Raises:
        UsageError: an argument is not as described, or the model lacks what the coding needs.
        BitstreamError: the bytes do not decode to the same indices: a defect of this package or of this machine.
    """
    check_coding(entropy, model)
    if len(fingerprint) < FINGERPRINT_BYTES:
        raise UsageError(f"A fingerprint has at least {FINGERPRINT_BYTES} bytes, not {len(fingerprint)}.")
    marks = _marks(fingerprint, model)
    codings = list(marks) if entropy == "auto" else [Coding[entropy.upper()]]
    headers = [Header(coding, marks[coding], sample_rate, num_samples) for coding in codings]
    grid = _checked_grid(indices, headers[0].columns, model)
    data = min((_assemble(header, grid, model) for header in headers), key=len)
    if not np.array_equal(read(data, model, fingerprint)[1], grid):
        raise BitstreamError(
            "The encoded bytes do not decode to the indices that went in, so nothing was written: try --entropy fixed, "
            "and report this defect."
        )
    return data


def check_coding(entropy: str, model: CodingModel) -> None:
    """Raise UsageError if there is no such entropy coding, or the model lacks what it needs."""
    if entropy not in ENTROPY_CHOICES:
        raise UsageError(f"There is no entropy coding {entropy!r}: use one of {', '.join(ENTROPY_CHOICES)}.")
    if entropy == "static" and model.static is None:
        raise UsageError("These weights have no static tables: use --entropy auto or fixed.")
    if entropy == "learned" and model.prior is None:
        raise UsageError("These weights have no prior for learned coding: use --entropy auto, or other weights.")


def read(data: bytes, model: CodingModel, fingerprint: bytes | None) -> tuple[Header, npt.NDArray[np.int16]]:
    """Read an ``.svq`` file, all of it or nothing.

    Args:
        data: the whole file.
        model: codebook size and tables of the weights that are at hand.
        fingerprint: of these weights, at least 4 bytes; None to believe that they are the right ones.

    Returns:
        The header, and the indices, int16 of shape (header.columns, 5).

    Raises:
        BitstreamError: this is not an ``.svq`` file, or it is damaged, or it needs a newer version of this package.
        WeightsError: the file was made with other weights, or needs tables that these do not have.
    """
    blocks = _open(data, model, fingerprint)
    header = blocks.header
    found: list[Block] = []
    position = blocks.first
    for index in range(header.blocks):
        block = blocks.intact(index, position)
        if block is None:
            raise BitstreamError(_damage(header, index))
        found.append(block)
        position = block.end
    # Every check fits by now: only then are bytes decoded, and memory taken that the header asks for.
    decoded: list[npt.NDArray[np.int16]] = []
    for result in _decode(blocks, found, model):
        if isinstance(result, BitstreamError):
            raise result
        decoded.append(result)
    return header, np.concatenate(decoded)


def read_lenient(
    data: bytes, model: CodingModel, fingerprint: bytes | None
) -> tuple[Header, npt.NDArray[np.int16], list[tuple[int, int]]]:
    """Read what is left of a damaged ``.svq`` file.

    Args:
        data: the whole file.
        model: codebook size and tables of the weights that are at hand.
        fingerprint: of these weights, at least 4 bytes; None to believe that they are the right ones.

    Returns:
        The header; the indices, int16 of shape (header.columns, 5), 0 where they are lost; and the ranges of columns
        that are lost, each as first column and column after the last, in order and never touching each other.

    Raises:
        BitstreamError: nothing is left (a damaged header makes all checks fail), or this never was an ``.svq`` file, or
            it needs a newer version of this package.
        WeightsError: the file was made with other weights, or needs tables that these do not have.
    """
    blocks = _open(data, model, fingerprint)
    header = blocks.header
    decoded: dict[int, npt.NDArray[np.int16]] = {}
    found = surviving_blocks(blocks)
    for block, result in zip(found, _decode(blocks, found, model), strict=True):
        if not isinstance(result, BitstreamError):  # else its check fits by chance, or it was badly made
            decoded[block.index] = result
    if not decoded:
        raise BitstreamError("No block of the file is intact, so nothing can be recovered: get another copy of it.")
    indices = np.zeros((header.columns, ROWS), dtype=np.int16)
    lost: list[tuple[int, int]] = []
    for index in range(header.blocks):
        first, end = header.block_range(index)
        if index in decoded:
            indices[first:end] = decoded[index]
        elif lost and lost[-1][1] == first:
            lost[-1] = lost[-1][0], end
        else:
            lost.append((first, end))
    return header, indices, lost


def _checked_grid(indices: npt.NDArray[Any], columns: int, model: CodingModel) -> npt.NDArray[np.int16]:
    """The indices as int16, shape (columns, 5)."""
    given = np.asarray(indices)
    if given.shape != (columns, ROWS) or given.dtype.kind not in "iu":
        raise UsageError(
            f"A sound of this length has integer indices of shape ({columns}, {ROWS}), not {given.dtype}{given.shape}."
        )
    if given.min() < 0 or given.max() >= model.codebook_size:
        raise UsageError(f"Indices must be from 0 to {model.codebook_size - 1}: use those of the same weights.")
    return given.astype(np.int16)


def _marks(fingerprint: bytes, model: CodingModel) -> dict[Coding, bytes]:
    """What files carry to name the weights, for each coding that these can do."""
    mark = bytes(fingerprint[:FINGERPRINT_BYTES])
    marks = {Coding.FIXED: mark}
    if model.static is not None:
        marks[Coding.STATIC] = mark
    if model.prior is not None:
        marks[Coding.LEARNED] = model.prior.mark(mark)
    return marks


def _assemble(header: Header, grid: npt.NDArray[np.int16], model: CodingModel) -> bytes:
    """The file that holds the grid, shape (header.columns, 5), in the header's coding."""
    encode = {Coding.FIXED: encode_fixed, Coding.STATIC: encode_static, Coding.LEARNED: encode_learned}[header.coding]
    parts = [header.to_bytes()]
    for index in range(header.blocks):
        first, end = header.block_range(index)
        parts.append(pack_block(header, index, encode(grid[first:end], model)))
    return b"".join(parts)


def _open(data: bytes, model: CodingModel, fingerprint: bytes | None) -> BlockMap:
    """Read the header, and make sure that these weights can decode what follows."""
    header, position = Header.parse(data)
    blocks = BlockMap(data, header, position, symbol_width(model.codebook_size))
    mark = header.fingerprint
    if fingerprint is not None:
        mark = _marks(fingerprint, model).get(header.coding, bytes(fingerprint[:FINGERPRINT_BYTES]))
    if mark != header.fingerprint:
        # Do not blame the weights if it is the fingerprint itself that is damaged: no check fits then.
        if not any(inspect(data).intact):
            raise BitstreamError(_damage(header, 0))
        prior = " and the prior" if header.coding == Coding.LEARNED else ""
        none = " without a prior" if prior and model.prior is None else ""
        raise WeightsError(
            f"The file was made with the weights{prior} {header.fingerprint.hex()}, and these are {mark.hex()}{none}: "
            f"decode it with the weights{prior} that it was made with."
        )
    lacks = {Coding.STATIC: model.static is None and "static tables", Coding.LEARNED: model.prior is None and "a prior"}
    if lacking := lacks.get(header.coding):
        raise WeightsError(f"The file needs {lacking}, which these weights do not have: use those it was made with.")
    return blocks


def _decode(
    blocks: BlockMap, found: list[Block], model: CodingModel
) -> Iterator[npt.NDArray[np.int16] | BitstreamError]:
    """The indices of intact blocks, each int16 of shape (its columns, 5), or what is wrong with it."""
    payloads = [blocks.data[block.start : block.stop] for block in found]
    ranges = [blocks.header.block_range(block.index) for block in found]
    columns = [end - first for first, end in ranges]
    if blocks.header.coding == Coding.LEARNED:
        yield from decode_learned(payloads, columns, model)
        return
    decode = decode_fixed if blocks.header.coding == Coding.FIXED else decode_static
    for payload, count in zip(payloads, columns, strict=True):
        try:
            yield decode(payload, count, model)
        except BitstreamError as error:
            yield error


def _damage(header: Header, index: int) -> str:
    """What to tell about a file whose first damaged block is ``index``."""
    if header.blocks == 1:
        return "The file is damaged (its check does not fit): get another copy of it."
    first, end = (header.column_time(column) for column in header.block_range(index))
    return (
        f"The file is damaged: block {index + 1} of {header.blocks} ({first:.1f} s to {end:.1f} s) is not intact. Get "
        "another copy of it, or decode the rest with --lenient."
    )
