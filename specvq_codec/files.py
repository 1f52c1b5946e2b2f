"""Files: output that appears whole or not at all, input that is small enough, and the names that sounds have."""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from os import PathLike
from pathlib import Path
from stat import S_ISREG

from .bitstream import MAX_FILE_BYTES
from .bitstream.errors import BitstreamError, SpecVQError, UsageError

__all__ = [
    "SOUND_SUFFIXES",
    "check_output",
    "check_outputs",
    "files_below",
    "output_file",
    "read_file",
    "reason_of",
    "write_file",
]

# What libsndfile reads; a format is found out from the content, but in a folder not everything should be tried.
SOUND_SUFFIXES = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"}
    | {".w64", ".rf64", ".voc", ".paf", ".iff", ".8svx", ".sf", ".avr"}
)


def check_output(path: str | PathLike[str], force: bool = False) -> None:
    """Find out whether `path` can be written, before hours of work go into what is to be written.

    Args:
        path: A path, or "-" for the standard output.
        force: Whether a file that exists may be overwritten.

    Raises:
        UsageError: The file exists and `force` is not set, the path is or names a folder or is in one that does not
            exist or cannot be written to, or "-" is a terminal.
    """
    if os.fspath(path) == "-":
        if sys.stdout.isatty():
            raise UsageError("The standard output is a terminal: redirect it to a file or a program, or name a file.")
        return
    target = Path(path)
    try:
        if target.is_dir():
            raise UsageError(f"{target} is a folder: name a file in it.")
        if os.fspath(path).endswith(tuple(filter(None, (os.sep, os.altsep)))):
            raise UsageError(f"{os.fspath(path)} is the name of a folder, and there is none: name a file.")
        if not target.parent.is_dir():
            raise UsageError(f"There is no folder {target.parent}: create it first.")
        if target.is_file() and not force:
            raise UsageError(f"{target} exists already: use -f (force=True) to overwrite it, or choose another name.")
        folder = Path(os.path.realpath(target)).parent  # where `output_file` writes
        if (target.is_file() or not target.exists()) and not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"{folder} cannot be written to (permission denied): choose another folder.")
    except (OSError, ValueError) as error:  # a name that is too long, a folder that is closed, a null character
        raise UsageError(f"{target} cannot be written ({reason_of(error)}): choose another name.") from error


def check_outputs(paths: Iterable[str | PathLike[str] | None], force: bool = False) -> None:
    """`check_output` for several files that go beside what is written to the standard output; None is no file.

    Raises:
        UsageError: See `check_output`; or a path is "-", or the same as another.
    """
    taken: set[str] = set()
    for path in paths:
        if path is None:
            continue
        name = os.fspath(path)
        if name == "-":
            raise UsageError("The standard output has the tables already: name a file instead of -.")
        check_output(path, force)
        place = os.path.realpath(name)
        if place in taken:
            raise UsageError(f"{name} would be written twice: name another file for one of the two.")
        taken.add(place)


@contextmanager
def output_file(path: str | PathLike[str], force: bool = False) -> Iterator[Path]:
    """A temporary path to write to, whose file takes the place of `path` when the ``with`` block ends well.

    When the block ends with an exception, the temporary file is removed, and what was at `path` stays as it was. A file
    that is replaced keeps its permissions. What is not a plain file ("-" for the standard output, a named pipe,
    /dev/null) gets a copy at the end.

    Args:
        path: A path, or "-" for the standard output.
        force: Whether a file that exists may be overwritten.

    Raises:
        UsageError: See `check_output`; or the folder cannot be written to.
        SpecVQError: The result could not be put in its place.
    """
    check_output(path, force)
    copy = os.fspath(path) == "-" or (os.path.exists(path) and not os.path.isfile(path))
    # The place that a symbolic link points to is what a user wants replaced, not the link.
    folder = Path(tempfile.gettempdir()) if copy else Path(os.path.realpath(path)).parent
    temporary = folder / f".specvq-{secrets.token_hex(8)}.part"
    try:
        # Not by tempfile, whose files are closed to other users, as the result would then be, too.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if copy else 0o666))
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to ({error.strerror}): choose another folder.") from error
    try:
        yield temporary
        try:
            if copy:
                _copy(temporary, path)
            else:
                check_output(path, force)  # something may have come there in the meantime
                if os.name == "posix" and os.path.exists(path):  # elsewhere they say no more than "read-only"
                    shutil.copymode(path, temporary)
                os.replace(temporary, os.path.realpath(path))
        except BrokenPipeError:  # nobody reads on, which is no failure
            raise
        except OSError as error:
            raise _not_written(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: str | PathLike[str], data: bytes, force: bool = False) -> None:
    """Write a small file as a whole. Arguments and errors are those of `output_file`."""
    with output_file(path, force) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise _not_written(path, error) from error


def files_below(
    folder: Path, suffixes: Collection[str] | None, left_out: Callable[[str, str], object]
) -> Iterator[Path]:
    """All files below a folder whose suffix is one of some; links to folders are not followed.

    Args:
        folder: to look in.
        suffixes: such as ".wav", in lower case; None for all.
        left_out: told the path of what is left out, a folder or a file, and why.
    """

    def failed(error: OSError) -> None:
        left_out(os.fspath(error.filename), reason_of(error))

    for place, folders, names in os.walk(folder, onerror=failed):
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                left_out(os.path.join(place, name), "it is a link to a folder")
        for path in (Path(place, name) for name in names):
            if suffixes is None or path.suffix.lower() in suffixes:
                try:
                    if S_ISREG(os.stat(path).st_mode):
                        yield path
                except OSError as error:
                    failed(error)


def read_file(path: str | PathLike[str]) -> bytes:
    """The bytes of a file, or of the standard input ("-"), which is small enough to be an `.svq` file.

    Raises:
        BitstreamError: there is none, it cannot be read, or it is far too large.
    """
    name = "The standard input" if os.fspath(path) == "-" else os.fspath(path)
    try:
        with nullcontext(sys.stdin.buffer) if os.fspath(path) == "-" else Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise BitstreamError(f"{name} cannot be read ({reason_of(error)}).") from error
    if len(data) > MAX_FILE_BYTES:
        raise BitstreamError(f"{name} is too large for an .svq file: give one that specvq encode made.")
    return data


def reason_of(error: Exception) -> str:
    """The cause in a few words, without the full stop and the path that libraries put around it."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".").lower() or type(error).__name__


def _not_written(path: str | PathLike[str], error: OSError) -> SpecVQError:
    name = "The standard output" if os.fspath(path) == "-" else os.fspath(path)
    return SpecVQError(f"{name} could not be written ({reason_of(error)}).")


def _copy(temporary: Path, path: str | PathLike[str]) -> None:
    with open(temporary, "rb") as source:
        if os.fspath(path) == "-":
            shutil.copyfileobj(source, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            with open(path, "wb") as target:
                shutil.copyfileobj(source, target)
