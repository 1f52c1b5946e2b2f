"""A folder of sound, packed once into one memory-mapped file, and crops from it.

A pack is a folder: `samples.i16` (mono, 22 050 Hz, 16 bit, all recordings one after another) and `index.json` (where
each recording lies, and its split and domain). Reading it needs no audio library.
"""

from __future__ import annotations

import csv
import json
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
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
    label: str = ""  # what is heard, for the classifier; packs without labels train everything else


@dataclass(frozen=True)
class _Entry:
    """A recording to pack."""

    path: str
    split: str
    domain: str = "sound"
    label: str = ""


def _listing(folder: Path) -> list[_Entry]:
    """Every recording of a folder: from its manifest.csv, or else split by name (5 % valid, 5 % test)."""
    manifest = folder / "manifest.csv"
    if manifest.exists():
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            if not row.get("path") or row.get("split") not in SPLITS:
                raise UsageError(f"{manifest} needs columns path and split (one of {', '.join(SPLITS)}), not {row}.")
        return [_Entry(row["path"], row["split"], row.get("domain") or "sound", row.get("label") or "") for row in rows]
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    spread = ["test"] * 5 + ["valid"] * 5 + ["train"] * 90
    return [_Entry(name, spread[zlib.crc32(name.encode()) % 100]) for name in files]


def pack(folder: Path, out: Path) -> tuple[list[Clip], list[str]]:
    """Write the recordings below `folder` as a pack; returns the clips and what could not be read, with the reason.

    A `manifest.csv` with columns path, split (train, valid or test) and, if there, domain and label, chooses and splits
    the recordings; without one every file is tried and split by a hash of its name. Raises UsageError if none can be
    read.
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
        for entry in listing:
            start = file.tell() // 2
            try:
                length = _append(file, folder / entry.path)
            except SpecVQError as error:
                file.truncate(2 * start)
                file.seek(2 * start)
                bad.append(f"{entry.path}: {error}")
            else:
                clips.append(Clip(entry.path, entry.split, entry.domain, start, length, entry.label))
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


class _Crops:
    """Random windows of one split's recordings, which lie one after another along the first axis of `store`.

    The windows are drawn on the CPU and gathered on the store's device, so that a seed gives the same everywhere.
    """

    def __init__(self, store: Tensor, starts: Sequence[int], lengths: Sequence[int]) -> None:
        self.store = store  # (sum of lengths, ...), on any device
        self._starts = np.array(starts, dtype=np.int64)
        self._lengths = np.array(lengths, dtype=np.int64)
        self._share = self._lengths / self._lengths.sum()

    def draw(self, count: int, size: int, rng: np.random.Generator) -> tuple[Tensor, NDArray[np.int64]]:
        """Windows (count, size, ...), long recordings more often, and which recordings they are from.

        Zeros follow a recording that is shorter than the window.
        """
        chosen = rng.choice(len(self._starts), count, p=self._share)
        lengths = self._lengths[chosen]
        begins = rng.integers(0, np.maximum(lengths - size, 0) + 1)
        within = begins[:, None] + np.arange(size)  # (count, size)
        outside = within >= lengths[:, None]
        places = np.where(outside, 0, self._starts[chosen, None] + within)
        windows = self.store[torch.from_numpy(places).to(self.store.device)]
        if outside.any():
            windows[torch.from_numpy(outside).to(self.store.device)] = 0
        return windows, chosen


class Pack:
    """The recordings of one split of a pack, on a device: `clips`, and `labels`, the sorted labels of all splits.

    On the CPU the samples stay on the disk, as a memory map; any other device gets all of the split's at once. Raises
    UsageError if `folder` is no pack, or holds nothing of the split.
    """

    def __init__(self, folder: Path, split: str, device: torch.device | None = None) -> None:
        index = folder / "index.json"
        if not index.exists():
            raise UsageError(f"{folder} is not packed sound; make it with: specvq data pack SOUND_FOLDER {folder}")
        try:
            clips = [Clip(**clip) for clip in json.loads(index.read_text())["clips"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{index} is damaged: make the pack again, with specvq data pack.") from error
        self.device = device or torch.device("cpu")
        self.clips = [clip for clip in clips if clip.split == split]
        if not self.clips:
            raise UsageError(f"{folder} holds no recording of the split {split!r}.")
        self.labels = sorted({clip.label for clip in clips} - {""})
        samples = _mapped(folder / "samples.i16", "<i2")
        lengths = [clip.length for clip in self.clips]
        starts = [clip.start for clip in self.clips]
        if self.device.type != "cpu":
            samples = torch.cat(
                [samples[start : start + length] for start, length in zip(starts, lengths, strict=True)]
            )
            starts = [0, *accumulate(lengths[:-1])]
        self._crops = _Crops(samples.to(self.device), starts, lengths)
        self._starts = dict(zip(self.clips, starts, strict=True))

    def waveform(self, clip: Clip) -> Tensor:
        """All samples of a recording, float32 (N,) in [-1, 1], on the device."""
        start = self._starts[clip]
        return _waveform(self._crops.store[start : start + clip.length])

    def __iter__(self) -> Iterator[tuple[Clip, Tensor]]:
        return ((clip, self.waveform(clip)) for clip in self.clips)

    def crops(self, count: int, length: int, rng: np.random.Generator) -> Tensor:
        """Random crops (count, length) on the device, long recordings more often; silence follows short ones."""
        return _waveform(self._crops.draw(count, length, rng)[0])

    def label_indices(self) -> Tensor:
        """The place of every clip's label in `labels`, int64 (len(clips),) on the CPU; UsageError if one has none."""
        unlabelled = [clip.path for clip in self.clips if not clip.label]
        if unlabelled:
            raise UsageError(
                f"{len(unlabelled)} recordings of this pack have no label, {unlabelled[0]} for one: give the sounds a "
                "manifest.csv with a column label, and pack them again."
            )
        places = {label: place for place, label in enumerate(self.labels)}
        return torch.tensor([places[clip.label] for clip in self.clips])


