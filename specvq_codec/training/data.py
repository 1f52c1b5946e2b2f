"""A folder of sound, packed once into one memory-mapped file, and crops from it.

A pack is a folder: `samples.i16` (mono, 22 050 Hz, 16 bit, all recordings one after another) and `index.json` (where
each recording lies, and its split and domain). Reading it needs no audio library.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from .. import spectrogram as spec
from ..bitstream.errors import SpecVQError, UsageError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Clip:
    """One recording of a pack; start and length in samples."""

    path: str
    split: str
    domain: str
    start: int
    length: int


def _listing(folder: Path) -> list[tuple[str, str, str]]:
    """(path, split, domain) of every recording: from manifest.csv, or else by name (5 % valid, 5 % test)."""
    manifest = folder / "manifest.csv"
    if manifest.exists():
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            if not row.get("path") or row.get("split") not in SPLITS:
                raise UsageError(f"{manifest} needs columns path and split (one of {', '.join(SPLITS)}), not {row}.")
        return [(row["path"], row["split"], row.get("domain") or "sound") for row in rows]
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    spread = ["test"] * 5 + ["valid"] * 5 + ["train"] * 90
    return [(name, spread[zlib.crc32(name.encode()) % 100], "sound") for name in files]


def pack(folder: Path, out: Path) -> tuple[list[Clip], list[str]]:
    """Write the recordings below `folder` as a pack; returns the clips and what could not be read, with the reason.

    A `manifest.csv` with columns path, split (train, valid or test) and, if there, domain, chooses and splits the
    recordings; without one every file is tried and split by a hash of its name. Raises UsageError if none can be read.
    """
    from ..files import output_file  # training on a machine without audio libraries starts from a pack

    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}: give one with sound files.")
    listing = _listing(folder)
    out.mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    bad: list[str] = []
    with (
        output_file(out / "index.json", force=True) as index,
        output_file(out / "samples.i16", force=True) as samples,
        samples.open("wb") as file,
    ):
        for name, split, domain in listing:
            start = file.tell() // 2
            try:
                length = _append(file, folder / name)
            except SpecVQError as error:
                file.truncate(2 * start)
                file.seek(2 * start)
                bad.append(f"{name}: {error}")
            else:
                clips.append(Clip(name, split, domain, start, length))
        if not clips:
            raise UsageError(f"No recording below {folder} could be read; give a folder with sound files.")
        index.write_text(json.dumps({"sample_rate": spec.SAMPLE_RATE, "clips": [asdict(clip) for clip in clips]}))
    return clips, bad


def _append(file: IO[bytes], path: Path) -> int:
    """Append a recording to a pack's samples; returns its length."""
    from ..audio import open_sound, resampled

    length = 0
    with open_sound(path) as sound:
        for block in resampled(sound, sound.sample_rate, spec.SAMPLE_RATE):
            file.write((block.clip(-1.0, 1.0) * 32767.0).round().astype("<i2").tobytes())
            length += len(block)
    return length


class Pack:
    """Random access to the recordings of one split."""

    def __init__(self, folder: Path, split: str) -> None:
        index = folder / "index.json"
        if not index.exists():
            raise UsageError(f"{folder} is not packed sound; make it with: specvq data pack SOUND_FOLDER {folder}")
        try:
            clips = [Clip(**clip) for clip in json.loads(index.read_text())["clips"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{index} is damaged: make the pack again, with specvq data pack.") from error
        self.clips = [clip for clip in clips if clip.split == split]
        if not self.clips:
            raise UsageError(f"{folder} holds no recording of the split {split!r}.")
        self._samples = np.memmap(folder / "samples.i16", dtype="<i2", mode="r")
        lengths = np.array([clip.length for clip in self.clips], dtype=np.float64)
        self._share = lengths / lengths.sum()

    def waveform(self, clip: Clip) -> Tensor:
        """All samples of a recording, float32 (N,) in [-1, 1]."""
        return self._slice(clip, 0, clip.length)

    def __iter__(self) -> Iterator[tuple[Clip, Tensor]]:
        return ((clip, self.waveform(clip)) for clip in self.clips)

    def crops(self, count: int, length: int, rng: np.random.Generator) -> Tensor:
        """Random crops (count, length), long recordings more often; short ones are followed by silence."""
        out = torch.zeros(count, length)
        for row, choice in zip(out, rng.choice(len(self.clips), count, p=self._share), strict=True):
            clip = self.clips[choice]
            start = int(rng.integers(0, max(clip.length - length, 0) + 1))
            piece = self._slice(clip, start, min(length, clip.length))
            row[: len(piece)] = piece
        return out

    def _slice(self, clip: Clip, start: int, length: int) -> Tensor:
        begin = clip.start + start
        return torch.from_numpy(self._samples[begin : begin + length].astype(np.float32) / 32768.0)


class MelPack:
    """Log-mel spectrograms of one split in memory (half precision), cropped at random."""

    def __init__(self, pack_: Pack, min_frames: int) -> None:
        self.items: list[Tensor] = []  # (80, T) each, T >= min_frames
        for _, waveform in pack_:
            shortest = max(min_frames * spec.HOP_LENGTH, spec.N_FFT)
            padded = torch.nn.functional.pad(waveform, (0, max(0, shortest - len(waveform))))
            self.items.append(spec.log_mel(padded).half())
        frames = np.array([item.shape[1] for item in self.items], dtype=np.float64)
        self._share = frames / frames.sum()

    def crops(self, count: int, frames: int, rng: np.random.Generator) -> Tensor:
        """Random crops (count, 1, 80, frames), float32 in [-1, 1] as the networks see them."""
        out = []
        for choice in rng.choice(len(self.items), count, p=self._share):
            item = self.items[choice]
            start = int(rng.integers(0, item.shape[1] - frames + 1))
            out.append(item[None, :, start : start + frames])
        return torch.stack(out).float() * 2.0 - 1.0
