"""Linear layers in exact integers, computed by the matrix products of floating-point numbers.

A sum of products of integers is exact in floating point, in any order of summation, on any processor and library, as
long as no sum can leave the integers that the type represents: up to 2^24 in float32, up to 2^53 in float64. The
weights tell how large a sum can become, so every layer proves when it is made that it is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import WeightsError

__all__ = ["Array", "Engine", "Linear", "Table"]

Array = npt.NDArray[Any]
Engine = Callable[[Array, Array], Array]
"""A matrix product, (..., N) and (N, M) of one floating-point type to (..., M), in which TF32 and the like are off."""

INPUT_LIMIT = 128
"""The inputs of every layer are int8: their magnitudes are at most this."""

SUM_LIMIT = 2**31
"""Magnitudes of sums stay below this, so that 32-bit integers serve a reader as well."""

FLOAT32_EXACT = 2**24


class Linear:
    """The integers y[i] = (sum over j of weight[i, j] * x[j] + bias[i]) >> shift[i].

    Args:
        weight: int8, (M, N).
        bias: int32, (M,).
        shift: uint8, (M,), at most 31.
        engine: computes matrix products.
        double: use float64 even where float32 is exact.

    Raises:
        WeightsError: a sum could leave 32 bits.
    """

    def __init__(self, weight: Array, bias: Array, shift: Array, engine: Engine, double: bool = False) -> None:
        bound = INPUT_LIMIT * np.abs(weight.astype(np.int64)).sum(axis=1) + np.abs(bias.astype(np.int64))
        if bound.max() >= SUM_LIMIT or shift.max() > 31:
            raise WeightsError("A sum of the weights' prior could leave 32 bits: get the bundle again.")
        # Not only the whole sum: with magnitudes in place of numbers, the bound holds for all parts of it, too.
        self.dtype = np.dtype(np.float64 if double or bound.max() > FLOAT32_EXACT else np.float32)
        self._weight = np.ascontiguousarray(weight.T, dtype=self.dtype)  # (N, M)
        self._bias = bias.astype(self.dtype)
        self._shift = shift.astype(np.int64)
        self._engine = engine

    def __call__(self, x: Array) -> Array:
        """The outputs, int64 (..., M), of inputs (..., N), integers from -128 to 127 of any type."""
        return self.shifted(self.sums(x))

    def sums(self, x: Array) -> Array:
        """The sums before the shift, (..., M), integers in the layer's own type."""
        sums = self._engine(x.astype(self.dtype, copy=False), self._weight)
        sums += self._bias
        return sums

    def shifted(self, sums: Array) -> Array:
        """What a layer makes of such sums: int64 (..., M)."""
        integers = sums.astype(np.int64)
        integers >>= self._shift
        return integers


class Table:
    """A function of integers that is given by its values from -len/2 on, and by the outermost ones beyond them.

    Args:
        values: (N,).
        dtype: of what the function gives.
    """

    def __init__(self, values: Array, dtype: npt.DTypeLike) -> None:
        self._values, self._half = np.ascontiguousarray(values, dtype=dtype), len(values) // 2

    def __call__(self, places: Array) -> Array:
        """The values at integers of any shape."""
        return self._values.take(places + self._half, mode="clip")
