"""Tensors in fewer bits than they are computed with, as bundles store them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..bitstream import UsageError, WeightsError

Tensors: TypeAlias = dict[str, npt.NDArray[Any]]
Precision: TypeAlias = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")

_SCALE = ".scale"  # at the end of the name of an int8 tensor: the name of its scales


def checked_precision(name: str) -> Precision:
    """The precision of this name; UsageError if there is none."""
    for precision in PRECISIONS:
        if name == precision:
            return precision
    raise UsageError(f"Weights are stored in {', '.join(PRECISIONS)}, not in {name!r}.")


def reduced(tensors: Mapping[str, npt.NDArray[Any]], precision: Precision) -> Tensors:
    """Tensors to store.

    Args:
        tensors: floating point, by state-dict key.
        precision: "int8" rounds what is called `weight` and has rows (of layers and embeddings) to integers from -127
            to 127, times a float32 scale for each row, `KEY.scale` (rows,); everything else becomes float16.

    Raises:
        WeightsError: some numbers are too large, or none.
    """
    stored: Tensors = {}
    with np.errstate(over="ignore", invalid="ignore"):  # it is told below
        for key, tensor in tensors.items():
            if precision == "int8" and key.endswith("weight") and tensor.ndim > 1:
                stored[key], stored[key + _SCALE] = _rounded(tensor)
            else:
                stored[key] = tensor.astype(np.float32 if precision == "float32" else np.float16)
    large = [key for key, tensor in stored.items() if not np.isfinite(tensor).all()]
    if large:
        raise WeightsError(f"Too large for {precision} are {', '.join(large[:5])}: store them in float32.")
    return stored


def restored(stored: Mapping[str, npt.NDArray[Any]]) -> Tensors:
    """What `reduced` was given, but for rounding: int8 tensors as float32, all others as they are.

    Raises:
        ValueError: an int8 tensor and its scales do not belong together.
    """
    tensors: Tensors = {}
    for key, tensor in stored.items():
        if key.endswith(_SCALE) and _is_int8(stored.get(key.removesuffix(_SCALE))):
            continue
        if _is_int8(tensor):
            scale = stored.get(key + _SCALE)
            if scale is None or scale.dtype != np.float32 or scale.shape != tensor.shape[:1]:
                raise ValueError(f"{key} has no scales, or not one for each row")
            tensor = tensor * scale.reshape(-1, *[1] * (tensor.ndim - 1))
        tensors[key] = tensor
    return tensors


def _is_int8(tensor: npt.NDArray[Any] | None) -> bool:
    return tensor is not None and tensor.dtype == np.int8


def _rounded(tensor: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Integers of a tensor (rows, ...), and a scale for each of its rows."""
    rows = tensor.reshape(len(tensor), -1)
    scale = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
    integers = np.rint(rows / np.where(scale > 0, scale, 1)[:, None]).clip(-127, 127)
    return integers.astype(np.int8).reshape(tensor.shape), scale
