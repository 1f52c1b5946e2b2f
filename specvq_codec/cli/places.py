"""Which files a command reads and writes: one file, a pipe, or a folder with all that is below it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..bitstream.errors import AudioError, UsageError
from ..files import files_below, reason_of
from .report import say


@dataclass(frozen=True)
class Job:
    """One file to read, and the file to write; "-" for the standard input and output."""

    source: Path
    target: Path


def jobs_below(folder: Path, out: Path, suffixes: frozenset[str], new_suffix: str) -> list[Job]:
    """Every file below a folder with one of the suffixes, and where its result goes.

    `a/b.wav` becomes `b.svq` in `out/a`; where two files would meet (`b.wav`, `b.mp3`), both keep their whole names.
    What cannot be read, and links to folders, are left out, and named on the standard error.

    Raises:
        UsageError: `out` is a file.
        AudioError: there is no such file below the folder.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and {folder} a folder: name a folder to write to.")
    found = sorted(files_below(folder, suffixes, lambda path, reason: say(f"specvq: left out {path}: {reason}")))
    if not found:
        raise AudioError(f"There is no {', '.join(sorted(suffixes))} file below {folder}: name another folder.")
    names = [path.relative_to(folder) for path in found]
    results = {name: name.with_suffix(new_suffix) for name in names}
    while len(set(results.values())) < len(results):  # whole names can meet short ones, too: b.wav, b.mp3, b.wav.wav
        taken = Counter(results.values())
        for name, result in results.items():
            if taken[result] > 1:
                results[name] = name.with_name(name.name + new_suffix)
    return [Job(path, out / results[name]) for path, name in zip(found, names, strict=True)]


def named(path: str) -> Path:
    """The path that is meant; only "-" itself becomes Path("-"), which stands for the standard input or output."""
    return Path.cwd() / "-" if path != "-" and str(Path(path)) == "-" else Path(path)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be made ({reason_of(error)}): name another one to write to."
        ) from error


@contextmanager
def folder_for(folder: Path) -> Iterator[None]:
    """A folder for what is written in the block; those that are new, and that nothing came into, are removed again.

    Raises:
        UsageError: it cannot be made.
    """
    new = [place for place in (folder, *folder.parents) if not place.exists()]  # the innermost first
    make_folder(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # something is in it
            for place in new:
                place.rmdir()
