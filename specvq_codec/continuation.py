"""Sounds that go on: codes, and what a sampler puts after them."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch

from .bitstream import CODEC_RATE, COLUMN_SAMPLES, ROWS, Coding, Header, UsageError
from .sampling import Progress, Sampling, generate

if TYPE_CHECKING:
    from .codec import Codec
    from .codes import Codes
    from .models.transformer import Condition


def continuations(
    codec: Codec,
    codes: Codes,
    seconds: float,
    count: int,
    sampling: Sampling,
    condition: Condition | None = None,
    progress: Progress | None = None,
) -> list[Codes]:
    """Several continuations of one sound, made in one batch with the codec's sampler.

    A last column that the sound fills only in part tells of silence that is not meant, and is made anew; all others are
    returned untouched.

    Args:
        codec: with a sampler.
        codes: the beginning, at least one whole column.
        seconds: how much longer the results are to be.
        count: how many; the first is what a single one would be.
        sampling: how to draw indices.
        condition: what the sounds are for, on the codec's device.
        progress: told after every column how many there are, and how many there will be.

    Raises:
        WeightsError: the bundle has no sampler, or the codes belong to other weights.
        UsageError: there is nothing to begin with, or nothing to add, or the result would be too long.
    """
    codec.check(codes)
    if codes.lost:
        raise UsageError("Codes with lost columns cannot be continued: take what lies before them (beginning).")
    if count < 1:
        raise UsageError(f"The number of continuations must be at least 1, not {count}.")
    if not (math.isfinite(seconds) and round(seconds * codes.sample_rate) > 0):
        raise UsageError(f"A sound can be continued by more than 0 s, not by {seconds} s.")
    mark = codes.fingerprint[:4]
    whole = Header(Coding.FIXED, mark, codes.sample_rate, codes.num_samples).codec_samples // COLUMN_SAMPLES
    if whole == 0:
        raise UsageError(
            f"The sound to continue lasts {codes.duration:.3f} s, and at least one column of indices is needed, "
            f"{COLUMN_SAMPLES / CODEC_RATE:.3f} s: give a longer one."
        )
    num_samples = codes.num_samples + round(seconds * codes.sample_rate)
    columns = Header(Coding.FIXED, mark, codes.sample_rate, num_samples).columns
    prime = torch.from_numpy(codes.indices[:whole].astype("int64")).flatten().to(codec.device)
    sequences = generate(codec.sampler, prime.expand(count, -1), ROWS * columns, sampling, condition, progress)
    grids = sequences.unflatten(1, (columns, ROWS)).to("cpu", torch.int16).numpy()
    return [dataclasses.replace(codes, indices=grid.copy(), num_samples=num_samples) for grid in grids]
