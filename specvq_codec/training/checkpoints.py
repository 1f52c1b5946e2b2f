"""What a run keeps of its networks: checkpoints that appear whole, and averages of the weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from ..bitstream.errors import SpecVQError, UsageError

# What torch.load raises for a file that is no checkpoint, and what looking into something else raises.
_DAMAGED = (OSError, RuntimeError, EOFError, UnpicklingError, LookupError, ValueError, TypeError, AttributeError)


class Averages:
    """Exponential moving averages of everything in a module that is not an integer (Polyak & Juditsky 1992).

    The first steps count for less: after n of them the decay is at most (1 + n) / (10 + n).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._live = {key: tensor for key, tensor in module.state_dict().items() if tensor.is_floating_point()}
        self.values = {key: tensor.clone() for key, tensor in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module's present state."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(list(self.values.values()), list(self._live.values()), 1 - decay)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The averages are in the module inside the context, and its own state is again afterwards."""
        kept = {key: tensor.clone() for key, tensor in self._live.items()}
        self._copy(self.values)
        try:
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def restore(self, values: dict[str, Tensor], steps: int) -> None:
        """Go on from saved averages."""
        self.steps = steps
        for key, tensor in self.values.items():
            tensor.copy_(values[key])

    def _copy(self, values: dict[str, Tensor]) -> None:
        for key, tensor in self._live.items():
            tensor.copy_(values[key])


def save_checkpoint(path: Path, saved: dict[str, Any]) -> None:
    """Write a checkpoint beside its place and move it there, so that a crash leaves the previous one.

    Raises:
        SpecVQError: it cannot be written, for instance because the disk is full.
    """
    beside = path.with_suffix(".tmp")
    try:
        torch.save(saved, beside)
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: what torch.save makes of a full disk
        beside.unlink(missing_ok=True)
        kept = f"{path} is the one before it" if path.exists() else "nothing was saved"
        raise SpecVQError(
            f"A checkpoint could not be written to {path.parent}; {kept}. Check the free space."
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a run saved: "module", "optimizers" (state dicts), "step", and "ema" if weights were averaged.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        _ = saved["module"].keys(), saved["optimizers"].keys(), int(saved["step"])
    except FileNotFoundError as error:
        raise UsageError(f"There is no checkpoint {path}: train first, with specvq train.") from error
    except _DAMAGED as error:
        raise UsageError(f"{path} is damaged or no checkpoint: remove it, or name another run.") from error
    return saved


def load_checkpoint(module: nn.Module, saved: dict[str, Any], path: Path, averaged: bool = True) -> None:
    """Put what was read from `path` into a module, averaged weights if there are any and they are wanted.

    Raises:
        UsageError: it is of another configuration.
    """
    try:
        state = saved["module"]
        if averaged and "ema" in saved:
            state = {**state, **saved["ema"]["values"]}
        module.load_state_dict(state)
    except (RuntimeError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is of another configuration: name the one that it was trained with.") from error
