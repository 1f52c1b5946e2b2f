"""Files, pipes and file objects as something that libsndfile reads from the beginning to the end."""

import io
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from contextlib import ExitStack
from os import PathLike, fspath
from pathlib import Path
from typing import IO

import soundfile

from .bitstream.errors import AudioError
from .files import reason_of

try:
    from lzma import LZMAError
except ImportError:  # this Python was built without it, and reads no such files
    LZMAError = EOFError  # type: ignore[misc, assignment]

_BY_DESCRIPTOR = os.name == "posix"  # elsewhere descriptors are of one C library and not of all


def sound_file(source: str | PathLike[str] | IO[bytes], resources: ExitStack) -> tuple[soundfile.SoundFile, int, str]:
    """Open a sound.

    Args:
        source: a path, "-" for the standard input, or a binary file object, as for `audio.open_sound`.
        resources: closes what is opened.

    Returns:
        The reader, a descriptor of the file that tells how far it is, and what to call the sound in messages.

    Raises:
        AudioError: it cannot be read, or is no sound.
    """
    file, name = _binary_file(source, resources)
    if not _is_plain(file):
        file = _spooled(file, name, resources)
    borrowed = not isinstance(source, str | PathLike)
    return *_reader(file, name, borrowed, resources), name


class _ForwardSoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is only read forwards.

    soundfile seeks to where it already is after every read of a seekable file. That fails at the end of a FLAC file
    that does not know its length (any that came through a pipe), and changes the last bit of MP3's samples.
    """

    def seekable(self) -> bool:
        return False


def _reader(file: IO[bytes], name: str, borrowed: bool, resources: ExitStack) -> tuple[soundfile.SoundFile, int]:
    """A reader of a plain file from its beginning, and a descriptor that tells how far it is.

    It reads by a descriptor of its own. Given the object, libsndfile would call back into Python, where an exception is
    lost and counts as the end of the file: one from a signal would leave a sound that is cut short, and nobody would
    know. A file that is borrowed is left where it was.
    """
    try:
        if file.writable():
            file.flush()
        if not _BY_DESCRIPTOR:
            file.seek(0)
            return resources.enter_context(_ForwardSoundFile(file)), file.fileno()
        descriptor = resources.enter_context(open(os.dup(file.fileno()), "rb", buffering=0)).fileno()
        if borrowed:  # both share one place
            resources.callback(os.lseek, descriptor, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return resources.enter_context(_ForwardSoundFile(descriptor, closefd=False)), descriptor
    except OSError as error:
        raise AudioError(f"{name} cannot be read ({reason_of(error)}): check it, and what else is open.") from error
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a name that ends in .raw, given the object
        raise AudioError(
            f"{name} is not a sound file that can be read ({reason_of(error)}): convert it to WAV or FLAC first."
        ) from error


def _binary_file(source: str | PathLike[str] | IO[bytes], resources: ExitStack) -> tuple[IO[bytes], str]:
    """The source as a binary file object, and its name for messages."""
    if not isinstance(source, str | PathLike):
        name = getattr(source, "name", "")  # a number for files without one
        name = name if isinstance(name, str) and name else "The file object"
        try:
            nothing = source.read(0)
        except ValueError as error:  # it is closed
            raise AudioError(f"{name} cannot be read ({reason_of(error)}): open it again.") from error
        if not isinstance(nothing, bytes):
            raise AudioError("The file object gives text: open it in binary mode, as in open(path, 'rb').")
        return source, name
    path = fspath(source)
    try:
        if path == "-":
            return sys.stdin.buffer, "The standard input"
        if Path(path).is_dir():
            raise AudioError(f"{path} is a folder: give a sound file.")
        return resources.enter_context(open(path, "rb")), path
    except FileNotFoundError as error:
        raise AudioError(f"There is no file {path}: check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise AudioError(f"{path} cannot be opened ({reason_of(error)}): check its name and permissions.") from error


def _is_plain(file: IO[bytes]) -> bool:
    """Whether it is a file of the system as it is, not one that is unpacked on the way, and no pipe."""
    return type(getattr(file, "raw", file)) is io.FileIO and file.seekable()


def _spooled(source: IO[bytes], name: str, resources: ExitStack) -> IO[bytes]:
    """Copy to a temporary file: sound files have to be read with seeks, and memory must not grow with them."""
    try:
        spool = resources.enter_context(tempfile.TemporaryFile())
    except OSError as error:
        raise AudioError(
            f"{name} needs a temporary file, and there can be none ({reason_of(error)}): set TMPDIR."
        ) from error
    try:
        if source.seekable():
            source.seek(0)
        shutil.copyfileobj(source, spool, 1 << 20)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, LZMAError) as error:  # the last ones of damaged archives
        raise AudioError(
            f"{name} could not be copied to a temporary file ({reason_of(error)}): see whether it can be read, and "
            f"free some space in {tempfile.gettempdir()}."
        ) from error
    return spool
