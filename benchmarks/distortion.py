"""Bits against distortion where cheaper indices stand in for the nearest ones (`specvq encode --target-bps`).

python benchmarks/distortion.py PACK [--weights BUNDLE] [--split test] [--limit RECORDINGS]
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch
from common import print_table, recordings_of

from specvq_codec.audio import array_stream
from specvq_codec.cli.report import with_progress
from specvq_codec.codec import Codec
from specvq_codec.codes import Codes
from specvq_codec.evaluation.reconstruction import spread
from specvq_codec.rate import BEAMS, Candidates, candidates_of, chosen
from specvq_codec.training.data import Pack
from specvq_codec.weights import locate
from specvq_codec.windows import COLUMN_SAMPLES, STEP, mel_chunks

RATE = 22_050
SHORTEST = 4  # seconds: what header and checks of shorter ones take leaves little to choose
WEIGHTS = (0.0, 0.3, 1.0, 2.0, 4.0, 8.0)  # squared distance between latents that a bit is worth
WAYS = {"nearest": (0.0, 1)} | {
    f"weight {weight:g}, {beams} beam{'s' * (beams > 1)}": (weight, beams)
    for weight in WEIGHTS[1:]
    for beams in (1, BEAMS)
}


@dataclasses.dataclass
class Sums:
    """What all recordings together take, one way to choose."""

    bits: float = 0.0
    file_bits: float = 0.0
    error: float = 0.0  # mean of each recording, weighted by its length
    distance: float = 0.0
    seconds: float = 0.0  # of choosing


def encoded(codec: Codec, waveform: torch.Tensor) -> tuple[Codes, Candidates, float]:
    """A sound as it is usually encoded, all that it could be, and how long the first of them took."""
    started = time.perf_counter()
    codes = codec.encode(waveform, RATE)
    codes.to_bytes("learned")
    took = time.perf_counter() - started
    return codes, candidates_of(codec, array_stream(waveform, RATE)), took


def add(
    sums: Sums, way: tuple[float, int], codec: Codec, codes: Codes, candidates: Candidates, original: np.ndarray
) -> None:
    """Choose for one recording, and measure against its spectrogram (80, 16 T)."""
    assert codec.model.prior is not None
    started = time.perf_counter()
    grid, bits = chosen(candidates, codec.model.prior, *way)
    sums.seconds += time.perf_counter() - started
    made = dataclasses.replace(codes, indices=grid)
    places = (candidates.indices == grid[..., None]).argmax(axis=-1)[..., None]
    sums.distance += float(np.take_along_axis(candidates.distances, places, axis=-1).sum())
    sums.bits += float(bits.sum())
    sums.file_bits += 8 * len(made.to_bytes("learned"))
    sums.error += codes.duration * float(np.abs(codec.spectrogram(made) - original).mean())


def main() -> None:
    """Measure and print."""
    options = recordings_of(__doc__)
    codec = Codec(locate(options.weights), vocoder="griffin-lim")
    if codec.model.prior is None:
        raise SystemExit(f"The bundle {codec.bundle.name} has no prior.")
    pack = Pack(options.pack, options.split)
    clips = spread([clip for clip in pack.clips if clip.length >= SHORTEST * RATE], options.limit)
    results = {name: Sums() for name in WAYS}
    duration, indices, plain, targeted = 0.0, 0, 0.0, 0.0
    for clip in with_progress(clips, len(clips), "encoding"):
        waveform = pack.waveform(clip)
        blocks = waveform.split(STEP * COLUMN_SAMPLES)
        original = torch.cat(list(mel_chunks(blocks)), dim=1).numpy()
        codes, candidates, took = encoded(codec, waveform)
        duration, indices, plain = duration + codes.duration, indices + codes.indices.size, plain + took
        for name, way in WAYS.items():
            add(results[name], way, codec, codes, candidates, original)
        started = time.perf_counter()
        size = len(codes.to_bytes("learned"))
        codec.encode(waveform, RATE, target_bps=0.8 * 8 * size / codes.duration)
        targeted += time.perf_counter() - started
    print(
        f"{codec.bundle.name}, {options.split} split: {len(clips)} recordings of {SHORTEST} s and more, "
        f"{duration / 60:.1f} min"
    )
    nearest = results["nearest"]
    rows = [
        [
            name,
            f"{sums.bits / indices:.3f}",
            f"{sums.file_bits / duration:.1f}",
            f"{sums.file_bits / nearest.file_bits - 1:+.1%}",
            f"{sums.distance / indices:.2f}",
            f"{sums.error / duration:.4f}",
            f"{sums.error / nearest.error - 1:+.1%}",
            f"{sums.seconds / plain:.2f}",
        ]
        for name, sums in results.items()
    ]
    headings = ["choice", "bits an index", "bit/s in files", "", "distance", "spectrogram L1", "", "time"]
    print_table(headings, rows)
    print(
        "Distance: squared, between latents, beyond that of the nearest vector. Time: of one choice, by that of "
        "encoding as usual.\nA target of 80 % of each file's own rate, with the search for its weight: "
        f"{targeted / plain:.1f} times that time in all."
    )


if __name__ == "__main__":
    main()
