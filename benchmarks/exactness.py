"""Is learned coding the same everywhere? Frequencies and bytes by several ways to compute, each in its own process.

python benchmarks/exactness.py PACK [--weights BUNDLE] [--real 10000] [--random 100000]

The pack needs tokens (`specvq data tokenize`). Grids of 8 columns, real ones taken from anywhere in the recordings, and
uniformly random ones of 2 columns, which are unlike anything that a prior has seen. Each way gives a SHA-256 over all
frequencies and, of every hundredth real grid, over the bytes that it is coded in; all must be equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import print_table

from specvq_codec.bitstream import CodingModel, Prior
from specvq_codec.bitstream.learned import decode_learned, encode_learned
from specvq_codec.training.tokens import tokens_path
from specvq_codec.weights import locate

Grids = npt.NDArray[np.int16]
BATCH = 100
# name: how products are computed, and the environment of the process
WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "numpy, float32, 1 thread": ("numpy", {"OPENBLAS_NUM_THREADS": "1"}),
    "numpy, float32, 2 threads": ("numpy", {"OPENBLAS_NUM_THREADS": "2"}),
    "numpy, float64": ("double", {}),
    "numpy, kernels for Nehalem": ("numpy", {"OPENBLAS_CORETYPE": "Nehalem"}),
    "numpy, kernels for Sandy Bridge": ("numpy", {"OPENBLAS_CORETYPE": "Sandybridge"}),
    "numpy, without BLAS": ("einsum", {}),
    "torch, 1 thread": ("torch", {"OMP_NUM_THREADS": "1"}),
    "torch, 2 threads": ("torch", {"OMP_NUM_THREADS": "2"}),
    "index by index": ("steps", {}),
}


def torch_product(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """A matrix product by torch."""
    import torch

    return (torch.from_numpy(np.ascontiguousarray(a)) @ torch.from_numpy(b)).numpy()


def frequencies(prior: Prior, way: str, grids: Grids) -> npt.NDArray[np.int32]:
    """Frequencies (B, T, 5, K) of grids (B, T, 5): of all at once, or index by index."""
    if way != "steps":
        return prior.frequencies(grids)
    steps, found = prior.start(len(grids)), []
    for indices in grids.reshape(len(grids), -1).T:
        found.append(steps.frequencies())
        steps.push(indices)
    return np.stack(found, axis=1).reshape(*grids.shape, -1)


def real_grids(path: Path, count: int) -> Grids:
    """Grids (count, 8, 5) from anywhere in the indices of a pack; a few run across the end of a recording."""
    with np.load(path) as tokens:
        indices = tokens["indices"]
    starts = np.random.default_rng(0).integers(0, len(indices) - 8, count)
    return np.asarray(indices[starts[:, None] + np.arange(8)], dtype=np.int16)


def batches(grids: Grids) -> Iterator[Grids]:
    """The grids, some at a time."""
    for first in range(0, len(grids), BATCH):
        yield grids[first : first + BATCH]


def digest(options: argparse.Namespace, way: str) -> str:
    """One way's digest."""
    bundle = locate(options.weights)
    engines = {"torch": torch_product, "einsum": lambda a, b: np.einsum("...n,nm->...m", a, b, optimize=False)}
    prior = Prior(bundle.tensors("prior"), engines.get(way, np.matmul), double=way == "double")
    model = CodingModel(prior.codebook_size, prior=prior)
    found = hashlib.sha256()
    random = np.random.default_rng(1).integers(0, prior.codebook_size, (options.random, 2, 5), dtype=np.int16)
    path = tokens_path(options.pack, bundle.fingerprint)
    for grids in (*batches(real_grids(path, options.real)), *batches(random)):
        found.update(frequencies(prior, way, grids).tobytes())
    for grid in real_grids(path, options.real)[::100]:
        payload = encode_learned(grid, model)
        (decoded,) = decode_learned([payload], [len(grid)], model)
        assert np.array_equal(decoded, grid)
        found.update(payload)
    return found.hexdigest()


def main() -> None:
    """Run every way, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--weights", help="bundle; the default one if not given")
    parser.add_argument("--real", type=int, default=10_000)
    parser.add_argument("--random", type=int, default=100_000)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(digest(options, options.way)))
        return
    print(f"{options.real} real grids of 8 columns, {options.random} random ones of 2", flush=True)
    rows, digests = [], set()
    for name, (way, environment) in WAYS.items():
        started = time.perf_counter()
        command = [sys.executable, *sys.argv, "--way", way]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
        digests.add(json.loads(done.stdout))
        rows.append([name, json.loads(done.stdout)[:16], f"{time.perf_counter() - started:.0f}"])
    print_table(["way to compute", "digest", "seconds"], rows)
    print("All are equal." if len(digests) == 1 else f"{len(digests)} DIFFERENT RESULTS")
    sys.exit(len(digests) != 1)


if __name__ == "__main__":
    main()
