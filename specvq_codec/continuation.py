"""Sounds that a sampler makes: codes that go on, codes from nothing, and codes in the place of lost ones."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from .bitstream import CODEC_RATE, COLUMN_SAMPLES, ROWS, Coding, Header, UsageError
from .codes import Codes
from .conditions import condition_for
from .sampling import Progress, Sampling, generate

if TYPE_CHECKING:
    from .codec import Codec
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
    if not (math.isfinite(seconds * codes.sample_rate) and round(seconds * codes.sample_rate) > 0):
        raise UsageError(f"A sound can be continued by more than 0 s, not by {seconds} s.")
    mark = codes.fingerprint[:4]
    whole = Header(Coding.FIXED, mark, codes.sample_rate, codes.num_samples).codec_samples // COLUMN_SAMPLES
    if whole == 0:
        raise UsageError(
            f"The sound to continue lasts {codes.duration:.3f} s, and at least one column of indices is needed, "
            f"{COLUMN_SAMPLES / CODEC_RATE:.3f} s: give a longer one."
        )
    longer = dataclasses.replace(codes, num_samples=codes.num_samples + round(seconds * codes.sample_rate))
    return _made(codec, longer, codes.indices[:whole], count, sampling, condition, progress)


def inventions(
    codec: Codec,
    seconds: float,
    count: int,
    sampling: Sampling,
    condition: Condition | None = None,
    progress: Progress | None = None,
) -> list[Codes]:
    """Several new sounds, made in one batch with the codec's sampler.

    Args:
        codec: with a sampler.
        seconds: how long they are to be.
        count: how many; the first is what a single one would be.
        sampling: how to draw indices.
        condition: what the sounds are for, on the codec's device.
        progress: told after every column how many there are, and how many there will be.

    Raises:
        WeightsError: the bundle has no sampler.
        UsageError: nothing is asked for, or too much.
    """
    if count < 1:
        raise UsageError(f"The number of sounds must be at least 1, not {count}.")
    if not (math.isfinite(seconds * CODEC_RATE) and round(seconds * CODEC_RATE) > 0):
        raise UsageError(f"A sound must be longer than 0 s and finite, and {seconds} s is not.")
    nothing = np.empty((0, ROWS), np.int16)
    empty = Codes(nothing, CODEC_RATE, round(seconds * CODEC_RATE), codec.bundle.fingerprint, codec.model)
    return _made(codec, empty, nothing, count, sampling, condition, progress)


def concealed(codec: Codec, codes: Codes, seed: int = 0) -> Codes:
    """Codes whose lost columns are what the codec's sampler makes of those before them.

    Where a sound begins again after a loss, nothing leads to it: the sampler knows only what came before.

    Args:
        codec: with a sampler that needs neither class nor features.
        codes: with lost columns, or without.
        seed: of the random numbers.

    Returns:
        The same codes, with nothing lost.

    Raises:
        WeightsError: the bundle has no sampler, or the codes belong to other weights.
        UsageError: the sampler does not work without a condition.
    """
    codec.check(codes)
    indices = codes.indices.copy()
    if codes.lost:
        condition = condition_for(codec.sampler.config, codec.bundle.labels, None, None, codec.device)
    for first, end in codes.lost:
        before = max(0, first - codec.sampler.config.columns)
        prime = torch.from_numpy(indices[before:first].astype("int64")).flatten().to(codec.device)[None]
        made = generate(codec.sampler, prime, ROWS * (end - before), Sampling(seed=seed), condition)[0]
        indices[first:end] = made.unflatten(0, (-1, ROWS))[first - before :].cpu().numpy()
    return dataclasses.replace(codes, indices=indices, lost=())


def _made(
    codec: Codec,
    like: Codes,
    prime: npt.NDArray[np.int16],
    count: int,
    sampling: Sampling,
    condition: Condition | None,
    progress: Progress | None,
) -> list[Codes]:
    """Codes of the length of `like`, which begin with the columns `prime` (T, 5)."""
    columns = Header(Coding.FIXED, like.fingerprint[:4], like.sample_rate, like.num_samples).columns
    first = torch.from_numpy(prime.astype("int64")).flatten().to(codec.device)
    sequences = generate(codec.sampler, first.expand(count, -1), ROWS * columns, sampling, condition, progress)
    grids = sequences.unflatten(1, (columns, ROWS)).to("cpu", torch.int16).numpy()
    return [dataclasses.replace(like, indices=grid.copy()) for grid in grids]
