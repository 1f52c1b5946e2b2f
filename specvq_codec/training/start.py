"""Networks that begin where others ended."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..bitstream.errors import UsageError
from ..weights import locate
from .checkpoints import read_checkpoint


def load_start(network: nn.Module, start: Path, part: str, prefix: str = "") -> None:
    """Fill a network from a weight bundle or an earlier run.

    Args:
        network: of the same shape.
        start: folder of a bundle, or of a run with last.pt (its averaged weights, if there are any).
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
    elif (start / "config.json").exists():
        state = {key: torch.from_numpy(tensor) for key, tensor in locate(str(start)).tensors(part).items()}
    else:
        raise UsageError(f"{start} is neither a weight bundle nor a training run: give the folder of one.")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"The networks in {start} are of another configuration than the one to train.") from error
