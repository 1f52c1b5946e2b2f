"""How long the sampler of the reference's full size takes for one window of indices, ten seconds of sound.

    python benchmarks/sampling.py [--threads 2] [--device cpu] [--uncached-tokens 265] [--passes 3] [--batches 8 32]

Random weights: 24 layers, 16 heads, 1024 wide, after nothing and after 212 features of a video. Side by side are the
key/value cache in each precision that pays on the device, and the same network without a cache, which runs over all
that is there for every index, as the reference samples. With the cache, seconds are the median of several passes. The
limit is how long reading all weights once an index takes at the memory's speed, measured in the same run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from common import print_table, processor

from specvq_codec.models.step_graph import quickest_step
from specvq_codec.models.transformer import Condition, Transformer, TransformerConfig
from specvq_codec.precision import with_precision
from specvq_codec.sampling import Sampling, generate

PRECISIONS = {"cpu": ("float32", "int8"), "cuda": ("float32", "bfloat16")}
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
TARGETS = "targets: at least 20 times less than without the cache; with 212 features under 12 s on two cores"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def bandwidth(device: torch.device) -> float:
    """Bytes a second that are read from memory."""
    numbers = torch.ones(2**28, device=device)  # 1 GiB
    return 2**30 / min(seconds(numbers.sum, device) for _ in range(5))


def random_network(config: TransformerConfig, precision: str, device: torch.device) -> Transformer:
    """The same network in any precision."""
    torch.manual_seed(0)
    return with_precision(Transformer(config).eval().to(device), precision)


@torch.inference_mode()
def uncached(network: Transformer, condition: Condition | None, places: int, device: torch.device) -> float:
    """Seconds for a window without the cache, from some evenly spaced places in it (all, if as many as indices)."""
    window = network.config.window
    sequence = torch.zeros(1, window, dtype=torch.int64, device=device)
    chosen = np.unique(np.linspace(0, window - 1, places).round().astype(int))
    network(sequence[:, :1], condition)
    times = [seconds(lambda n=n: network(sequence[:, :n], condition), device) for n in chosen]
    return float(np.interp(np.arange(window), chosen, times).sum())


@torch.inference_mode()
def step_in_the_middle(network: Transformer, batch: int, device: torch.device) -> float:
    """Seconds for the next index of each of a batch, with half of a window in the cache."""
    cache, _ = network.begin(None, batch)
    step = quickest_step(network, cache, batch)
    indices = torch.zeros(batch, 1, dtype=torch.int64, device=device)
    cache.kept.normal_()
    step(indices, cache)
    times = []
    for _ in range(9):
        cache.length = network.config.condition_length + network.config.window // 2
        times.append(seconds(lambda: step(indices, cache), device))
    return float(np.median(times))


@torch.inference_mode()
def one_sequence(
    network: Transformer, condition: Condition | None, passes: int, device: torch.device
) -> tuple[list[float], float]:
    """Seconds for a window with the cache, of every pass, and those of them that the condition takes."""
    nothing = torch.zeros(1, 0, dtype=torch.int64, device=device)
    generate(network, nothing, 3, Sampling(), condition)
    begin = min(seconds(lambda: network.begin(condition, 1), device) for _ in range(2))
    window = network.config.window
    work = partial(generate, network, nothing, window, Sampling(), condition)
    return [seconds(work, device) for _ in range(passes)], begin


def compare(config: TransformerConfig, places: int, passes: int, device: torch.device, speed: float) -> list[list[str]]:
    """Rows of the table for one kind of condition: without the cache, and with it in each precision."""
    frames, window = config.feature_frames, config.window
    condition = Condition(torch.randn(1, frames, config.feature_depth, device=device)) if frames else None
    what = f"{frames} features" if frames else "nothing"
    slow = uncached(random_network(config, "float32", device), condition, places, device)
    rows = [[f"{what}: no cache, float32", f"{slow:.1f}", "", f"{1e3 * slow / window:.1f}", "", "", "1"]]
    weights = config.n_layer * 12 * config.n_embd**2 + config.codebook_size * config.n_embd
    for precision in PRECISIONS[device.type]:
        times, begin = one_sequence(random_network(config, precision, device), condition, passes, device)
        total = float(np.median(times))
        limit = window * weights * BYTES[precision] / speed
        spent = f"{total:.2f}", f"{min(times):.2f} to {max(times):.2f}", f"{1e3 * total / window:.1f}", f"{begin:.2f}"
        rows.append([f"{what}: cache, {precision}", *spent, f"{limit:.1f}", f"{slow / total:.1f}"])
    return rows


def several_at_once(config: TransformerConfig, batches: list[int], device: torch.device) -> list[list[str]]:
    """Rows of the table for batches."""
    rows = []
    for precision in PRECISIONS[device.type]:
        network = random_network(config, precision, device)
        for batch in batches:
            step = step_in_the_middle(network, batch, device)
            rows.append([precision, str(batch), f"{1e3 * step:.1f}", f"{batch / step / config.window:.3f}"])
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=list(PRECISIONS), default="cpu")
    parser.add_argument("--layers", type=int, default=24, help="fewer, for a quick look")
    parser.add_argument(
        "--uncached-tokens", type=int, default=265, help="time only so many passes without the cache, evenly spaced"
    )
    parser.add_argument("--passes", type=int, default=3, help="how often each is timed with the cache")
    parser.add_argument("--batches", type=int, nargs="*", default=[8, 32])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if options.device == "cuda" else f"{processor()}, {options.threads} threads"
    speed = bandwidth(device)
    config = TransformerConfig(n_layer=options.layers)
    places = min(options.uncached_tokens, config.window)
    print(f"{name}, torch {torch.__version__}; memory is read at {speed / 1e9:.1f} GB/s; {TARGETS}")
    print(f"without the cache, {places} of {config.window} passes were timed, and the others interpolated")
    featured = replace(config, feature_frames=212, feature_depth=2048)
    rows = [row for kind in (config, featured) for row in compare(kind, places, options.passes, device, speed)]
    headings = ["seconds", "least to most", "ms an index", "seconds before the first", "limit, seconds", "times less"]
    print_table(["265 indices after", *headings], rows)
    if options.batches:
        print("several at once after nothing, from steps in the middle of the window")
        print_table(["", "batch", "ms a step", "clips a second"], several_at_once(config, options.batches, device))


if __name__ == "__main__":
    main()
