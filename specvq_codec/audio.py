"""Sound in and out. Here: files, pipes and arrays in, as a stream of mono blocks, in bounded memory.

Everything downstream sees blocks of mono float32 samples, full scale being [-1, 1). The blocks' sizes are an
implementation detail: no result depends on them. Resampling and writing are in files of their own, and are handed on.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from os import PathLike
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import soundfile

from .bitstream.errors import AudioError
from .files import reason_of
from .resampling import SAMPLE_RATE, Samples, blocks_of, resampled, resampled_length
from .sound_files import sound_file
from .sound_writer import SoundWriter

__all__ = [
    "MAX_CHANNELS",
    "MAX_RATE",
    "MIN_RATE",
    "SAMPLE_RATE",
    "AudioWarning",
    "SoundStream",
    "SoundWriter",
    "array_stream",
    "blocks_of",
    "open_sound",
    "resampled",
    "resampled_length",
    "whole",
]

MIN_RATE, MAX_RATE = 8_000, 192_000  # Hz, of the sounds that are accepted
MAX_CHANNELS = 8

_BLOCK = 65_536  # samples read at a time: 1.5 s at 44.1 kHz, at most 2 MB for eight channels
_LIMIT = 1024.0  # times full scale: 60 dB above it the spectrogram saturates anyway, and arithmetic stays finite
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's answer for a file that does not know its length is beyond this
# What an integer has to be divided by to make full scale 1, after the offset has been taken off.
_INTEGER_SCALES = {"uint8": (128.0, 128.0), "int8": (0.0, 128.0), "int16": (0.0, 2.0**15), "int32": (0.0, 2.0**31)}

# How libsndfile's log tells that less is there than a header announces.
_SHORTFALLS = (
    (r"^\s*(?:data|SSND|Data Size|riff)\s*: (?P<announced>\d+) \(should be (?P<there>\d+)\)", "bytes"),
    (r"frame count (?P<there>\d+) does not match value from 'ds64' chunk of (?P<announced>\d+)", "samples"),
)


class AudioWarning(UserWarning):
    """A sound can be used, but not all of it was as it should be; the message says what was done."""


class SoundStream:
    """A sound that is read once, from its beginning to its end, as mono float32 blocks of shape (N,).

    Channels are averaged. Samples that are not a number or infinite become 0, and samples beyond 1024 times full scale
    are limited to that; either gives one `AudioWarning`. Iterating raises `AudioError` when the sound turns out to be
    damaged, cut short or empty, and when it is done a second time. Use it in a ``with`` statement, or read it to the
    end, to close what it opened.

    Attributes:
        name: What to call the sound in messages.
        sample_rate: Samples per second, 8000 to 192000.
        channels: Channels of the source, 1 to 8.
        expected_samples: The length that the source announces, for progress bars; None when it does not know it.
        is_estimate: Whether that may be an estimate, as for any MP3 file.
        num_samples: Samples per channel handed out so far: the sound's length once the stream has been read.
    """

    def __init__(
        self,
        name: str,
        sample_rate: int,
        channels: int,
        expected_samples: int | None,
        blocks: Iterator[npt.NDArray[Any]],
        resources: ExitStack | None = None,
    ) -> None:
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(f"{name} has {channels} channels, and 1 to {MAX_CHANNELS} can be read: mix it down first.")
        self.name = name
        self.sample_rate = _checked_rate(sample_rate, name)
        self.channels = channels
        self.expected_samples = expected_samples
        self.is_estimate = False
        self.num_samples = 0
        self._blocks = blocks  # of shape (N, channels), floating point
        self._resources = resources or ExitStack()
        self._warned = False
        self._begun = False

    def __iter__(self) -> Iterator[Samples]:
        if self._begun:
            raise AudioError(f"{self.name} was read already: open it again.")
        self._begun = True
        with self._resources:
            for block in self._blocks:
                self.num_samples += len(block)
                yield self._mono(block)
            if self.num_samples == 0:
                raise AudioError(f"{self.name} holds no samples: give a sound of at least one sample.")

    def __enter__(self) -> "SoundStream":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if the stream opened one. A second call does nothing."""
        self._resources.close()

    def _mono(self, block: npt.NDArray[Any]) -> Samples:
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is dealt with below
            block = block.astype(np.float32, copy=False)  # (N, channels)
        if not np.abs(block).max() <= _LIMIT:  # also true when something is not a number
            if not self._warned:
                self._warned = True
                warnings.warn(f"{self.name}: {_describe_wild(block)}", AudioWarning, stacklevel=3)
            block = np.where(np.isfinite(block), np.clip(block, -_LIMIT, _LIMIT), np.float32(0))
        # Channel by channel, so that the order of the additions does not depend on the block's length.
        total = block[:, 0].astype(np.float64)
        for channel in range(1, self.channels):
            total += block[:, channel]
        return (total / self.channels).astype(np.float32)


