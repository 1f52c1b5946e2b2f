"""Tensors of foreign checkpoints, held against the network that they are to fill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .bitstream.errors import WeightsError

_SHOWN = 5  # keys that an error message names


def verified(state: Mapping[str, Any], model: nn.Module, what: str) -> dict[str, Tensor]:
    """The tensors of a state dict, exactly those of the model and of its types.

    Args:
        state: whatever a checkpoint holds.
        model: with the keys, shapes and types that are wanted.
        what: to call it in messages.

    Raises:
        WeightsError: keys are missing or unknown, or a tensor is of another shape, not finite, or shares its data.
    """
    expected = model.state_dict()
    refuse([key for key in expected if key not in state], f"The {what} lacks the keys")
    refuse([key for key in state if key not in expected], f"The {what} has unknown keys")
    wrong = []
    for key, own in expected.items():
        tensor = state[key]
        if not isinstance(tensor, Tensor) or tensor.is_floating_point() != own.is_floating_point():
            wrong.append(f"{key} (no tensor of numbers)")
        elif tensor.shape != own.shape:
            wrong.append(f"{key} (is {list(tensor.shape)}, must be {list(own.shape)})")
    refuse(wrong, f"The {what} has tensors of the wrong shape")
    refuse_shared(state, what)
    tensors = {key: state[key].to(own.dtype).contiguous() for key, own in expected.items()}
    refuse([key for key, tensor in tensors.items() if not tensor.isfinite().all()], f"The {what} is not finite in")
    return tensors


def refuse_shared(state: Mapping[str, Any], what: str) -> None:
    """Refuse tensors that are more than the data they share: converted, each takes memory of its own."""
    tensors = [tensor for tensor in state.values() if isinstance(tensor, Tensor)]
    storages = [tensor.untyped_storage() for tensor in tensors]
    held = {storage.data_ptr(): storage.nbytes() for storage in storages}
    if sum(tensor.nbytes for tensor in tensors) > sum(held.values()):
        raise WeightsError(f"The {what} has tensors that share data: give a checkpoint of the reference's networks.")


def refuse(keys: list[str], complaint: str) -> None:
    """Raise WeightsError with a complaint about some keys, if there are any."""
    if keys:
        more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        raise WeightsError(
            f"{complaint} {', '.join(keys[:_SHOWN])}{more}: give a checkpoint of the reference's networks."
        )
