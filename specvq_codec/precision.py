"""How exactly a sampler computes: what it samples is as good either way, and takes more or less time."""

from __future__ import annotations

import torch

from .bitstream.errors import UsageError
from .models.int8 import is_available, to_int8
from .models.transformer import Transformer

PRECISIONS = ("auto", "float32", "int8", "bfloat16")
_LARGE = 8_000_000  # weights: a smaller network stays in the processor's caches, and 8 bits gain nothing


def check_precision(name: str, device: torch.device) -> None:
    """Raise UsageError if there is no such precision, or not on this device."""
    if name not in PRECISIONS:
        raise UsageError(f"There is no precision {name!r}: use {', '.join(PRECISIONS)}.")
    if name == "int8" and device.type != "cpu":
        raise UsageError(f"int8 is for the CPU, and the device is {device}: use --precision bfloat16 or float32.")
    if name == "int8" and not is_available():
        raise UsageError("int8 cannot be used with this processor or this torch: use --precision float32.")


def with_precision(network: Transformer, name: str) -> Transformer:
    """A network of float32 in the precision it is to sample in; the one given is used up.

    Args:
        network: on its device, in eval mode.
        name: "float32"; "int8": 8-bit weights, on the CPU; "bfloat16": everything, for GPUs; or "auto": int8 for large
            networks where it can be used, else float32.

    Raises:
        UsageError: there is no such precision, or not on this device.
    """
    device = network.pos_emb.device
    check_precision(name, device)
    if name == "auto":
        large = sum(weight.numel() for weight in network.parameters()) >= _LARGE
        name = "int8" if large and device.type == "cpu" and is_available() else "float32"
    if name == "int8":
        return to_int8(network)
    return network.to(torch.bfloat16) if name == "bfloat16" else network