def open_sound(source: str | PathLike[str] | IO[bytes]) -> SoundStream:
    """Open a sound for reading.

    Args:
        source: A path, "-" for the standard input, or a binary file object (which the caller closes), of which
            everything is read, by one stream at a time. What is no plain file, such as a pipe or an object in memory,
            is first copied to a temporary file on disk.

    Returns:
        The stream of the whole sound, at its own rate.

    Raises:
        AudioError: There is no such file, it is not a sound that libsndfile reads, it holds less than its header
            announces (where libsndfile tells), or its rate or number of channels is out of range.
    """
    resources = ExitStack()
    try:
        sound, descriptor, name = sound_file(source, resources)
        _check_announced_length(sound, name)
        expected = sound.frames if sound.frames < _UNKNOWN_FRAMES else None
        blocks = _file_blocks(sound, descriptor, name, expected)
        stream = SoundStream(name, sound.samplerate, sound.channels, expected, blocks, resources)
        stream.is_estimate = _is_estimated(sound)
        return stream
    except BaseException:
        resources.close()
        raise


def array_stream(samples: Any, sample_rate: int) -> SoundStream:
    """Read an array as a sound.

    Args:
        samples: Shape (N,) or (channels, N) with N >= 1 and 1 to 8 channels: a numpy array, a torch tensor on any
            device, or what `numpy.asarray` takes. Floating point of any width, full scale being [-1, 1); or
            uint8 (128 is silence), int8, int16 or int32, which are scaled to that.
        sample_rate: Samples per second, 8000 to 192000.

    Returns:
        The stream of the whole sound, at its own rate.

    Raises:
        AudioError: The shape, the type or the rate is not one of the above.
    """
    name = "The array of samples"
    if hasattr(samples, "detach"):  # a torch tensor, recognised without importing torch
        try:
            samples = samples.detach().cpu()
            samples = (samples.float() if samples.is_floating_point() else samples).numpy()
        except (TypeError, RuntimeError) as error:  # a sparse one, or one without values
            raise AudioError(f"{name} holds no samples ({reason_of(error)}): make it dense first.") from error
    try:
        array = np.asarray(samples)
    except ValueError as error:  # lists of several lengths
        raise AudioError(f"{name} is none ({reason_of(error)}): give channels of one length.") from error
    if array.ndim not in (1, 2):
        raise AudioError(f"{name} has shape {array.shape}, but (samples,) or (channels, samples) is needed.")
    if array.size == 0:
        raise AudioError(f"{name} has shape {array.shape}: give a sound of at least one sample.")
    if array.dtype.kind != "f" and array.dtype.name not in _INTEGER_SCALES:
        raise AudioError(
            f"{name} is of type {array.dtype}, whose full scale is not known: give floating point in [-1, 1), or "
            "uint8, int8, int16 or int32."
        )
    array = np.atleast_2d(array)  # (channels, N)
    channels, length = array.shape
    if channels > MAX_CHANNELS:
        raise AudioError(
            f"{name} has {channels} rows, and 1 to {MAX_CHANNELS} channels can be read: the shape is "
            "(channels, samples), so transpose it if the channels are its columns."
        )
    return SoundStream(name, sample_rate, channels, length, _array_blocks(array))


