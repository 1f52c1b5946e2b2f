"""The training loop that every stage shares."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..bitstream.errors import SpecVQError, UsageError
from .checkpoints import Averages, load_checkpoint, read_checkpoint, save_checkpoint
from .distributed import Processes, joined
from .monitor import Monitor, Samples


@dataclass(frozen=True)
class LoopConfig:
    """How long, how fast and in what arithmetic to learn."""

    steps: int
    learning_rate: float = 3e-4
    warmup: int = 100  # steps over which the learning rate rises; then it falls along a half cosine to 2 %
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    decayed: Literal["all", "linear"] = "all"  # what the decay pulls at: everything, or linear layers' weights
    grad_clip: float = 1.0  # largest gradient norm
    ema: float = 0.0  # decay of averaged weights, which are validated and exported; 0 averages nothing
    precision: Literal["float32", "bfloat16"] = "float32"  # of products and convolutions (mixed precision)
    compile: bool = False  # the networks by torch.compile: quicker on a GPU, after minutes of preparation
    seed: int = 0
    log_every: int = 50
    save_every: int = 500

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.learning_rate < inf:
            raise ValueError(f"learning_rate must be a number above 0, not {self.learning_rate}")
        if not self.grad_clip > 0:
            raise ValueError(f"grad_clip must be above 0, or inf, not {self.grad_clip}")
        require_from_zero(self, "warmup", "weight_decay", "seed")
        if not all(0 <= decay < 1 for decay in (*self.betas, self.ema)):
            raise ValueError(f"betas and ema must be from 0 to below 1, not {self.betas} and {self.ema}")
        if self.seed >= 2**32:  # every step makes larger ones of it, which have 64 bits
            raise ValueError(f"seed must be below 2 ** 32, not {self.seed}")


def require_from_zero(settings: object, *names: str) -> None:
    """Raise ValueError unless these settings are finite numbers from 0 up."""
    for name in names:
        if not 0 <= getattr(settings, name) < inf:
            raise ValueError(f"{name} must be a number from 0 up, not {getattr(settings, name)}")


def require_batch(size: int) -> None:
    """Raise ValueError if that is no number of examples to learn from at a time."""
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, not {size}")


class Task(Protocol):
    """What a stage adds to the loop."""

    @property
    def module(self) -> nn.Module:
        """Everything that is trained or kept; its state is the checkpoint."""

    @property
    def players(self) -> dict[str, nn.Module]:
        """Who learns, in the order in which they move, each with an optimiser of its own.

        A player is called with a batch and the step, and returns its loss and detached scalars to show. It may put
        detached tensors into the batch for those that move after it. Networks of other players that it uses must not
        be among its submodules.
        """

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The parts worth compiling."""

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """A new batch on the device, which depends on the random generator alone."""

    def validate(self) -> dict[str, float]:
        """Numbers on the validation split."""

    def samples(self) -> Samples:
        """A few results on the validation split."""


class TrainingError(SpecVQError):
    """Training cannot go on."""

    exit_code = 1


class Stopped(SpecVQError):
    """Training was asked to stop, and has saved where it was."""

    exit_code = 130


