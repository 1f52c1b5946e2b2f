"""How a training tells how it goes: a line or a bar on stderr, log.jsonl, and TensorBoard where that is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from torch import Tensor

from .. import spectrogram as spec
from ..files import write_file

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class Samples:
    """What to look at and listen to.

    Attributes:
        spectrograms: by name, (80, T) in [0, 1].
        sounds: by name, (N,) in [-1, 1] at 22 050 Hz.
    """

    spectrograms: dict[str, Tensor] = field(default_factory=dict)
    sounds: dict[str, Tensor] = field(default_factory=dict)


class Monitor:
    """Writes numbers and samples of a run that goes on from `step`."""

    def __init__(self, run: Path, step: int, steps: int) -> None:
        self._log = run / "log.jsonl"
        self._stack = ExitStack()
        _forget_after(self._log, step)
        self._board = _tensorboard(run, step)
        if self._board is not None:
            self._stack.callback(self._board.close)
        self._advance = _progress_bar(self._stack, step, steps) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def tick(self, step: int) -> None:
        """A step is done."""
        if self._advance is not None:
            self._advance(step)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Write numbers down, and say them."""
        line = {"step": step, **{key: round(value, 6) for key, value in numbers.items()}}
        print("  ".join(f"{key} {value:g}" for key, value in line.items()), file=sys.stderr, flush=True)
        with self._log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for key, value in numbers.items():
                self._board.add_scalar(key, value, step)

    def show(self, step: int, samples: Samples) -> None:
        """Put samples on TensorBoard."""
        if self._board is None:
            return
        for name, mel in samples.spectrograms.items():
            self._board.add_image(name, mel.clamp(0, 1).flip(0)[None], step)  # the lowest band at the bottom
        for name, sound in samples.sounds.items():
            self._board.add_audio(name, sound.clamp(-1, 1)[None], step, sample_rate=spec.SAMPLE_RATE)


def _forget_after(log: Path, step: int) -> None:
    """Drop the lines of steps that were lost with an interrupted run and come again."""
    if not log.exists():
        return
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    write_file(log, "".join(line for line in lines if _step(line) <= step).encode(), force=True)


def _step(line: str) -> float:
    """The step that a line tells of; infinity for one that was cut off when its process was killed."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):
        return float("inf")


def _tensorboard(run: Path, step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None  # an extra: log.jsonl has the same numbers
    return SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)


def _progress_bar(stack: ExitStack, step: int, steps: int) -> Callable[[int], None]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
    bar = progress.add_task("training", total=steps, completed=step)
    return lambda done: progress.update(bar, completed=done)
