"""Networks with the weights of a bundle, of which nothing is believed before it was compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .bitstream.errors import WeightsError
from .weights import Bundle

Network = TypeVar("Network", bound=nn.Module)
_DEPTHS = ("num_res_blocks", "num_res_layers", "n_layer")  # settings that tell how many parts a network has


class _Unfilled(TorchFunctionMode):
    """Modules that are made in this context do not fill their parameters, which takes longer than loading them."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__name__", "") in ("uniform_", "normal_", "fill_", "zero_"):
            return None
        return function(*args, **(kwargs or {}))


def network_of(
    kind: Callable[[Any], Network], config_kind: type[Any], settings: dict[str, Any], bundle: Bundle, part: str
) -> Network:
    """A network with the weights of a bundle, float32, in eval mode; settings that ask for much take no memory.

    Args:
        kind: class of the network.
        config_kind: dataclass of its configuration.
        settings: what to fill that with.
        bundle: which has the weights.
        part: of the bundle: "codebook", "vocoder" or "sampler".

    Raises:
        WeightsError: the settings make no network, or one of other shapes than the weights.
    """
    names = {field.name for field in dataclasses.fields(config_kind)}
    if set(settings) - names:
        raise WeightsError(f"{bundle.path} has settings that this version does not know: install a newer specvq-codec.")
    tensors = {key: torch.from_numpy(value).float() for key, value in bundle.tensors(part).items()}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    try:
        if any(values.get(depth, 1) > len(tensors) for depth in _DEPTHS):
            raise ValueError("it is deeper than its weights")
        with torch.device("meta"), _Unfilled():  # takes no memory, however large the settings say that it is
            network = kind(config_kind(**values))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise WeightsError(f"{bundle.path} has settings that make no network ({error}): get it again.") from error
    wanted = network.state_dict()
    for key in sorted(set(wanted) | set(tensors)):
        if key not in tensors or key not in wanted or wanted[key].shape != tensors[key].shape:
            raise WeightsError(f"{key} in {bundle.path} ({part}) is missing, unknown or of the wrong shape.")
    network.load_state_dict(tensors, assign=True)
    return network.eval()
