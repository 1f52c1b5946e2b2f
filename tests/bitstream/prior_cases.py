"""Random priors, for tests: of no use for coding, but with everything in them that a trained one has."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]


def tables() -> Tensors:
    """Tables as the export makes them, but coarser."""
    places = np.arange(-256, 256) / 32
    silu = places / (1 + np.exp(-places)) / 4
    return {
        "tables.tanh": np.round(127 * np.tanh(places)).astype(np.int8),
        "tables.candidate": np.round(2**14 * np.tanh(places)).astype(np.int16),
        "tables.sigmoid": np.round(255 / (1 + np.exp(-places))).astype(np.uint8),
        "tables.hidden": np.round(np.minimum(128 * silu, 127)).astype(np.int8),
        "tables.exponential": np.round(2**20 * np.exp(-np.arange(500) / 32)).astype(np.int32),
    }


def random_prior(
    codebook_size: int = 64, depth: int = 4, width: int = 12, layers: int = 2, hidden: int = 10, output: int = 6,
    seed: int = 0,
) -> Tensors:  # fmt: skip
    """Tensors of a prior whose frequencies differ by much from index to index and from context to context."""
    rng = np.random.default_rng(seed)
    sizes = {"columns.input": (width, 5 * depth), "codes": (codebook_size, output)}
    sizes |= {f"columns.{number}": (3 * width, 2 * width) for number in range(layers)}
    for row in range(5):
        sizes[f"rows.{row}.hidden"] = hidden, width + (10 + row) * depth
        sizes[f"rows.{row}.output"] = output, hidden
    tensors = tables() | {"embedding": rng.integers(-127, 128, (codebook_size, depth)).astype(np.int8)}
    for name, (outputs, inputs) in sizes.items():
        tensors[f"{name}.weight"] = np.clip(rng.normal(0, 48, (outputs, inputs)), -127, 127).astype(np.int8)
        bias = (5, outputs) if name == "codes" else (outputs,)
        tensors[f"{name}.bias"] = rng.normal(0, 2000, bias).astype(np.int32)
        shift = 6 + int(np.log2(inputs) / 2)
        tensors[f"{name}.shift"] = rng.integers(shift, shift + 2, outputs).astype(np.uint8)
    return tensors
