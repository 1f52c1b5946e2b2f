"""Spectrogram error where windows meet, against the error elsewhere: is there a seam in long sound?

    python benchmarks/borders.py PACK [--weights BUNDLE] [--splits valid test] [--limit RECORDINGS]

Sound longer than 61 columns (11.3 s) goes through the networks in windows that begin every 37 columns; from column
37 k + 8 on, indices come from window k, and the decoded windows are cross-faded around it. Measured are the 16 frames
around each such border, against all other frames of the same recordings. Since these are other sounds, there is a
paired control as well: the very same frames when the recording begins 18 columns later, so that they lie in the middle
of a window.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from pathlib import Path

import torch
from common import print_table
from torch import Tensor

from specvq_codec.cli.report import with_progress
from specvq_codec.codec import Codec
from specvq_codec.evaluation.reconstruction import spectrogram_of, spread
from specvq_codec.models.autoencoder import COLUMN_FRAMES
from specvq_codec.training.data import Pack
from specvq_codec.weights import locate
from specvq_codec.windows import COLUMN_SAMPLES, MARGIN, STEP, windows

SHIFT = STEP // 2  # columns that the control leaves out at the beginning
AROUND = 8  # frames on either side of a border


def frame_errors(codec: Codec, waveform: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of every frame of the decoded log-mel spectrogram, in [0, 1] units: (T,)."""
    decoded = torch.from_numpy(codec.spectrogram(codec.encode(waveform, codec.sample_rate)))
    return (decoded - target).abs().mean(0)


def border_frames(columns: int) -> list[int]:
    """First frame after each border between windows over that many columns."""
    return [COLUMN_FRAMES * (start + MARGIN) for start, _ in windows(columns)[1:]]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean, and its standard error."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return statistics.fmean(values), deviation / math.sqrt(len(values))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--weights", help="bundle; the default one if not given")
    parser.add_argument("--splits", nargs="+", default=["valid", "test"])
    parser.add_argument("--limit", type=int, help="measure only this many recordings of each split, evenly spread")
    options = parser.parse_args()
    codec = Codec(locate(options.weights))
    border: list[float] = []  # the error at each border
    elsewhere: list[float] = []  # for each border, the error in the rest of its recording
    control: list[float] = []  # for each border, the error of the same frames in the middle of a window
    recordings = 0
    for split in options.splits:
        pack = Pack(options.pack, split)
        long = [clip for clip in pack.clips if len(windows(-(-clip.length // COLUMN_SAMPLES))) > 1]
        chosen = spread(long, options.limit) if long else []
        for clip in with_progress(chosen, len(chosen), split):
            waveform = pack.waveform(clip)
            target = spectrogram_of(waveform)
            errors = frame_errors(codec, waveform, target)
            cut = SHIFT * COLUMN_FRAMES
            shifted = frame_errors(codec, waveform[SHIFT * COLUMN_SAMPLES :], target[:, cut:])
            spans = [slice(frame - AROUND, frame + AROUND) for frame in border_frames(target.shape[1] // COLUMN_FRAMES)]
            rest = torch.ones(len(errors), dtype=torch.bool)
            for span in spans:
                rest[span] = False
            for span in spans:
                border.append(float(errors[span].mean()))
                elsewhere.append(float(errors[rest].mean()))
                control.append(float(shifted[span.start - cut : span.stop - cut].mean()))
            recordings += 1
    if not border:
        sys.exit("No recording of these splits is longer than 61 columns.")
    print(f"{codec.bundle.name}, {recordings} recordings ({', '.join(options.splits)}), {len(border)} borders")
    rows = []
    for name, others in (("the rest of the recording", elsewhere), ("the same frames in mid-window", control)):
        (at, _), (other, _) = mean_and_error(border), mean_and_error(others)
        difference, error = mean_and_error([a - b for a, b in zip(border, others, strict=True)])
        ratio = f"{100 * difference / other:+.1f} ± {100 * error / other:.1f} %"
        rows.append([name, f"{at:.4f}", f"{other:.4f}", f"{difference:+.5f} ± {error:.5f}", ratio])
    print_table(
        ["log-mel L1 at borders, against", "at borders", "there", "difference ± standard error", "relative"], rows
    )
    print("Target: within 5 % of the error elsewhere.")


if __name__ == "__main__":
    main()
