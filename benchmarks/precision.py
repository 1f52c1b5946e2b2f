"""What fewer bits do to a trained sampler: bits per index on the validation split, and how far predictions move.

    python benchmarks/precision.py PACK RUN [--weights BUNDLE]

RUN is that of a sampler training on the tokens of PACK. Each row stores its sampler in one precision and computes in
another; the first window of every recording is predicted, without a condition.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from pathlib import Path

import torch
from common import print_table
from torch import Tensor

from specvq_codec import Codec
from specvq_codec.training.export import export_sampler
from specvq_codec.training.tokens import TokenPack, TokenWindows
from specvq_codec.weights import load_bundle, locate
from specvq_codec.weights.stored import Precision

KINDS: list[tuple[Precision, str]] = [
    ("float32", "float32"),
    ("float16", "float32"),
    ("int8", "float32"),
    ("float32", "int8"),
    ("int8", "int8"),
    ("float32", "bfloat16"),
]


@torch.inference_mode()
def predictions(codec: Codec, windows: TokenWindows) -> tuple[Tensor, Tensor]:
    """Log-probabilities (N, K) of what could come, and indices (N,) that came, in nats."""
    network = codec.sampler
    real = torch.arange(windows.indices.shape[1]) < windows.lengths[:, None]
    found = []
    for first in range(0, len(real), 32):
        rows = slice(first, first + 32)
        logits = network(windows.indices[rows, :-1])[:, network.config.condition_length - 1 :]
        found.append(logits.float().log_softmax(-1)[real[rows]])
    return torch.cat(found), windows.indices[real]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--weights", help="bundle of the tokens; the default one if not given")
    options = parser.parse_args()
    rows, exact = [], None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(locate(options.weights).path, Path(name) / "bundle"))
        for stored, computed in KINDS:
            bundle = export_sampler(load_bundle(folder), options.run, stored)
            codec = Codec(bundle, "cpu", "griffin-lim", computed)
            windows = TokenPack(options.pack, "valid", bundle, codec.sampler.config.columns, False).first_windows()
            chances, came = predictions(codec, windows)
            exact = chances if exact is None else exact
            bits = -chances.gather(1, came[:, None]).mean().item() / math.log(2)
            moved = (exact.exp() * (exact - chances)).sum(1).mean().item()
            same = (exact.argmax(1) == chances.argmax(1)).float().mean().item()
            size = (folder / "sampler.safetensors").stat().st_size / 1e6
            rows.append([f"{stored}, {computed}", f"{size:.1f}", f"{bits:.4f}", f"{moved:.1e}", f"{same:.1%}"])
    print(f"{len(came)} indices")
    print_table(["stored, computed in", "MB", "bits per index", "KL from float32, nats", "same likeliest index"], rows)


if __name__ == "__main__":
    main()
