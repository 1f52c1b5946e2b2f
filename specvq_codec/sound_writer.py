"""Sound out: a stream of mono blocks to a file or the standard output."""

import os
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from .bitstream.errors import SpecVQError, UsageError
from .files import output_file

__all__ = ["SoundWriter", "check_suffix", "fitting_rate"]

_BLOCK = 65_536  # samples written at a time: libsndfile's Ogg encoder overflows the stack on very long blocks

# Suffix -> libsndfile's format and subtype.
_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_16"),
    ".aif": ("AIFF", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
    ".au": ("AU", "PCM_16"),
    ".snd": ("AU", "PCM_16"),
}
_OPUS_RATES = (8000, 12_000, 16_000, 24_000, 48_000)
_LENGTHS_OF_32_BITS = ("WAV", "AIFF", "AU")


class SoundWriter:
    """Writes a mono sound block by block; the file appears, whole, when the ``with`` block ends without an exception.

    The suffix of the path chooses the format, and the samples are 16 bit where it stores samples. "-" writes WAV to the
    standard output, when it is complete. A WAV file beyond 4 GB becomes RF64, its usual extension.

    Args:
        path: Where to write, or "-".
        sample_rate: Samples per second.
        num_samples: How many samples will be written.
        force: Whether a file that exists may be overwritten.

    Raises:
        UsageError: The path cannot be written to (see `specvq_codec.files.output_file`), its suffix stands for no
            format that can be written, or the format does not allow the sample rate or the length.
        SpecVQError: Writing failed, for instance because the disk is full.
    """

    def __init__(self, path: str | PathLike[str], sample_rate: int, num_samples: int, force: bool = False) -> None:
        self._name = os.fspath(path)
        self._format, self._subtype = _format_of(self._name, num_samples)
        self._remaining = num_samples
        with ExitStack() as resources:
            temporary = resources.enter_context(output_file(path, force))
            try:
                self._file = resources.enter_context(
                    soundfile.SoundFile(str(temporary), "w", sample_rate, 1, self._subtype, format=self._format)
                )
            except (soundfile.SoundFileError, ValueError) as error:
                raise UsageError(
                    f"{self._name} cannot be written at {sample_rate} Hz: choose another rate, or .wav or .flac."
                ) from error
            self._resources = resources.pop_all()

    def write(self, block: npt.NDArray[np.floating[Any]]) -> None:
        """Append samples of shape (N,), full scale being [-1, 1); what lies beyond is clipped."""
        self._remaining -= len(block)
        if self._subtype == "PCM_16":  # the inverse of how 16 bits are read, which libsndfile's own conversion is not
            block = np.clip(np.rint(block * 2.0**15), -(2**15), 2**15 - 1).astype(np.int16)
        else:
            block = np.clip(block, -1.0, 1.0).astype(np.float32)
        try:
            for start in range(0, len(block), _BLOCK):
                self._file.write(block[start : start + _BLOCK])
        except soundfile.SoundFileError as error:
            raise _not_written(self._name, error) from error

    def __enter__(self) -> "SoundWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._resources:  # what leaves this block as an exception removes the file
            if error is not None:
                raise error
            if self._remaining:
                raise ValueError(f"{self._remaining} of the announced samples were not written")
            try:
                self._file.close()
            except soundfile.SoundFileError as failure:
                raise _not_written(self._name, failure) from failure


def check_suffix(path: str | PathLike[str]) -> None:
    """Raise UsageError if the suffix stands for no format that can be written; for what takes long to make."""
    _format_of(os.fspath(path), 1)


def fitting_rate(path: str | PathLike[str], sample_rate: int) -> int:
    """The rate to write a sound of this rate at where any will do: the next one that its format, Opus, has."""
    if Path(path).suffix.lower() != ".opus":
        return sample_rate
    return min((rate for rate in _OPUS_RATES if rate >= sample_rate), default=_OPUS_RATES[-1])


def _format_of(name: str, num_samples: int) -> tuple[str, str]:
    suffix = ".wav" if name == "-" else Path(name).suffix.lower()
    if suffix not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise UsageError(f"{name} does not end in the suffix of a sound file that can be written: use one of {known}.")
    format_name, subtype = _FORMATS[suffix]
    if 2 * num_samples > 0xFFFF_FFFF - 4096 and format_name in _LENGTHS_OF_32_BITS:
        if format_name != "WAV":
            raise UsageError(f"{name} would be longer than the 4 GB that {suffix} allows: use .wav, .flac or .w64.")
        format_name = "RF64"
    return format_name, subtype


def _not_written(name: str, error: soundfile.SoundFileError) -> SpecVQError:
    reason = str(error).strip().rstrip(".").lower()
    return SpecVQError(f"{name} could not be written ({reason}): check the free space.")