def learning_rate(step: int, config: LoopConfig) -> float:
    """The learning rate of a step: a linear rise, then half a cosine."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, progress)))))


def parameter_groups(player: nn.Module, config: LoopConfig) -> list[dict[str, Any]]:
    """The parameters that learn, in groups of one weight decay each, as an optimiser takes them."""
    learning = [parameter for parameter in player.parameters() if parameter.requires_grad]
    if config.decayed == "all":
        return [{"params": learning, "weight_decay": config.weight_decay}]
    linear = {id(module.weight) for module in player.modules() if isinstance(module, nn.Linear)}
    pulled = [parameter for parameter in learning if id(parameter) in linear]
    others = [parameter for parameter in learning if id(parameter) not in linear]
    return [{"params": pulled, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]


def train(task: Task, config: LoopConfig, run: Path) -> dict[str, float]:
    """Train to `config.steps`, going on from `run/last.pt` if it is there; returns the last validation.

    Batches and random numbers depend on the seed and the step alone, so a resumed run computes what an uninterrupted
    one would. Under torchrun every process takes batches of its own, gradients are averaged, and the first process
    alone writes, validates and returns numbers.

    Raises:
        TrainingError: a loss or its gradient is not finite; the last checkpoint stays.
        Stopped: by Ctrl-C or SIGTERM, after the step at hand and a checkpoint.
    """
    device = next(task.module.parameters()).device
    with joined(device) as processes:
        trainer = _Trainer(task, config, run, device, processes)
        if processes.leads:
            run.mkdir(parents=True, exist_ok=True)
        with Monitor(run, trainer.step, config.steps) if processes.leads else nullcontext() as monitor:
            return trainer.train(monitor)


class _Trainer:
    """A task, its optimisers and averages at some step."""

    def __init__(self, task: Task, config: LoopConfig, run: Path, device: torch.device, processes: Processes) -> None:
        self.task, self.config, self.path, self.device, self.processes = (
            task,
            config,
            run / "last.pt",
            device,
            processes,
        )
        self.optimizers = {
            name: torch.optim.AdamW(parameter_groups(player, config), betas=config.betas)
            for name, player in task.players.items()
        }
        self.step = 0
        saved = self._resumed() if self.path.exists() else {}
        self.averages = Averages(task.module, config.ema) if config.ema else None
        if self.averages is not None and "ema" in saved:
            self.averages.restore(saved["ema"]["values"], saved["ema"]["steps"])
        if config.compile:
            for network in task.networks:
                network.compile()
        self.players = {name: processes.wrap(player) for name, player in task.players.items()}

    def train(self, monitor: Monitor | None) -> dict[str, float]:
        config, started, first = self.config, time.monotonic(), self.step
        numbers: dict[str, float] | None = None
        with _asked_to_stop() as stop:
            while self.step < config.steps:
                shown = self._move()
                self.step += 1
                stopping = self.processes.any(stop.is_set(), self.device)
                if monitor is not None:
                    monitor.tick(self.step)
                if self.step % config.log_every == 0:
                    self._require_finite(list(shown.values()))
                    if monitor is not None:
                        rate = (self.step - first) / (time.monotonic() - started)
                        monitor.log(self.step, {"per_second": rate, **{k: float(v) for k, v in shown.items()}})
                done = self.step % config.save_every == 0 or self.step == config.steps
                if done or stopping:
                    self._require_finite(list(self.task.module.parameters()))
                    self._save()
                if done:
                    numbers = self._validate(monitor)
                if stopping:
                    raise Stopped(
                        f"Stopped after step {self.step} of {config.steps}; the same command goes on from there."
                    )
        return self._validate(None) if numbers is None else numbers

    def _move(self) -> dict[str, Tensor]:
        """One step of every player; returns what they show."""
        config, rank, count = self.config, self.processes.rank, self.processes.count
        number = self.step * count + rank
        torch.manual_seed(config.seed * 1_000_003 + number)
        batch = self.task.batch(np.random.default_rng((config.seed, number)))
        shown: dict[str, Tensor] = {}
        for name, player in self.players.items():
            optimizer = self.optimizers[name]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss, numbers = player(batch, self.step)
            shown.update(numbers)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.step, config)
            learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            norm = torch.nn.utils.clip_grad_norm_(learning, config.grad_clip)
            if self.device.type == "cpu":  # elsewhere, looking at a number would make the device wait
                self._require_finite([loss, norm])
            optimizer.step()
        if self.averages is not None:
            self.averages.update()
        return shown

    def _require_finite(self, tensors: list[Tensor]) -> None:
        if all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            return
        kept = f"{self.path} holds the last good one" if self.path.exists() else "nothing was saved"
        raise TrainingError(
            f"A loss or its gradient was no longer finite at step {self.step}; {kept}. Try a lower learning rate."
        )

    def _save(self) -> None:
        if not self.processes.leads:
            return
        saved: dict[str, Any] = {
            "module": self.task.module.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "step": self.step,
        }
        if self.averages is not None:
            saved["ema"] = {"values": self.averages.values, "steps": self.averages.steps}
        save_checkpoint(self.path, saved)

    def _resumed(self) -> dict[str, Any]:
        """What was saved, after networks, optimisers and the step are as they were then."""
        saved = read_checkpoint(self.path)
        load_checkpoint(self.task.module, saved, self.path, averaged=False)
        for name, optimizer in self.optimizers.items():
            asked = [{key: group[key] for key in ("betas", "weight_decay")} for group in optimizer.param_groups]
            try:
                optimizer.load_state_dict(saved["optimizers"][name])
            except (KeyError, ValueError) as error:
                raise UsageError(
                    f"{self.path.parent} was trained with another `decayed` or other losses: "
                    "configure it as it was, or name another folder (--out)."
                ) from error
            for group, settings in zip(optimizer.param_groups, asked, strict=True):
                group.update(settings)  # those of the configuration count, not those that were saved
        self.step = int(saved["step"])
        return saved

    def _validate(self, monitor: Monitor | None) -> dict[str, float]:
        numbers: dict[str, float] = {}
        if self.processes.leads:
            module = self.task.module.eval()
            with self.averages.applied() if self.averages is not None else nullcontext(), torch.inference_mode():
                numbers = self.task.validate()
                if monitor is not None:
                    monitor.log(self.step, numbers)
                    monitor.show(self.step, self.task.samples())
            module.train()
        self.processes.wait()
        return numbers


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Set when Ctrl-C or SIGTERM comes; the second time, they do what they always do."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(*_: object) -> None:
        asked.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()
