"""The files of a bundle are replaced together, or stay as they were."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

CONFIG = "config.json"  # the description, by which it is decided what a bundle is


def replace_files(folder: Path, files: dict[str, bytes], absent: Sequence[str]) -> None:
    """Write all files beside those that are there, and only then put them in their places, the description last.

    What was there is kept as .NAME.old until the new description is in its place, and is put back if anything fails
    before. Where the process is killed, the next writing does that.

    Args:
        folder: of the bundle.
        files: by their names; the description is among them.
        absent: names of files that are to go.
    """
    names = [name for name in (*files, *absent) if name != CONFIG]
    new, kept = ({name: folder / f".{name}.{end}" for name in (*names, CONFIG)} for end in ("part", "old"))
    _settle(folder)
    for name in new:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder is in the way", str(folder / name))
    there = {name for name in names if os.path.lexists(folder / name)}
    try:
        for name, content in files.items():
            new[name].write_bytes(content)
        for name in names:
            if name in there:
                os.replace(folder / name, kept[name])
            if name in files:
                os.replace(new[name], folder / name)
        os.replace(new[CONFIG], folder / CONFIG)
    except BaseException:
        if os.path.lexists(new[CONFIG]):  # else all is done, and a signal came a moment later
            for name in set(files) - there - {CONFIG}:
                if not os.path.lexists(new[name]):  # it was put in its place, where nothing was
                    (folder / name).unlink(missing_ok=True)
        raise
    finally:
        _settle(folder)


def _settle(folder: Path) -> None:
    """Finish or undo what was begun: while the new description waits, what was there is put back, and else it goes."""
    waiting = os.path.lexists(folder / f".{CONFIG}.part")
    for old in folder.glob(".*.safetensors.old"):
        if waiting:
            os.replace(old, folder / old.name.removeprefix(".").removesuffix(".old"))
        else:
            old.unlink()
    for part in (*folder.glob(".*.safetensors.part"), folder / f".{CONFIG}.part"):  # the description's last of all
        part.unlink(missing_ok=True)
