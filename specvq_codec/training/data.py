"""Recordings that were packed once (see packing.py) into one memory-mapped file, and random crops of them.

There are packs of sound and packs of spectrograms. Reading them needs no audio library. The file is one, however large:
mapped, it takes only the memory of what is read.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .. import spectrogram as spec
from ..bitstream.errors import UsageError
from .layouts import SPLITS

FEATURE_FRAMES = 215  # rows of features of a recording, as the reference cuts or pads them: 10 s at 21.5 a second


@dataclass(frozen=True)
class Clip:
    """One recording of a pack; start and length in samples, or in frames where the pack holds spectrograms."""

    path: str
    split: str
    domain: str
    start: int
    length: int
    label: str = ""  # what is heard, for the classifier; packs without labels train everything else


def _checked(clip: Clip) -> Clip:
    """The clip; ValueError if an index that has it is damaged."""
    texts, numbers = (clip.path, clip.split, clip.domain, clip.label), (clip.start, clip.length)
    if {type(text) for text in texts} != {str} or {type(number) for number in numbers} != {int}:
        raise ValueError(f"{clip} is not of texts and whole numbers")
    if clip.split not in SPLITS or clip.start < 0 or clip.length < 1:
        raise ValueError(f"{clip} is of no split, or nowhere")
    return clip


class Store(NamedTuple):
    """The file of a kind of pack: its name, its numbers' type, and how many of them make one unit of length."""

    file: str
    dtype: str
    width: tuple[int, ...]


STORES = {"sound": Store("samples.i16", "<i2", ()), "mels": Store("mels.f16", "<f2", (spec.N_MELS,))}


class Windows:
    """Random windows of one split's recordings, which lie one after another along the first axis of `store`.

    The windows are drawn on the CPU and gathered on the store's device, so that a seed gives the same everywhere.
    """

    def __init__(
        self, store: Tensor, starts: Sequence[int], lengths: Sequence[int], weights: Sequence[int] | None = None
    ) -> None:
        """`weights`: how often each recording is drawn, in proportion; by its length if not given."""
        self.store = store  # (sum of lengths, ...), on any device
        self._starts = np.array(starts, dtype=np.int64)
        self._lengths = np.array(lengths, dtype=np.int64)
        chances = np.array(lengths if weights is None else weights, dtype=np.float64)
        self._share = chances / chances.sum()

    def draw(self, count: int, size: int, rng: np.random.Generator) -> tuple[Tensor, NDArray[np.int64]]:
        """Windows (count, size, ...), by default long recordings more often, and which recordings they are from.

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
    """The recordings of one split of a pack, or of all (None), on a device.

    On the CPU the recordings stay on the disk, as a memory map; any other device gets all of the split's at once.

    Attributes:
        kind: "sound", or "mels" for a pack of spectrograms, which has no waveforms.
        clips: the recordings of the split.
        labels: the labels of all splits, sorted.
        feature_kind: "pixels" or "resnet50" (see features.py), or None if there are no features, or others.
    """

    def __init__(self, folder: Path, split: str | None, device: torch.device | None = None) -> None:
        """Raises UsageError if `folder` is no pack, is damaged, or holds nothing of the split."""
        index = folder / "index.json"
        if not index.exists():
            raise UsageError(f"{folder} is not packed sound; make it with: specvq data pack SOUND_FOLDER {folder}")
        try:
            about = json.loads(index.read_text(encoding="utf-8"))
            clips = [_checked(Clip(**clip)) for clip in about["clips"]]
            self.kind: str = about.get("kind", "sound")
            store = _mapped(folder / STORES[self.kind].file, STORES[self.kind])
            if max(clip.start + clip.length for clip in clips) > len(store):
                raise ValueError("recordings end beyond the file")
            self.feature_kind: str | None = about.get("feature_kind")
            self._features = None
            if "feature_width" in about:
                width = (FEATURE_FRAMES, int(about["feature_width"]))
                self._features = _mapped(folder / "features.f16", Store("features.f16", "<f2", width))
                if len(self._features) < len(clips):
                    raise ValueError("features of the last recordings are missing")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"{index} is damaged: make the pack again, with specvq data pack -f.") from error
        self.device = device or torch.device("cpu")
        self.labels = sorted({clip.label for clip in clips} - {""})
        self.clips = [clip for clip in clips if split is None or clip.split == split]
        if not self.clips:
            raise UsageError(
                f"{folder} holds no recording of the split {split!r}: pack more, or with splits in a manifest.csv."
            )
        self._places = {clip: place for place, clip in enumerate(clips)}
        lengths, starts = [clip.length for clip in self.clips], [clip.start for clip in self.clips]
        if self.device.type != "cpu":
            store = torch.cat([store[start : start + length] for start, length in zip(starts, lengths, strict=True)])
            starts = [0, *accumulate(lengths[:-1])]
        self.windows = Windows(store.to(self.device), starts, lengths)
        self._starts = dict(zip(self.clips, starts, strict=True))

    def digest(self, labelled: bool = False) -> str:
        """What tells this pack from those of other recordings: of all splits' paths, and where they lie.

        `labelled`: also from those with other labels.
        """
        parts = [[clip.path, clip.split, clip.start, clip.length, clip.label * labelled] for clip in self._places]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def num_samples(self, clip: Clip) -> int:
        """How long a recording is at 22 050 Hz; of spectrograms, by their hops."""
        return clip.length if self.kind == "sound" else clip.length * spec.HOP_LENGTH

    def waveform(self, clip: Clip) -> Tensor:
        """All samples of a recording, float32 (N,) in [-1, 1], on the device. UsageError for a pack of spectrograms."""
        return _waveform(self._sound().store[self._of(clip)])

    def __iter__(self) -> Iterator[tuple[Clip, Tensor]]:
        return ((clip, self.waveform(clip)) for clip in self.clips)

    def crops(self, count: int, length: int, rng: np.random.Generator) -> Tensor:
        """Random crops (count, length) on the device, long recordings more often; silence follows short ones.

        Raises UsageError for a pack of spectrograms.
        """
        return _waveform(self._sound().draw(count, length, rng)[0])

    def mel(self, clip: Clip, min_frames: int = 0) -> Tensor:
        """The log-mel spectrogram of a recording, half precision (80, T) in [0, 1], on the device.

        T is at least `min_frames`: silence follows shorter recordings.
        """
        if self.kind == "mels":
            mel = self.windows.store[self._of(clip)].mT
            return F.pad(mel, (0, min_frames - clip.length)) if clip.length < min_frames else mel
        shortest = max(min_frames * spec.HOP_LENGTH, spec.N_FFT)
        return spec.log_mel(F.pad(self.waveform(clip), (0, max(0, shortest - clip.length)))).half()

    @property
    def has_features(self) -> bool:
        """Whether the recordings have features of video."""
        return self._features is not None

    def features(self, clip: Clip) -> Tensor:
        """The features of a recording's video, float32 (215, D), on the device. UsageError if the pack has none."""
        if self._features is None:
            raise UsageError("This pack has no features of video: make it again, with specvq data pack --features.")
        return self._features[self._places[clip]].float().to(self.device)

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

    def _of(self, clip: Clip) -> slice:
        return slice(self._starts[clip], self._starts[clip] + clip.length)

    def _sound(self) -> Windows:
        if self.kind != "sound":
            raise UsageError("This pack holds spectrograms alone, and sound is needed: pack a folder of sound files.")
        return self.windows


