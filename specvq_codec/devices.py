"""Where networks run."""

from __future__ import annotations

import torch

from .bitstream.errors import UsageError


def pick_device(name: str) -> torch.device:
    """The torch device that a name means; raises UsageError if this machine has none of that kind."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:  # which lists all that torch can be built for
        raise UsageError(f"There is no device {name!r}: use auto, cpu, cuda or mps.") from error
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UsageError(f"The device {name!r} cannot be used here ({reason}): use --device cpu.") from error
    return device
