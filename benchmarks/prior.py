"""What integers cost a prior: bits per index on the validation split, in blocks as files have them.

    python benchmarks/prior.py PACK RUN [--weights BUNDLE]

RUN is that of a prior training on the tokens of PACK. Its network computes in full precision, then with weights and
activations rounded as in training, and then as it is exported, in integers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import print_table

from specvq_codec.bitstream import ROWS, CodingModel, Prior
from specvq_codec.bitstream.learned import learned_bits
from specvq_codec.models.prior import integer_tensors
from specvq_codec.training.prior import bits_per_index, blocks_of, load_prior
from specvq_codec.training.tokens import TokenPack
from specvq_codec.weights import locate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--weights", help="bundle of the tokens; the default one if not given")
    options = parser.parse_args()
    network, _ = load_prior(options.run)
    blocks = blocks_of(TokenPack(options.pack, "valid", locate(options.weights), 1).items)
    bits = {}
    for name, quantised in (("full precision", False), ("rounded", True)):
        network.quantise(quantised)
        bits[name] = bits_per_index(network, blocks, torch.device("cpu"))
    prior = Prior(integer_tensors(network))
    model = CodingModel(prior.codebook_size, prior=prior)
    total = sum(learned_bits(block.numpy().astype(np.int16), model).sum() for block in blocks)
    bits["exported integers"] = total / (ROWS * sum(map(len, blocks)))
    print(f"{ROWS * sum(map(len, blocks))} indices in {len(blocks)} blocks")
    exact = bits["full precision"]
    print_table(
        ["computes in", "bits an index", "against full precision"],
        [[name, f"{value:.4f}", f"{value / exact - 1:+.3%}"] for name, value in bits.items()],
    )


if __name__ == "__main__":
    main()
