"""Packed recordings as codebook indices, encoded once, for training samplers.

They lie beside a pack's index in tokens-FINGERPRINT.npz, the fingerprint being that of the weights they belong to:

    indices         (columns, 5), int16: all whole columns, recording after recording, each with its shifts in turn
    columns         (recordings, shifts), int32: how many there are of each
    recordings      (recordings, 2), int64: where each lies in the pack, by which tokens of another pack are told
    fingerprint     32 bytes
    codebook_size   how many values an index can have
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bitstream.errors import UsageError
from ..files import write_file
from ..models.autoencoder import COLUMN_FRAMES
from ..models.transformer import ROWS
from ..weights import Bundle
from ..windows import COLUMN_SAMPLES, STEP, encode_windows, mel_chunks
from .data import Clip, Pack, Windows
from .vocoder import load_codec

Track = Callable[[Sequence[Clip]], Iterable[Clip]]


class Tokenized(NamedTuple):
    """What was written."""

    path: Path
    recordings: int
    indices: int


class TokenWindows(NamedTuple):
    """Windows of indices.

    Attributes:
        indices: (B, 5 * columns), int64, time-major; zeros follow a recording that is shorter than the window.
        lengths: (B,), int64: how many of them are of the recording.
        recordings: (B,), which ones they are from, by their places among a split's.
    """

    indices: Tensor
    lengths: Tensor
    recordings: NDArray[np.int64]

    def chosen(self, rows: slice | Tensor) -> TokenWindows:
        """Some of them."""
        places = torch.arange(len(self.lengths))[rows]
        return TokenWindows(self.indices[places], self.lengths[places], self.recordings[places.numpy()])


def tokens_path(folder: Path, fingerprint: bytes) -> Path:
    """The file of tokens in a pack, for weights with this fingerprint."""
    return folder / f"tokens-{fingerprint.hex()[:8]}.npz"


@torch.inference_mode()
def tokenize(folder: Path, bundle: Bundle, device: torch.device, shifts: int = 1, track: Track = iter) -> Tokenized:
    """Encode all recordings of a pack, as `Codec.encode` does, and write their tokens into it.

    A last column that a recording fills only in part is left out, since it tells of silence that is not there; a
    recording shorter than a column keeps it.

    Args:
        folder: of the pack, of sound or of spectrograms.
        bundle: whose codebook it is.
        device: to compute on.
        shifts: how often each recording is encoded, its beginning cut by as many equal parts of a column: where the
            borders of columns lie changes the indices and not the sound, so that a sampler overfits less.
        track: iterates over recordings, and may show how far it is.

    Raises:
        UsageError: it is no pack, or cannot be written to.
        WeightsError: the bundle is damaged.
    """
    if not 1 <= shifts <= COLUMN_FRAMES:
        raise UsageError(f"Recordings can be encoded with 1 to {COLUMN_FRAMES} shifts, not {shifts}.")
    codec = load_codec(bundle.path).to(device)
    pack = Pack(folder, None)

    def window(mel: Tensor) -> Tensor:
        return codec.encode(mel[None, None] * 2.0 - 1.0)[0]

    grids: list[NDArray[np.int16]] = []
    for clip in track(pack.clips):
        for shift in range(shifts):
            grid = torch.cat(list(encode_windows(_frames(pack, clip, shift / shifts, device), window)), dim=1)
            whole = (clip.length - _cut(clip, pack, shift / shifts)) // _column(pack)
            grids.append(grid.mT[: max(1, whole)].to("cpu", torch.int16).numpy())
    file = io.BytesIO()
    np.savez(
        file,
        indices=np.concatenate(grids),
        columns=np.array([len(grid) for grid in grids], dtype=np.int32).reshape(-1, shifts),
        recordings=_recordings(pack.clips),
        fingerprint=np.frombuffer(bundle.fingerprint, dtype=np.uint8),
        codebook_size=np.int64(codec.config.codebook_size),
    )
    path = tokens_path(folder, bundle.fingerprint)
    write_file(path, file.getvalue(), force=True)
    return Tokenized(path, len(pack.clips), ROWS * sum(map(len, grids)))


def _column(pack: Pack) -> int:
    """The length of a column, in the pack's units."""
    return COLUMN_SAMPLES if pack.kind == "sound" else COLUMN_FRAMES


def _cut(clip: Clip, pack: Pack, share: float) -> int:
    """What is cut from a recording's beginning for a shift by a share of a column; something of it always stays."""
    return min(round(share * _column(pack)), clip.length - 1)


