"""What commands tell: messages and progress on stderr, JSON and tables on stdout, and text in files."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def say(text: str) -> None:
    """A message for people."""
    print(text, file=sys.stderr, flush=True)


def print_json(values: Any) -> None:
    """A result for programs."""
    print(json.dumps(values, indent=1, allow_nan=False), flush=True)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table that Markdown understands, on stdout; all columns but the first are numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.MARKDOWN)
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # as they are: brackets in a name are no markup
    console = Console(width=10_000, no_color=True, highlight=False)  # a row is never broken
    with console.capture() as capture:
        console.print(table)
    print(capture.get().strip())


def write_text(path: Path, text: str, force: bool) -> None:
    """A result in a file, as UTF-8; names of files that cannot be in it are escaped. Raises as `write_file`."""
    from ..files import write_file

    write_file(path, text.encode("utf-8", "backslashreplace"), force)


@contextmanager
def progress_bar() -> Iterator["Progress"]:
    """A progress bar on stderr, where that is a terminal; it leaves nothing behind."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def with_progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Iterate, showing how far it is."""
    with progress_bar() as progress:
        yield from progress.track(items, total=total, description=what)
