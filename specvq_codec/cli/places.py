"""Which files a command reads and writes: one file, a pipe, or a folder with all that is below it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..bitstream.errors import AudioError, UsageError


@dataclass(frozen=True)
class Job:
    """One file to read, and the file to write."""

    source: Path
    target: Path


def jobs_below(folder: Path, out: Path, suffixes: frozenset[str], new_suffix: str) -> list[Job]:
    """Every file below a folder with one of the suffixes, and where its result goes.

    `a/b.wav` becomes `b.svq` in `out/a`; where two files would meet (`b.wav`, `b.mp3`), both keep their whole names.

    Raises:
        UsageError: `out` is a file.
        AudioError: there is no such file below the folder.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and {folder} a folder: name a folder to write to.")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in suffixes)
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


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"The folder {folder} cannot be made ({reason}): name another one to write to.") from error
