"""What the benchmarks share: tables, test sounds, and networks of the reference's size."""

from __future__ import annotations

import argparse
import dataclasses
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from specvq_codec.weights import Bundle

COMMAND = "from specvq_codec.cli import main; main()"  # for python -c: `specvq` without its console script


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A Markdown table on stdout; the first column is text, the others are numbers."""
    cells = [[str(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print()
    for row in [cells[0], rule, *cells[1:]]:
        aligned = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        print("| " + " | ".join(aligned) + " |")
    print(flush=True)


def recordings_of(description: str | None) -> argparse.Namespace:
    """The arguments of a benchmark on the recordings of a pack: pack, weights, split and limit."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--weights", help="bundle; the default one if not given")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="only this many recordings, evenly spread")
    return parser.parse_args()


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def stereo_blocks(seconds: float, rate: int = 44_100) -> Iterator[npt.NDArray[np.int16]]:
    """Blocks (N, 2) of tones and noise whose loudness and pitch change all the time; the same in every run."""
    rng = np.random.default_rng(0)
    total = round(seconds * rate)
    for start in range(0, total, rate):
        time = np.arange(start, min(start + rate, total)) / rate
        level = 10 ** (-1.5 * (1 + np.sin(2 * np.pi * 0.31 * time)) / 2)
        tone = np.sin(2 * np.pi * (300 * time + 200 * np.sin(2 * np.pi * 0.7 * time)))
        left = level * (0.5 * tone + 0.2 * rng.standard_normal(len(time)))
        right = level * (0.3 * tone + 0.3 * rng.standard_normal(len(time)))
        yield (np.stack([left, right], 1).clip(-1, 1) * 32767).astype(np.int16)


def write_stereo(path: Path, seconds: float, rate: int = 44_100) -> None:
    """A 16-bit stereo WAV file."""
    import soundfile

    with soundfile.SoundFile(path, "w", rate, 2, "PCM_16") as file:
        for block in stereo_blocks(seconds, rate):
            file.write(block)


def reference_bundle(folder: Path) -> Bundle:
    """A bundle of networks in the reference's full size with random weights: for times and sizes, not for listening."""
    import torch

    from specvq_codec.bitstream import frequency_tables
    from specvq_codec.models.autoencoder import Autoencoder, AutoencoderConfig
    from specvq_codec.models.melgan import Generator, MelGANConfig
    from specvq_codec.weights import write_bundle

    torch.manual_seed(0)
    autoencoder, melgan = AutoencoderConfig(), MelGANConfig()
    tensors = [
        {key: tensor.half().numpy() for key, tensor in network.state_dict().items()}
        for network in (Autoencoder(autoencoder), Generator(melgan))
    ]
    tables = frequency_tables(np.ones((5, autoencoder.codebook_size), dtype=np.int64))
    shapes = dataclasses.asdict(autoencoder), dataclasses.asdict(melgan)
    return write_bundle(folder, "reference size, random weights", shapes[0], tensors[0], shapes[1], tensors[1], tables)
