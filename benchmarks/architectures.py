"""Codebooks of several shapes, trained for the same time: which gives most for its operations?

    python benchmarks/architectures.py PACK OUT [--minutes 5]

A step of each is timed first, and decides how many steps it gets; the learning rate falls over just these. Nothing but
the reconstruction loss is used. Time is the processor's, on one thread. Runs that are in OUT go on with the steps that
they were given.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from common import print_table
from torch.utils.flop_counter import FlopCounterMode

from specvq_codec.models.autoencoder import Autoencoder, AutoencoderConfig
from specvq_codec.training.codebook import CodebookConfig, CodebookTask, train_codebook
from specvq_codec.training.config import load_config
from specvq_codec.training.loop import LoopConfig

DEFAULT = load_config(CodebookConfig, "codebook-default").model
SHAPES = {
    "default: 64-128-256 after 4 x 4 folding": DEFAULT,
    "32-64-128 after 4 x 4": dataclasses.replace(DEFAULT, channels=(32, 64, 128)),
    "32-64-256 after 4 x 4": dataclasses.replace(DEFAULT, channels=(32, 64, 256)),
    "128-256 after 8 x 8": dataclasses.replace(DEFAULT, channels=(128, 256), patch=8, attention_levels=(1,)),
    "default without linear path": dataclasses.replace(DEFAULT, linear_path=False),
    "default, codebook by gradient": DEFAULT,
}


def seconds_per_step(config: CodebookConfig, task: CodebookTask) -> float:
    """Median of a few steps' processor time, without the optimiser's; one thread, so that others disturb least."""
    times = []
    for step in range(6):
        started = time.process_time()
        loss, _ = task.players["maker"](task.batch(np.random.default_rng(step)), step)
        loss.backward()
        times.append(time.process_time() - started)
    return float(np.median(times[1:]))


def multiply_adds(model: AutoencoderConfig) -> float:
    """Multiplications and additions to encode and decode a second of sound, in billions."""
    network, mel = Autoencoder(model).eval(), torch.zeros(1, 1, 80, 848)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.decode(network.encode(mel))
    return counter.get_total_flops() / 1e9 / (848 * 256 / 22_050)


def main() -> None:
    """Train what is not trained yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="packed sound")
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=5.0, help="training time of each")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for number, (name, model) in enumerate(SHAPES.items()):
        decay = 0.0 if "gradient" in name else 0.99
        config = CodebookConfig(model, LoopConfig(1, learning_rate=5e-4, warmup=30), decay=decay)
        run = args.out / str(number)
        task = CodebookTask(config, args.pack, torch.device("cpu"))
        run.mkdir(parents=True, exist_ok=True)
        if not (run / "steps").exists():
            (run / "steps").write_text(str(round(60 * args.minutes / seconds_per_step(config, task))))
        steps = int((run / "steps").read_text())
        config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, steps=steps, save_every=steps))
        numbers = train_codebook(config, args.pack, run, torch.device("cpu"))
        size = sum(parameter.numel() for parameter in task.module.autoencoder.parameters()) / 1e6
        cells = f"{size:.1f}", f"{multiply_adds(model):.2f}", str(steps), f"{numbers['valid_l1']:.4f}"
        table.append([name, *cells, f"{numbers['valid_sharpness']:.3f}"])
    print(
        f"{args.minutes:g} minutes each, {config.batch_size} crops of {config.frames} frames a step, validation split"
    )
    print_table(["shape", "million parameters", "GFLOP/s of sound", "steps", "log-mel L1", "sharpness"], table)


if __name__ == "__main__":
    main()
