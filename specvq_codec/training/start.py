"""Networks that begin where others ended."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..bitstream.errors import UsageError, WeightsError
from ..weights import Bundle, locate
from .checkpoints import read_checkpoint


def load_start(network: nn.Module, start: Path, part: str, prefix: str = "") -> None:
    """Fill a network from a weight bundle or an earlier run.

    Args:
        network: of the same shape.
        start: folder or name of a bundle, or folder of a run with last.pt (its averaged weights, if there are any).
        part: of the bundle: "codebook", "vocoder" or "sampler".
        prefix: of the network's names in the run's checkpoint.

    Raises:
        UsageError: there is neither, or it is of another configuration.
        WeightsError: the bundle is damaged.
    """
    if (start / "last.pt").exists():
        saved = read_checkpoint(start / "last.pt")
        state = {**saved["module"], **saved.get("ema", {}).get("values", {})}
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    else:
        state = {key: torch.from_numpy(tensor) for key, tensor in _bundle(start).tensors(part).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"The networks in {start} are of another configuration than the one to train.") from error


def _bundle(start: Path) -> Bundle:
    try:
        return locate(str(start))
    except WeightsError as error:
        if (start / "config.json").exists():  # it is one, and damaged
            raise
        raise UsageError(
            f"{start} is neither a weight bundle nor a training run: give the folder of one, or a bundle's name."
        ) from error
