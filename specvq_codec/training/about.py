"""What the checkpoint of a run is of, in a file beside it: without that, a network cannot be made for its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..bitstream.errors import UsageError
from ..files import write_file

About = TypeVar("About")


def write_about(path: Path, about: About, described: dict[str, Any], read: Callable[[Path], About]) -> None:
    """Put it into a run's folder, which is made if it is not there.

    Args:
        path: of the file, in that folder.
        about: what the run is of.
        described: the same for JSON.
        read: reads it from such a folder.

    Raises:
        UsageError: the run that is there is of something else.
    """
    run = path.parent
    if (run / "last.pt").exists() and read(run) != about:
        raise UsageError(
            f"{run} is a run of another network (dropout counts, too), or of other data: name another folder (--out)."
        )
    run.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(described, indent=1) + "\n").encode(), force=True)


def note_about(path: Path, about: dict[str, Any]) -> None:
    """Note in a run's folder what the run is of, or find that the run that is there is of the same.

    The folder is made if it is not there; a run that was begun without such a note goes on without one.

    Args:
        path: of the note, in that folder.
        about: what JSON can hold, under names in the plural.

    Raises:
        UsageError: the run that is there is of something else.
    """
    run, text = path.parent, json.dumps(about, indent=1) + "\n"
    if (run / "last.pt").exists():
        if not path.exists():
            return
        noted = parse_about(path, path.stem, _noted)
        if other := [name for name, value in json.loads(text).items() if noted.get(name) != value]:
            raise UsageError(
                f"{run} was trained with other {' and '.join(other)}: go on with the same, or name another folder "
                "(--out)."
            )
        return
    run.mkdir(parents=True, exist_ok=True)
    write_file(path, text.encode(), force=True)


def parse_about(path: Path, stage: str, parse: Callable[[dict[str, Any]], About]) -> About:
    """What `write_about` wrote for a run of a stage. UsageError if it is none, or damaged."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError(f"{path.parent} is not the run of a {stage}: train one, with specvq train {stage}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: train the {stage} again.") from error


def _noted(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError("it is no note")
    return found