def _mapped(path: Path, store: Store) -> Tensor:
    """A file's numbers as a tensor that must not be written to; they are read from the disk as they are needed."""
    numbers = np.memmap(path, dtype=store.dtype, mode="r").reshape(-1, *store.width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch has no read-only tensors; a writable map would need memory
        return torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("="), copy=False))


def _waveform(samples: Tensor) -> Tensor:
    return samples.float() / 32768.0


class MelPack:
    """Log-mel spectrograms of a pack's recordings, half precision, on the pack's device.

    Those of sound are computed once and held in memory.

    Attributes:
        items: one (80, T) in [0, 1] for each of `clips`, T >= min_frames: silence follows shorter recordings.
        clips: the recordings of the pack's split.
        labels: the labels of all splits, sorted.
    """

    def __init__(self, pack_: Pack, min_frames: int) -> None:
        self.clips, self.labels, self.device = pack_.clips, pack_.labels, pack_.device
        self._pack = pack_
        self.items = [pack_.mel(clip, min_frames) for clip in self.clips]
        if pack_.kind == "mels":
            self.windows = pack_.windows
        else:
            lengths = [item.shape[1] for item in self.items]
            self.windows = Windows(torch.cat([item.mT for item in self.items]), [0, *accumulate(lengths[:-1])], lengths)
            self.items = [item.mT for item in self.windows.store.split(lengths)]  # what they were is let go

    def crops(self, count: int, frames: int, rng: np.random.Generator) -> Tensor:
        """Random crops (count, 1, 80, frames), float32 in [-1, 1] as the networks see them, on the device."""
        return _as_seen(self.windows.draw(count, frames, rng)[0])

    def labelled_crops(self, count: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """`crops`, and the places of their labels in `labels`, int64 (count,) on the device.

        Raises UsageError if a recording has no label.
        """
        labels = self._label_indices
        windows, chosen = self.windows.draw(count, frames, rng)
        return _as_seen(windows), labels[torch.from_numpy(chosen)].to(self.device)

    def label_indices(self) -> Tensor:
        """The place of every clip's label in `labels`, int64 (len(clips),) on the CPU; UsageError if one has none."""
        return self._label_indices.clone()

    @cached_property
    def _label_indices(self) -> Tensor:
        return self._pack.label_indices()  # which looks at every recording: once for all batches


def _as_seen(windows: Tensor) -> Tensor:
    """Spectrograms (B, T, 80) in [0, 1] as the networks see them: (B, 1, 80, T) in [-1, 1]."""
    return (windows.mT[:, None].float() * 2.0 - 1.0).contiguous()