def _frames(pack: Pack, clip: Clip, share: float, device: torch.device) -> Iterator[Tensor]:
    """Log-mel frames of a recording, shifted, in the chunks that `encode_windows` takes."""
    cut = _cut(clip, pack, share)
    if pack.kind == "sound":
        return mel_chunks(pack.waveform(clip)[cut:].to(device).split(STEP * COLUMN_SAMPLES))
    mel = pack.mel(clip)[:, cut:].float().to(device)
    mel = torch.nn.functional.pad(mel, (0, -mel.shape[1] % COLUMN_FRAMES))
    return iter(mel.split(STEP * COLUMN_FRAMES, dim=1))


def _recordings(clips: Sequence[Clip]) -> NDArray[np.int64]:
    return np.array([(clip.start, clip.length) for clip in clips], dtype=np.int64)


class TokenPack:
    """The tokens of one split of a pack.

    Attributes:
        pack: the recordings themselves, their labels and features.
        codebook_size: how many values an index can have.
        items: of each recording, unshifted, its indices (5 T,), int16, time-major.
    """

    def __init__(self, folder: Path, split: str, bundle: Bundle, columns: int, beginnings: bool = False) -> None:
        """Read tokens.

        Args:
            folder: of the pack.
            split: "train", "valid" or "test".
            bundle: whose tokens.
            columns: of the windows that will be drawn.
            beginnings: draw only windows at the beginning of unshifted recordings, which features belong to.

        Raises:
            UsageError: there is no such pack, split, or tokens of these weights and of these recordings.
        """
        self.pack, self._columns = Pack(folder, split), columns
        path = tokens_path(folder, bundle.fingerprint)
        again = f"specvq data tokenize {folder} --weights {bundle.path}"
        try:
            with np.load(path, allow_pickle=False) as file:
                stored = {name: file[name] for name in file.files}
            lengths = stored["columns"].astype(np.int64)
            starts = (np.cumsum(lengths) - lengths.reshape(-1)).reshape(lengths.shape)
            everything = Pack(folder, None).clips
            if not np.array_equal(stored["recordings"], _recordings(everything)):
                raise UsageError(f"{path} has the tokens of other recordings; make them again: {again}")
            if stored["fingerprint"].tobytes() != bundle.fingerprint:
                raise UsageError(f"{path} has the tokens of other weights; make them again: {again}")
            self.codebook_size = int(stored["codebook_size"])
            indices = stored["indices"]
            if indices.shape != (lengths.sum(), ROWS) or not 0 <= indices.min() <= indices.max() < self.codebook_size:
                raise ValueError("its parts do not fit")
        except FileNotFoundError as error:
            raise UsageError(f"This pack has no tokens of the weights {bundle.name}; make them: {again}") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise UsageError(f"{path} is damaged ({error}); make it again: {again}") from error
        places = [number for number, clip in enumerate(everything) if clip.split == split]
        lengths, starts = lengths[places], starts[places]
        store = torch.from_numpy(indices)
        self.items = [
            store[start : start + length].flatten() for start, length in zip(starts[:, 0], lengths[:, 0], strict=True)
        ]
        self._shifts = 1 if beginnings else lengths.shape[1]
        self._lengths = lengths[:, : self._shifts].reshape(-1)
        if beginnings:
            self._lengths = self._lengths.clip(max=columns)
        weights = self._lengths.clip(min=columns).tolist()  # so that every index is learnt from about as often
        begins = starts[:, : self._shifts].flatten().tolist()
        self._windows = Windows(store, begins, self._lengths.tolist(), weights)

    def draw(self, count: int, rng: np.random.Generator) -> TokenWindows:
        """Random windows, from anywhere in long recordings, from the beginning of those that are shorter."""
        windows, chosen = self._windows.draw(count, self._columns, rng)
        lengths = torch.from_numpy(ROWS * self._lengths[chosen].clip(max=self._columns))
        return TokenWindows(windows.flatten(1).long(), lengths, chosen // self._shifts)

    def first_windows(self) -> TokenWindows:
        """The first window of every recording."""
        size = ROWS * self._columns
        items = [item[:size].long() for item in self.items]
        indices = torch.stack([torch.nn.functional.pad(item, (0, size - len(item))) for item in items])
        return TokenWindows(indices, torch.tensor([len(item) for item in items]), np.arange(len(items)))