def _is_estimated(sound: soundfile.SoundFile) -> bool:
    """Whether the length may be an estimate: libsndfile does not tell which MP3 files state it."""
    return str(sound.subtype).startswith("MPEG")


def _file_blocks(
    sound: soundfile.SoundFile, descriptor: int, name: str, expected: int | None
) -> Iterator[npt.NDArray[Any]]:
    count = 0
    while True:
        try:
            block = sound.read(_BLOCK, dtype="float32", always_2d=True)  # (N, channels)
        except soundfile.SoundFileError as error:
            raise AudioError(
                f"{name} is damaged or cut short after {count} samples ({reason_of(error)}): repair it or convert "
                "what is left of it first."
            ) from error
        if not len(block):
            break
        count += len(block)
        yield block
    # MP3 files without a table of contents have no exact length: libsndfile estimates one, and reads no further.
    estimated = _is_estimated(sound)
    if estimated:
        unread = os.fstat(descriptor).st_size - os.lseek(descriptor, 0, os.SEEK_CUR)
        if unread > 65_536:
            warnings.warn(
                f"{name}: {unread} bytes at the end were not read, because the MP3 file states no exact length; if "
                "sound is missing, convert it to WAV or FLAC first.",
                AudioWarning,
                stacklevel=4,
            )
    if expected is not None and count < expected - (sound.samplerate if estimated else 0):
        message = f"{name} is cut short: its header announces {expected} samples, and it holds {count}"
        if not estimated:
            raise AudioError(f"{message}. Repair it or convert what is left of it first.")
        warnings.warn(f"{message}.", AudioWarning, stacklevel=4)


def _array_blocks(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    offset, scale = _INTEGER_SCALES.get(array.dtype.name, (0.0, 1.0))
    for start in range(0, array.shape[1], _BLOCK):
        block = array[:, start : start + _BLOCK].T  # (N, channels)
        yield block if array.dtype.kind == "f" else (block - offset) / scale


def _check_announced_length(sound: soundfile.SoundFile, name: str) -> None:
    """Raise if a file is empty, or if the header of a WAV, AIFF, AU, W64 or RF64 file announces more than it holds.

    libsndfile then silently reads what there is, and tells of it only in its log. Headers that were written before the
    length was known, as in a pipe, announce 2 GB or 4 GB: these are no sign of anything.
    """
    if sound.frames == 0:
        raise AudioError(f"{name} holds no samples: give a sound of at least one sample.")
    padding, unknown = 8, 0x7FFF_0000  # bytes
    for pattern, unit in _SHORTFALLS:
        found = re.search(pattern, sound.extra_info, re.MULTILINE)
        announced, there = (int(found["announced"]), int(found["there"])) if found else (0, 0)
        if there + padding < announced < unknown:
            raise AudioError(
                f"{name} is cut short: its header announces {announced} {unit}, and it holds {there}. Repair it or "
                "convert what is left of it first."
            )


def whole(number: Any) -> int:
    """A whole number of any type as an int; 0 if it is none."""
    if isinstance(number, float | np.floating) and float(number).is_integer():
        return int(number)
    return int(number) if isinstance(number, int | np.integer) else 0


def _checked_rate(sample_rate: Any, name: str) -> int:
    rate = whole(sample_rate)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            f"{name} has a sample rate of {sample_rate} Hz, and a whole number from {MIN_RATE} to {MAX_RATE} is "
            "needed: resample it first."
        )
    return rate


def _describe_wild(block: Samples) -> str:
    bad = int((~np.isfinite(block)).sum())
    if bad:
        return "samples that are infinite or not a number were replaced by silence."
    return (
        f"samples beyond {_LIMIT:.0f} times full scale were limited; full scale of floating point is 1, so divide "
        "samples that were integers by their largest value."
    )