def _mapped(path: Path, dtype: str) -> Tensor:
    """A file's numbers as a tensor that must not be written to; they are read from the disk as they are needed."""
    numbers = np.memmap(path, dtype=dtype, mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch has no read-only tensors; a writable map would need memory
        return torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("="), copy=False))


def _waveform(samples: Tensor) -> Tensor:
    return samples.float() / 32768.0


class MelPack:
    """Log-mel spectrograms of a pack's recordings in memory, half precision, on the pack's device.

    `items` holds one (80, T) in [0, 1] for each of `clips`, T >= min_frames: silence follows shorter recordings.
    """

    def __init__(self, pack_: Pack, min_frames: int) -> None:
        self.clips, self.labels, self.device = pack_.clips, pack_.labels, pack_.device
        self._pack = pack_
        parts = []
        for _, waveform in pack_:
            shortest = max(min_frames * spec.HOP_LENGTH, spec.N_FFT)
            padded = torch.nn.functional.pad(waveform, (0, max(0, shortest - len(waveform))))
            parts.append(spec.log_mel(padded).half().mT)  # (T, 80)
        lengths = [len(part) for part in parts]
        self._crops = _Crops(torch.cat(parts), [0, *accumulate(lengths[:-1])], lengths)
        self.items = [item.mT for item in self._crops.store.split(lengths)]

    def crops(self, count: int, frames: int, rng: np.random.Generator) -> Tensor:
        """Random crops (count, 1, 80, frames), float32 in [-1, 1] as the networks see them, on the device."""
        return _as_seen(self._crops.draw(count, frames, rng)[0])

    def labelled_crops(self, count: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """`crops`, and the places of their labels in `labels`, int64 (count,) on the device.

        Raises UsageError if a recording has no label.
        """
        labels = self.label_indices()
        windows, chosen = self._crops.draw(count, frames, rng)
        return _as_seen(windows), labels[torch.from_numpy(chosen)].to(self.device)

    def label_indices(self) -> Tensor:
        """The place of every clip's label in `labels`, int64 (len(clips),) on the CPU; UsageError if one has none."""
        return self._pack.label_indices()


def _as_seen(windows: Tensor) -> Tensor:
    """Spectrograms (B, T, 80) in [0, 1] as the networks see them: (B, 1, 80, T) in [-1, 1]."""
    return (windows.mT[:, None].float() * 2.0 - 1.0).contiguous()
