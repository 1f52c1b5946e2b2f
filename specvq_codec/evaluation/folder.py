"""Recordings to measure: those of a pack, or the sound files below a folder. What cannot be measured is left out.

Sound files are of any format, rate and number of channels that the package reads, and become mono at 22 050 Hz. Where
a folder has sub-folders, these are the domains, and what lies beside them is of the domain "other".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..audio import SAMPLE_RATE, open_sound, resampled, resampled_length
from ..bitstream.errors import SpecVQError, UsageError
from ..files import SOUND_SUFFIXES, files_below
from ..training.data import Clip

NONE = ""  # the domain of recordings where there are no domains
OTHER = "other"
SILENCE = 1.5 / 32768  # nothing but the last bit of 16: measures in proportion to the sound would mean nothing


class LeftOut(NamedTuple):
    """A recording that was not measured, or not all of it, and why."""

    path: str
    reason: str


class Recordings(Protocol):
    """Recordings of which the waveforms are read one by one; `training.data.Pack` is such."""

    clips: list[Clip]

    def waveform(self, clip: Clip) -> Tensor:
        """Samples of a recording, float32 (N,) at 22 050 Hz; raises SpecVQError if it cannot be read."""


class SoundFolder:
    """The sound files below a folder.

    Attributes:
        clips: the files that can be opened, sorted by their paths; their lengths are what their headers announce.
        left_out: the others, and folders that cannot be looked into.
    """

    def __init__(self, folder: Path, longest: int) -> None:
        """Open every file once.

        Args:
            folder: with the files, and whatever else.
            longest: samples at 22 050 Hz of which `waveform` reads no more than one beyond.

        Raises:
            UsageError: there is no such folder, or no file in it can be opened.
        """
        self.folder, self.longest = folder, longest
        self.clips: list[Clip] = []
        self.left_out: list[LeftOut] = []
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}: give one of sound files, or a pack from specvq data pack.")
        found = files_below(folder, SOUND_SUFFIXES, self._leave_out)
        paths = sorted(path.relative_to(folder) for path in found)
        beside = OTHER if any(len(path.parts) > 1 for path in paths) else NONE
        for path in paths:
            domain = path.parts[0] if len(path.parts) > 1 else beside
            try:
                with open_sound(folder / path) as sound:
                    length = resampled_length(sound.expected_samples or 0, sound.sample_rate)
            except SpecVQError as error:
                self.left_out.append(LeftOut(path.as_posix(), str(error)))
            else:
                self.clips.append(Clip(path.as_posix(), "", domain, 0, length))
        if not self.clips:
            reasons = f" ({self.left_out[0].reason})" if self.left_out else ""
            raise UsageError(
                f"There is no sound below {folder} that can be read{reasons}: give a folder of sound files, or packed "
                "sound, from specvq data pack."
            )

    def _leave_out(self, path: str, reason: str) -> None:
        self.left_out.append(LeftOut(Path(path).relative_to(self.folder).as_posix(), reason))

    def waveform(self, clip: Clip) -> Tensor:
        """The first samples of a file; see `Recordings`."""
        return read_sound(self.folder / clip.path, self.longest + 1)


def read_sound(path: Path, most: int) -> Tensor:
    """The first samples of a sound file, mono at 22 050 Hz, no more than `most`: float32 (N,) in [-1, 1].

    What goes beyond, which files of floats can have, is clipped: most codecs know nothing louder.

    Raises:
        AudioError: it cannot be read.
    """
    parts, length = [], 0
    with open_sound(path) as sound:
        for block in resampled(sound, sound.sample_rate, SAMPLE_RATE):
            parts.append(block)
            length += len(block)
            if length >= most:
                break
    return torch.from_numpy(np.concatenate(parts)[:most]).clamp(-1.0, 1.0)


def measurable(
    recordings: Recordings, clips: Iterable[Clip], longest: int, left_out: list[LeftOut]
) -> Iterator[tuple[Clip, Tensor]]:
    """The recordings that can be measured, with their waveforms (N,) and their true lengths, at most `longest`.

    What is unreadable or silent, and what follows the first `longest` samples, is added to `left_out`.
    """
    for clip in clips:
        try:
            waveform = recordings.waveform(clip)
        except SpecVQError as error:
            left_out.append(LeftOut(clip.path, str(error)))
            continue
        if len(waveform) > longest:
            left_out.append(LeftOut(clip.path, f"what follows its first {longest / SAMPLE_RATE:g} s."))
            waveform = waveform[:longest].clone()  # and let go of the rest
        if float(waveform.abs().max()) < SILENCE:
            left_out.append(LeftOut(clip.path, "it is silent, and distances are in proportion to the sound."))
            continue
        yield replace(clip, length=len(waveform)), waveform


def counterpart(folder: Path, path: str) -> Path | None:
    """The decoded file that belongs to a recording, by its relative path: that of x.flac is x.flac, or else
    x.flac.wav, or else x.wav, or has another suffix of sound in the place of .wav. None if there is none.

    Raises:
        UsageError: there are several.
    """
    exact = folder / path
    if exact.is_file():
        return exact
    stems = exact.name, exact.stem
    beside = exact.parent.iterdir() if exact.parent.is_dir() else ()
    named = [other for other in beside if other.stem in stems and other.suffix.lower() in SOUND_SUFFIXES]
    for stem in stems:
        found = sorted(other for other in named if other.stem == stem and other.is_file())
        if len(found) > 1:
            raise UsageError(f"{found[0]} and {found[1].name} could both be what became of {path}: remove one.")
        if found:
            return found[0]
    return None


def absent(folder: Path, paths: Iterable[str]) -> set[str]:
    """The recordings, by their relative paths, that have no decoded file in a folder.

    Raises:
        UsageError: several files could belong to a recording, or one to several recordings.
    """
    owners: dict[Path, str] = {}
    lacking = set()
    for path in paths:
        file = counterpart(folder, path)
        if file is None:
            lacking.add(path)
        elif file in owners:
            raise UsageError(
                f"{file} could be what became of {owners[file]} or of {path}: "
                f"name it {Path(path).name}{file.suffix} or {Path(owners[file]).name}{file.suffix}."
            )
        else:
            owners[file] = path
    return lacking
