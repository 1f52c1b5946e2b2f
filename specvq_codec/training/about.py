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


def parse_about(path: Path, stage: str, parse: Callable[[dict[str, Any]], About]) -> About:
    """What `write_about` wrote for a run of a stage. UsageError if it is none, or damaged."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError(f"{path.parent} is not the run of a {stage}: train one, with specvq train {stage}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is damaged: train the {stage} again.") from error
