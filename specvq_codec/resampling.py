"""Resampling and cutting of streams of samples, in bounded memory."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import soxr

__all__ = ["SAMPLE_RATE", "blocks_of", "resampled", "resampled_length"]

SAMPLE_RATE = 22_050  # Hz, the rate that the networks work at

Samples = npt.NDArray[np.float32]

_SILENCE_BLOCK = 65_536  # samples


def resampled_length(num_samples: int, from_rate: int, to_rate: int = SAMPLE_RATE) -> int:
    """The number of samples after resampling: num_samples * to_rate / from_rate, rounded half up, and at least 1."""
    return max(1, (2 * num_samples * to_rate + from_rate) // (2 * from_rate))


def resampled(
    blocks: Iterable[Samples], from_rate: int, to_rate: int = SAMPLE_RATE, total: int | None = None
) -> Iterator[Samples]:
    """Resample a stream, without delay, in bounded memory.

    Args:
        blocks: Float32 blocks of shape (N,), of any sizes. The result does not depend on how they are cut.
        from_rate: Their rate in Hz.
        to_rate: The wanted rate in Hz.
        total: The wanted number of samples, which cuts the end off or appends silence. None stands for
            `resampled_length` of all that came in.

    Yields:
        Float32 blocks of shape (N,), N >= 1, of whatever size comes about.
    """
    resampler = None if from_rate == to_rate else soxr.ResampleStream(from_rate, to_rate, 1, "float32", "HQ")
    taken = given = 0

    def cut(block: Samples) -> Samples:
        return block if total is None else block[: max(0, total - given)]

    for block in blocks:
        taken += len(block)
        block = np.ascontiguousarray(block, dtype=np.float32)
        # Before its last call soxr is always behind the input, so that nothing is given too early that has to be cut.
        block = cut(block if resampler is None else resampler.resample_chunk(block))
        if len(block):
            given += len(block)
            yield block
    if total is None:
        total = resampled_length(taken, from_rate, to_rate)
    if resampler is not None:
        block = cut(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        if len(block):
            given += len(block)
            yield block
    while given < total:
        block = np.zeros(min(_SILENCE_BLOCK, total - given), np.float32)
        given += len(block)
        yield block


def blocks_of(blocks: Iterable[Samples], size: int) -> Iterator[Samples]:
    """Cut a stream of blocks of shape (N,) anew, into blocks of exactly `size` samples; the last may be shorter."""
    waiting: list[Samples] = []
    length = 0  # samples in waiting, always less than size between two blocks
    for block in blocks:
        while length + len(block) >= size:
            head, block = np.split(block, [size - length])
            yield np.concatenate([*waiting, head])
            waiting, length = [], 0
        if len(block):
            waiting.append(block)
            length += len(block)
    if waiting:
        yield np.concatenate(waiting)
