"""Access to the parity vectors in `tests/golden`: see the README there."""

import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from specvq_codec.models.autoencoder import Autoencoder, AutoencoderConfig

GOLDEN = Path(__file__).parent / "golden"


def _fill_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill", GOLDEN / "fill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fill = _fill_module()


@cache
def numbers(part: str) -> dict[str, Any]:
    """`<part>.json`."""
    return json.loads((GOLDEN / f"{part}.json").read_text())


@cache
def arrays(part: str) -> dict[str, np.ndarray]:
    """`<part>.npz`."""
    with np.load(GOLDEN / f"{part}.npz") as stored:
        return dict(stored)


def made(recipe: str, **arrays: np.ndarray) -> Tensor:
    """The input that a recipe of the json files describes, with the arrays that it names."""
    return torch.from_numpy(eval(recipe, {**vars(fill), "np": np, "salt": 0, **arrays}))


@cache
def _filled(name: str, shape: tuple[int, ...], overrides: tuple[tuple[str, str, float], ...]) -> Tensor:
    return torch.from_numpy(fill.fill(name, shape, 0, overrides))


def filled(shapes: dict[str, Any], overrides: Sequence[Any] = ()) -> dict[str, Tensor]:
    """Tensors by name, filled from their names. Not to be changed: cases share them."""
    rules = tuple(tuple(rule) for rule in overrides)
    return {name: _filled(name, tuple(shape), rules) for name, shape in shapes.items()}


def plain_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight normalisation undone: w = g v / |v|, the norm over all but the first dimension."""
    weights = {}
    for name, tensor in stored.items():
        if name.endswith(".weight_v"):
            direction = tensor.double()
            gain = stored[name[:-1] + "g"].double()
            length = direction.flatten(1).norm(dim=1).reshape(gain.shape)
            weights[name[: -len("_v")]] = (gain * direction / length).float()
        elif not name.endswith(".weight_g"):
            weights[name] = tensor
    return weights


def summary(x: Tensor) -> dict[str, float]:
    """The numbers of a golden "summary", without the shape."""
    x = x.double()
    variance, mean = torch.var_mean(x, correction=0)
    return {
        "mean": mean.item(),
        "std": variance.sqrt().item(),
        "min": x.min().item(),
        "max": x.max().item(),
        "l2": x.norm().item(),
    }


def largest_difference(x: Tensor, golden: np.ndarray) -> float:
    """The largest absolute difference; shapes must be equal."""
    assert tuple(x.shape) == golden.shape
    return float(np.abs(x.detach().numpy().astype(np.float64) - golden).max())


def autoencoder_config(case: str) -> AutoencoderConfig:
    """The configuration of a golden autoencoder case."""
    given = numbers("autoencoder")["cases"][case]
    network = given["ddconfig"]
    levels = range(len(network["ch_mult"]))
    return AutoencoderConfig(
        channels=tuple(network["ch"] * factor for factor in network["ch_mult"]),
        num_res_blocks=network["num_res_blocks"],
        # the reference names a resolution by the width that a window of 848 frames has there
        attention_levels=tuple(i for i in levels if network["resolution"] // 2**i in network["attn_resolutions"]),
        z_channels=network["z_channels"],
        embed_dim=given["embed_dim"],
        codebook_size=given["n_embed"],
    )


@cache
def autoencoder(case: str) -> Autoencoder:
    """The filled network of a golden case. Not to be changed."""
    with torch.device("meta"):
        model = Autoencoder(autoencoder_config(case))
    shapes = numbers("autoencoder")["cases"][case]["keys"]
    model.load_state_dict(filled(shapes, numbers("autoencoder")["overrides"]), assign=True)
    return model.eval().requires_grad_(False)


@contextmanager
def observe(model: nn.Module, names: list[str], look: Callable[[Tensor], Any]) -> Iterator[dict[str, Any]]:
    """A dictionary that is filled with `look(output)` of each named submodule when the model runs."""
    seen: dict[str, Any] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _args, out, name=name: seen.__setitem__(name, look(out))
        )
        for name in names
    ]
    yield seen
    for hook in hooks:
        hook.remove()
