"""Bits per second and where they go: codings, overhead, and how close static coding comes to the entropy of its tables.

python benchmarks/rates.py PACK [--weights BUNDLE] [--split test] [--limit RECORDINGS]
"""

from __future__ import annotations

import itertools
import math
import statistics
import time

import numpy as np
import numpy.typing as npt
from common import print_table, recordings_of

from specvq_codec.bitstream import BLOCK_COLUMNS, CodingModel, inspect, read, write
from specvq_codec.bitstream.header import COLUMN_SAMPLES
from specvq_codec.bitstream.learned import learned_bits
from specvq_codec.cli.report import with_progress
from specvq_codec.codec import Codec
from specvq_codec.evaluation.reconstruction import spread
from specvq_codec.training.data import Pack
from specvq_codec.weights import locate

RATE = 22_050
PLACES = (0, 1, 2, 4, 8, 16, 32, 64, BLOCK_COLUMNS)  # columns before
LENGTHS = (1, 10, 60, 600, 3600)  # seconds
Indices = npt.NDArray[np.int16]


def file_of(indices: Indices, samples: int, fingerprint: bytes, model: CodingModel, entropy: str) -> bytes:
    """The .svq file of a sound of so many samples."""
    return write(indices, RATE, samples, fingerprint, model, entropy)


def entropy_bits(indices: Indices, codebook_size: int) -> float:
    """Order-0 entropy of each mel row's indices in bits, times how many there are, summed over the rows."""
    total = 0.0
    for row in indices.T:
        counts = np.bincount(row, minlength=codebook_size)
        share = counts[counts > 0] / len(row)
        total -= len(row) * float(np.sum(share * np.log2(share)))
    return total


def print_split(domain: str, grids: list[tuple[Indices, int]], fingerprint: bytes, model: CodingModel) -> None:
    """The recordings of a domain as they are, each a file of its own."""
    seconds = sum(samples for _, samples in grids) / RATE
    count = sum(indices.size for indices, _ in grids)
    lacking = {"static": model.static is None, "learned": model.prior is None}
    rows = []
    for entropy in ("fixed", "static", "learned"):
        if lacking.get(entropy):
            continue
        parts = np.zeros(4)
        for indices, samples in grids:
            about = inspect(file_of(indices, samples, fingerprint, model, entropy))
            parts += [about.payload_bytes, about.header_bytes, about.length_bytes, about.check_bytes]
        shown = [f"{8 * part / seconds:.2f}" for part in (parts.sum(), *parts)]
        rows.append([entropy, f"{8 * parts[0] / count:.3f}", *shown, f"{1 - parts[0] / parts.sum():.1%}"])
    print(f"{domain}: {len(grids)} recordings, {seconds / 60:.1f} min")
    headings = ["bit/s in files", "bits an index", "all", "indices", "header", "block lengths", "checks", "overhead"]
    print_table(headings, rows)


def print_lengths(sequence: Indices, fingerprint: bytes, model: CodingModel) -> None:
    """Files of certain lengths, whose indices are the split's one after another, again and again."""
    rows = []
    for seconds in LENGTHS:
        samples = seconds * RATE
        columns = -(-samples // COLUMN_SAMPLES)
        data = file_of(np.resize(sequence, (columns, 5)), samples, fingerprint, model, "auto")
        about = inspect(data)
        overhead = about.size - about.payload_bytes
        coding, kbps = about.header.coding.name.lower(), f"{8 * len(data) / seconds / 1000:.4f}"
        started = time.process_time()
        read(data, model, fingerprint)
        took = f"{time.process_time() - started:.2f}"
        rows.append([f"{seconds} s, {coding}", len(data), kbps, overhead, f"{overhead / len(data):.2%}", took])
    print_table(["file of", "bytes", "kbps", "bytes of overhead", "share", "CPU seconds to read"], rows)


def print_entropy(grids: list[tuple[Indices, int]], fingerprint: bytes, model: CodingModel) -> None:
    """Static coding against what its tables allow, and the tables against the split's own statistics."""
    ideal, sealing = 0.0, []
    for indices, _ in grids:
        for start in range(0, len(indices), BLOCK_COLUMNS):
            block = indices[start : start + BLOCK_COLUMNS]
            about = inspect(file_of(block, len(block) * COLUMN_SAMPLES, fingerprint, model, "static"))
            bits = model.static_bits(block)
            ideal += bits
            sealing.append(8 * about.payload_bytes - bits)
    everything = np.concatenate([indices for indices, _ in grids])
    size = model.codebook_size
    rows = [
        ["fixed-length", f"{5 * len(everything) * math.ceil(math.log2(size)):.0f}", ""],
        ["static, as coded", f"{ideal + sum(sealing):.0f}", f"{sum(sealing) / ideal:+.2%}"],
        ["static, ideal coder", f"{ideal:.0f}", "0"],
        [
            "order-0 entropy of these indices",
            f"{(own := entropy_bits(everything, size)):.0f}",
            f"{own / ideal - 1:+.2%}",
        ],
    ]
    print_table(["bits of the indices", "bits", "against the ideal coder"], rows)
    print(
        f"Above the ideal coder for each of {len(sealing)} blocks: {statistics.fmean(sealing):.2f} bits in the mean, "
        f"{max(sealing):.2f} at most.\nOver the whole split, coded as blocks of up to {BLOCK_COLUMNS} columns; the own "
        "entropy is biased low where there are few indices for each code."
    )


def print_places(grids: list[tuple[Indices, int]], model: CodingModel) -> None:
    """Bits of learned coding by how many columns come before in the block: what its independence costs."""
    bits = [learned_bits(indices[:BLOCK_COLUMNS], model) for indices, _ in grids]  # (T, 5) each
    rows = []
    for first, end in itertools.pairwise(PLACES):
        there = np.concatenate([block[first:end] for block in bits])
        rows.append([f"{first} to {end - 1}", len(there), f"{there.mean():.3f}"])
    print_table(["columns before", "columns", "bits an index"], rows)


def main() -> None:
    """Measure and print."""
    options = recordings_of(__doc__)
    codec = Codec(locate(options.weights))
    pack = Pack(options.pack, options.split)
    domains: dict[str, list[tuple[Indices, int]]] = {}
    clips = spread(pack.clips, options.limit)
    for clip in with_progress(clips, len(clips), "encoding"):
        codes = codec.encode(pack.waveform(clip), RATE)
        domains.setdefault(clip.domain, []).append((codes.indices, codes.num_samples))
    grids = [grid for each in domains.values() for grid in each]
    print(f"{codec.bundle.name}, {options.split} split\n")
    fingerprint = codec.bundle.fingerprint
    for domain, each in [("all", grids), *sorted(domains.items())]:
        print_split(domain, each, fingerprint, codec.model)
    print_lengths(np.concatenate([indices for indices, _ in grids]), fingerprint, codec.model)
    if codec.model.prior is not None:
        print_places(grids, codec.model)
    if codec.model.static is not None:
        print_entropy(grids, fingerprint, codec.model)


if __name__ == "__main__":
    main()
