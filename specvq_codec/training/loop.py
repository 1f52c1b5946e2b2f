"""The training loop that every stage shares: schedule, optimiser, resumable checkpoints, a line of progress."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..bitstream.errors import SpecVQError, UsageError


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to learn."""

    steps: int
    learning_rate: float = 3e-4
    warmup: int = 100  # steps over which the learning rate rises; then it falls along a half cosine to 2 %
    betas: tuple[float, float] = (0.9, 0.99)
    grad_clip: float = 1.0  # largest gradient norm
    seed: int = 0
    log_every: int = 50
    save_every: int = 500


class Task(Protocol):
    """What a stage adds to the loop."""

    @property
    def module(self) -> nn.Module:
        """Everything that is trained or kept."""

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of a new batch and numbers to show."""

    def validate(self) -> dict[str, float]:
        """Numbers on the validation split."""


class TrainingError(SpecVQError):
    """Training cannot go on."""

    exit_code = 1


def learning_rate(step: int, config: LoopConfig) -> float:
    """The learning rate of a step: a linear rise, then half a cosine."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, progress)))))


def train(task: Task, config: LoopConfig, run: Path) -> dict[str, float]:
    """Train to `config.steps`, going on from `run/last.pt` if it is there; returns the last validation.

    Batches depend on the seed and the step alone, so a resumed run sees what an uninterrupted one would. Raises
    TrainingError when the loss or its gradient is not finite; the last checkpoint stays.
    """
    run.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(task.module.parameters(), betas=config.betas, weight_decay=0.0)
    step = _resume(task.module, optimizer, run / "last.pt")
    started, seen = time.monotonic(), step
    numbers: dict[str, float] = {}
    while step < config.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        loss, shown = task.loss(np.random.default_rng((config.seed, step)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(task.module.parameters(), config.grad_clip)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            kept = f"{run / 'last.pt'} holds the last good one" if (run / "last.pt").exists() else "nothing was saved"
            raise TrainingError(
                f"The loss became {loss.item()} and its gradient {norm.item()} at step {step}; {kept}. Try a lower "
                "learning rate."
            )
        optimizer.step()
        step += 1
        if step % config.log_every == 0:
            _log(run, {"step": step, "per_second": (step - seen) / (time.monotonic() - started), **shown})
        if step % config.save_every == 0 or step == config.steps:
            _save(task.module, optimizer, step, run / "last.pt")
            numbers = task.validate()
            _log(run, {"step": step, **numbers})
    return numbers or task.validate()


def _log(run: Path, numbers: dict[str, float]) -> None:
    line = {key: round(value, 6) for key, value in numbers.items()}
    print("  ".join(f"{key} {value:g}" for key, value in line.items()), file=sys.stderr, flush=True)
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def _save(module: nn.Module, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    beside = path.with_suffix(".tmp")
    torch.save({"module": module.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, beside)
    os.replace(beside, path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `train` saved: "module" and "optimizer" (state dicts) and "step".

    Raises:
        UsageError: it cannot be read.
    """
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise UsageError(f"There is no checkpoint {path}: train first, with specvq train.") from error
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise UsageError(f"{path} is damaged or no checkpoint: remove it, or name another run.") from error
    return saved


def load_checkpoint(module: nn.Module, saved: dict[str, Any], path: Path) -> None:
    """Put what was read from `path` into a module; raises UsageError if it is of another configuration."""
    try:
        module.load_state_dict(saved["module"])
    except (RuntimeError, KeyError) as error:
        raise UsageError(f"{path} is of another configuration: name the one that it was trained with.") from error


def _resume(module: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> int:
    if not path.exists():
        return 0
    saved = read_checkpoint(path)
    load_checkpoint(module, saved, path)
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])
