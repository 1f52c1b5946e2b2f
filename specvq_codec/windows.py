"""Sound of any length through networks that were trained on ten seconds.

The autoencoder normalises over, and attends to, a whole window, so windows overlap: they begin every 37 columns, hold
53, and each gives away the columns of its middle. A last window takes what is left, up to 61 columns. The windows
follow from the length of the sound alone, so no result depends on how it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from . import spectrogram as spec
from .models.autoencoder import COLUMN_FRAMES

WINDOW = 53  # columns the networks were trained on
STEP = 37  # columns from one window to the next
LONGEST = WINDOW + 8  # columns that the last window may have
MARGIN = (WINDOW - STEP) // 2  # columns of context on either side
COLUMN_SAMPLES = COLUMN_FRAMES * spec.HOP_LENGTH

FADE_SKIP, FADE = 4 * COLUMN_FRAMES, 8 * COLUMN_FRAMES  # frames of an overlap: left alone, faded, left alone
PIECE_FADE = 2 * COLUMN_FRAMES  # frames that pieces without a receptive field share
PIECE = STEP * COLUMN_FRAMES  # frames vocoded at a time: many beside the context, which is vocoded twice


def windows(columns: int) -> list[tuple[int, int]]:
    """First column, and column after the last, of every window over `columns` columns."""
    starts = [0]
    while columns - starts[-1] > LONGEST:
        starts.append(starts[-1] + STEP)
    return [(start, start + WINDOW) for start in starts[:-1]] + [(starts[-1], columns)]


def mel_chunks(samples: Iterable[Tensor]) -> Iterator[Tensor]:
    """Log-mel frames of a stream of sound at 22 050 Hz, in chunks of whole columns.

    Args:
        samples: blocks of exactly STEP * COLUMN_SAMPLES samples, float32 (N,), the last one any length from 1.

    Yields:
        (80, frames) in [0, 1]; together the first 16 * columns frames of `spectrogram.log_mel` of the sound, which is
        followed by silence up to a whole number of columns.
    """
    half = spec.N_FFT // 2
    before: Tensor | None = None  # the last samples given out, and those that wait for what follows them
    for block in samples:
        missing = -len(block) % COLUMN_SAMPLES
        block = torch.nn.functional.pad(block, (0, missing))
        if before is None:
            before = block[1 : half + 1].flip(0)  # reflection
            waiting = block
            continue
        yield spec.log_mel_frames(torch.cat([before, waiting, block[: half - spec.HOP_LENGTH]]))
        before, waiting = waiting[-half:], block
    if before is not None:
        reflection = waiting[-(half - spec.HOP_LENGTH) - 1 : -1].flip(0)
        yield spec.log_mel_frames(torch.cat([before, waiting, reflection]))


def encode_windows(chunks: Iterable[Tensor], encode: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
    """Indices of a stream of log-mel frames.

    Args:
        chunks: as `mel_chunks` yields them.
        encode: one window (80, frames) in [0, 1] -> indices (5, columns), or anything else (5, columns, ...).

    Yields:
        What `encode` finds, each column once, in order.
    """
    held = torch.empty(spec.N_MELS, 0)
    first = True
    for chunk in chunks:
        held = torch.cat([held.to(chunk), chunk], dim=1)
        if held.shape[1] > LONGEST * COLUMN_FRAMES:
            grid = encode(held[:, : WINDOW * COLUMN_FRAMES])
            yield grid[:, (0 if first else MARGIN) : WINDOW - MARGIN]
            held = held[:, STEP * COLUMN_FRAMES :]
            first = False
    yield encode(held)[:, (0 if first else MARGIN) :]


def decode_windows(grid: Tensor, decode: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
    """Log-mel frames of a grid of indices: windows are decoded one by one and cross-faded where they overlap.

    Args:
        grid: indices (5, columns).
        decode: indices of one window (5, columns) -> frames (80, 16 columns).

    Yields:
        (80, frames), together 16 * columns frames.
    """
    tail: Tensor | None = None  # the overlap's part of the previous window
    rise = (torch.arange(FADE, device=grid.device) + 0.5) / FADE
    spans = windows(grid.shape[1])
    for number, (start, end) in enumerate(spans):
        frames = decode(grid[:, start:end])
        if tail is not None:
            faded = tail[:, :FADE] * (1 - rise) + frames[:, FADE_SKIP : FADE_SKIP + FADE] * rise
            frames = torch.cat([faded, frames[:, FADE_SKIP + FADE :]], dim=1)
        if number + 1 < len(spans):
            overlap = (WINDOW - STEP) * COLUMN_FRAMES - FADE_SKIP  # frames from where the next fade begins
            frames, tail = frames[:, :-overlap], frames[:, -overlap:]
        yield frames


def fade_pieces(frames: Iterable[Tensor], vocode: Callable[[Tensor, Tensor | None], Tensor]) -> Iterator[Tensor]:
    """Waveform of a stream of log-mel frames by a vocoder without a receptive field, such as Griffin-Lim.

    Args:
        frames: (80, T) in [0, 1].
        vocode: frames (80, T), and the samples (1, N) that the waveform should begin like, or None -> samples (256 T,).

    Yields:
        Samples (N,), together 256 for every frame; pieces of a window are cross-faded where they overlap.
    """
    held: Tensor | None = None
    tail: Tensor | None = None  # samples of the previous piece that the next one begins like, and fades in over
    size, fade = WINDOW * COLUMN_FRAMES, PIECE_FADE * spec.HOP_LENGTH
    for new in frames:
        held = new if held is None else torch.cat([held, new], dim=1)
        while held.shape[1] > size + PIECE_FADE:
            samples = _faded_in(vocode(held[:, :size], None if tail is None else tail[None]), tail)
            held = held[:, size - PIECE_FADE :]
            yield samples[:-fade]
            tail = samples[-fade:]
    if held is not None:
        yield _faded_in(vocode(held, None if tail is None else tail[None]), tail)


def _faded_in(samples: Tensor, tail: Tensor | None) -> Tensor:
    if tail is None:
        return samples
    rise = (torch.arange(len(tail), device=tail.device) + 0.5) / len(tail)
    return torch.cat([tail * (1 - rise) + samples[: len(tail)] * rise, samples[len(tail) :]])


def vocode_pieces(frames: Iterable[Tensor], vocode: Callable[[Tensor], Tensor], context: int) -> Iterator[Tensor]:
    """Waveform of a stream of log-mel frames, vocoded in pieces that see all the context that can matter to them.

    Args:
        frames: (80, T) in [0, 1].
        vocode: frames (80, T) -> samples (256 T,).
        context: frames on either side that a sample can depend on.

    Yields:
        Samples (N,), together 256 for every frame, equal to those of one call over everything.
    """
    held: Tensor | None = None
    left = 0  # frames of context at the beginning of what is held
    for new in frames:
        held = new if held is None else torch.cat([held, new], dim=1)
        while held.shape[1] >= left + PIECE + 2 * context:  # what remains is longer than the context
            samples = vocode(held[:, : left + PIECE + context])
            yield samples[left * spec.HOP_LENGTH : (left + PIECE) * spec.HOP_LENGTH]
            held = held[:, left + PIECE - context :]
            left = context
    if held is not None:
        yield vocode(held)[left * spec.HOP_LENGTH :]
