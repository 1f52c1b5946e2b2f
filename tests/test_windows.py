from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import amplify

from specvq_codec import spectrogram as spec
from specvq_codec.models.melgan import Generator, MelGANConfig
from specvq_codec.windows import (
    COLUMN_SAMPLES,
    FADE,
    FADE_SKIP,
    LONGEST,
    MARGIN,
    PIECE,
    STEP,
    WINDOW,
    decode_windows,
    encode_windows,
    fade_pieces,
    mel_chunks,
    vocode_pieces,
    windows,
)

COLUMNS = st.integers(1, 400)
BORDERS = [1, 2, STEP, STEP + 1, WINDOW, WINDOW + 1, LONGEST, LONGEST + 1, LONGEST + STEP, LONGEST + STEP + 1, 256]


def mel_stream(columns):
    """Frames whose every value is their own number, in chunks as `mel_chunks` yields them."""
    frames = torch.arange(16.0 * columns).expand(80, -1)
    return frames.split(STEP * 16, dim=1)


def encode_numbers(seen):
    """A stand-in for the encoder: the index of a column is its number in the sound; notes the windows it sees."""

    def encode(mel):
        first, frames = int(mel[0, 0]), mel.shape[1]
        assert first % 16 == 0 and frames % 16 == 0
        seen.append((first // 16, (first + frames) // 16))
        return torch.arange(*seen[-1]).expand(5, -1)

    return encode


@given(COLUMNS)
def test_windows_have_enough_context_and_leave_nothing_out(columns):
    spans = windows(columns)
    assert spans[0][0] == 0 and spans[-1][1] == columns
    assert all(end - start == WINDOW for start, end in spans[:-1])
    assert all(later[0] - earlier[0] == STEP for earlier, later in pairwise(spans))
    last = spans[-1][1] - spans[-1][0]
    assert last <= LONGEST
    assert len(spans) == 1 or last > LONGEST - STEP > 2 * MARGIN  # and so reaches beyond the window before


@given(COLUMNS)
def test_every_column_is_encoded_once_in_the_windows_that_decoding_uses(columns):
    seen = []
    grid = torch.cat(list(encode_windows(mel_stream(columns), encode_numbers(seen))), dim=1)
    assert grid.tolist() == [list(range(columns))] * 5
    assert seen == windows(columns)


@pytest.mark.parametrize("columns", BORDERS)
def test_columns_come_from_the_middles_of_their_windows(columns):
    """Every column has MARGIN columns of context on either side, but at the ends of the sound."""
    starts = []

    def encode(mel):
        starts.append(int(mel[0, 0]) // 16)
        return torch.stack([torch.full((mel.shape[1] // 16,), starts[-1])] * 5)

    first_columns = torch.cat(list(encode_windows(mel_stream(columns), encode)), dim=1)[0].tolist()
    ends = dict(windows(columns))
    for column, start in enumerate(first_columns):
        assert start == 0 or column - start >= MARGIN
        assert ends[start] == columns or ends[start] - column > MARGIN


def mel_of(samples):
    blocks = torch.from_numpy(samples).split(STEP * COLUMN_SAMPLES)
    return list(mel_chunks(blocks))


@pytest.mark.parametrize(
    "length",
    [1, 2, 511, 4095, 4096, 4097, 37 * 4096 - 1, 37 * 4096, 37 * 4096 + 1, 38 * 4096, 74 * 4096, 80 * 4096 + 77],
)
def test_mel_chunks_are_the_spectrogram_of_the_whole(length):
    samples = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
    chunks = mel_of(samples)
    columns = -(-length // COLUMN_SAMPLES)
    padded = np.pad(samples, (0, columns * COLUMN_SAMPLES - length))
    whole = spec.log_mel(torch.from_numpy(padded))[:, : 16 * columns]
    assert [chunk.shape[1] for chunk in chunks[:-1]] == [16 * STEP] * (len(chunks) - 1)
    assert torch.equal(torch.cat(chunks, dim=1), whole)


@given(COLUMNS)
@settings(deadline=None)
def test_decoding_gives_sixteen_frames_a_column_and_weights_that_sum_to_one(columns):
    grid = torch.zeros(5, columns, dtype=torch.int64)
    frames = list(decode_windows(grid, lambda part: torch.full((80, 16 * part.shape[1]), 0.7)))
    whole = torch.cat(frames, dim=1)
    assert whole.shape == (80, 16 * columns)
    assert torch.allclose(whole, torch.tensor(0.7), atol=1e-6)


@pytest.mark.parametrize("columns", BORDERS)
def test_every_frame_is_that_of_its_column(columns):
    """Also where windows cross-fade, frames of equal time are mixed: a ramp over the whole sound stays a ramp."""
    grid = torch.arange(columns).expand(5, -1)

    def decode(part):
        return (16 * part[0, 0] + torch.arange(16.0 * part.shape[1])).expand(80, -1)

    whole = torch.cat(list(decode_windows(grid, decode)), dim=1)
    assert torch.allclose(whole[0], torch.arange(16.0 * columns), rtol=1e-6)


def test_windows_that_differ_are_faded_without_a_jump():
    """Window n decodes to the constant n: two of them meet in one straight ramp in the middle of their overlap."""
    columns = 3 * STEP + LONGEST
    starts = [start for start, _ in windows(columns)]
    grid = torch.arange(columns).expand(5, -1)
    whole = torch.cat(
        list(decode_windows(grid, lambda part: torch.full((80, 16 * part.shape[1]), starts.index(int(part[0, 0]))))), 1
    )[0]
    steps = whole.diff()
    assert steps.min() >= 0 and steps.max().item() == pytest.approx(1 / FADE, rel=1e-3)
    for start in starts[1:]:
        begin = 16 * start + FADE_SKIP
        assert whole[begin - 1] == starts.index(start) - 1
        assert whole[begin + FADE] == starts.index(start)
        assert whole[begin + FADE // 2 - 1 : begin + FADE // 2 + 1].mean() == starts.index(start) - 0.5


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    vocoder = Generator(MelGANConfig(channels=(16, 8, 4, 4, 4))).eval()
    amplify(vocoder)
    return vocoder


@pytest.mark.parametrize("frames", [16, PIECE, PIECE + 1, 3 * PIECE + 7, 5 * PIECE])
@pytest.mark.parametrize("chunk", [16, 37 * 16, 10_000])
def test_vocoding_in_pieces_is_vocoding_at_once(generator, frames, chunk):
    mel = torch.rand(80, frames, generator=torch.Generator().manual_seed(frames))
    with torch.inference_mode():
        context = generator.config.context_frames
        pieces = list(vocode_pieces(mel.split(chunk, dim=1), lambda part: generator(part[None])[0], context))
        whole = generator(mel[None])[0]
    assert len(torch.cat(pieces)) == 256 * frames
    assert torch.allclose(torch.cat(pieces), whole, atol=1e-6)


def test_less_context_than_the_receptive_field_would_be_heard(generator):
    """The test before can fail: a third of the context is too little."""
    mel = torch.rand(80, 3 * PIECE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        context = generator.config.context_frames // 3
        pieces = list(vocode_pieces([mel], lambda part: generator(part[None])[0], context))
        assert not torch.allclose(torch.cat(pieces), generator(mel[None])[0], atol=1e-5)


@given(st.integers(1, 4000), st.integers(16, 1000))
@settings(deadline=None, max_examples=50)
def test_faded_pieces_have_256_samples_a_frame_and_weights_that_sum_to_one(frames, chunk):
    begun = []

    def vocode(mel, before):
        begun.append(None if before is None else before.shape)
        return torch.full((256 * mel.shape[1],), 0.3)

    pieces = list(fade_pieces(torch.zeros(80, frames).split(chunk, dim=1), vocode))
    assert len(torch.cat(pieces)) == 256 * frames
    assert torch.allclose(torch.cat(pieces), torch.tensor(0.3), atol=1e-6)
    assert begun == [None] + [(1, 32 * 256)] * (len(begun) - 1)


def test_pieces_are_faded_without_a_jump():
    """The vocoder's piece n is the constant n."""
    count = iter(range(100))
    pieces = fade_pieces([torch.zeros(80, 3000)], lambda mel, _: torch.full((256 * mel.shape[1],), float(next(count))))
    steps = torch.cat(list(pieces)).diff()
    assert steps.min() >= 0 and steps.max() < 1e-3
