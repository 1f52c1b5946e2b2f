"""Training by several processes under torchrun: PyTorch's DistributedDataParallel, and sums over all processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")

# Seconds for gloo's threads to let go of Python objects (contexts of backward passes), for which they need the
# interpreter's lock: one that still waits for it when the interpreter ends aborts the process.
_FAREWELL = 0.5


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; one alone without torchrun."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, validates and talks."""
        return self.rank == 0

    def wrap(self, player: nn.Module) -> nn.Module:
        """The player with its gradients averaged over all processes."""
        return player if self.count == 1 else DistributedDataParallel(player)

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.count > 1:
            dist.barrier()

    def gather(self, value: T) -> list[T] | None:
        """What all processes have, in their order, for the one that leads; None for the others."""
        if self.count == 1:
            return [value]
        values: list[T] | None = [value] * self.count if self.leads else None
        dist.gather_object(value, values)
        return values

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in one of the processes."""
        return bool(sum_over_processes(torch.tensor(float(flag), device=device))) if self.count > 1 else flag


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process among several on a machine, where a GPU was asked for."""
    local = os.environ.get("LOCAL_RANK")
    return torch.device("cuda", int(local)) if device.type == "cuda" and local is not None else device


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, as one group inside the context; a group that is there already is used."""
    if dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
        time.sleep(_FAREWELL)


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Add a tensor up over all processes, in place; the tensor itself where there is only one."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def share_first(tensor: Tensor) -> Tensor:
    """Give every process the first one's tensor, in place."""
    if dist.is_initialized():
        dist.broadcast(tensor, 0)
    return tensor
