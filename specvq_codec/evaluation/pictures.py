"""Spectrograms as pictures, small enough to be kept beside documentation."""

from __future__ import annotations

import importlib.util
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import spectrogram as spec
from ..bitstream import UsageError
from ..training.data import Clip

SHORTEST = 3 * spec.SAMPLE_RATE  # samples of a recording that gives an example
COLOURS = 40  # 2.5 dB each: noise in all colours would make a file several times as large
NEEDS_MATPLOTLIB = "Pictures need matplotlib: pip install 'specvq-codec[eval]', or '.[eval]' in a checkout."
TICKS = (250, 500, 1000, 2000, 4000, 7000)  # Hz


def save_spectrograms(
    path: Path, panels: Sequence[tuple[str, Tensor]], film: Sequence[NDArray[np.uint8]] = (), beside: bool = False
) -> None:
    """Write spectrograms, one above the other on one time axis, as a PNG file.

    Args:
        path: the file, which is replaced if it is there.
        panels: title and log-mel spectrogram (80, T) in [0, 1] of each.
        film: frames of a video (height, width, 3), evenly spread over the time of the first panel, to be shown above.
        beside: side by side instead, on equal time axes; not with a film.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
        from PIL import Image
    except ImportError as error:
        raise UsageError(NEEDS_MATPLOTLIB) from error
    heights = [*([0.7] if film else []), *([2.2] * len(panels))]  # inches
    if beside:
        figure = Figure(figsize=(1.0 + 5.5 * len(panels), 4.0), dpi=90, layout="constrained")
        axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    else:
        figure = Figure(figsize=(10, 0.6 + sum(heights)), dpi=90, layout="constrained")
        axes = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    if film:
        seconds = panels[0][1].shape[1] * spec.HOP_LENGTH / spec.SAMPLE_RATE
        axes[0].imshow(np.concatenate(film, axis=1), aspect="auto", extent=(0.0, seconds, 0.0, 1.0))
        axes[0].set_yticks([])
        axes = axes[1:]
    filters = spec.mel_filters()
    centres = filters @ torch.linspace(0.0, spec.SAMPLE_RATE / 2, filters.shape[1]) / filters.sum(1)  # (80,) Hz
    places = [int((centres - hz).abs().argmin()) for hz in TICKS]
    colours = colormaps["magma"].resampled(COLOURS)
    image = None
    for axis, (title, mel) in zip(axes, panels, strict=True):
        seconds = mel.shape[1] * spec.HOP_LENGTH / spec.SAMPLE_RATE
        extent = (0.0, seconds, -0.5, spec.N_MELS - 0.5)
        decibels = (mel * 100.0 - 80.0).numpy()
        image = axis.imshow(decibels, vmin=-80, vmax=20, cmap=colours, origin="lower", aspect="auto", extent=extent)
        readable = title.encode("utf-8", "backslashreplace").decode()  # file names can be of any bytes
        axis.set_title(readable, fontsize=9, loc="left", parse_math=False)
        axis.set_yticks(places, [f"{hz / 1000:g}" for hz in TICKS])
    for axis in axes[:1] if beside else axes:
        axis.set_ylabel("kHz")
    for axis in axes if beside else axes[-1:]:
        axis.set_xlabel("seconds")
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="dB")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    palette = Image.new("P", (1, 1))
    shades = [shade for shade in range(0, 256, 17) for _ in "RGB"]  # of the letters
    palette.putpalette((255 * colours(range(COLOURS))[:, :3]).round().astype(int).flatten().tolist() + shades)
    picture = Image.open(drawn).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    picture.save(path, "PNG", optimize=True)


def examples(clips: Sequence[Clip], per_domain: int) -> dict[str, Clip]:
    """Recordings of every domain to show, the same ones every time, by the names "DOMAIN-1", "DOMAIN-2" and so on.

    Names are fit for files: what is neither letter, digit nor hyphen becomes an underscore, and domains whose names are
    equal then are counted as one. The recordings are evenly spread over the domain's of at least 3 s, or over all of
    its recordings where none is as long.
    """
    chosen: dict[str, Clip] = {}
    counts: Counter[str] = Counter()
    for domain in sorted({clip.domain for clip in clips}):
        mine = [clip for clip in clips if clip.domain == domain]
        mine = [clip for clip in mine if clip.length >= SHORTEST] or mine
        count = min(per_domain, len(mine))
        name = re.sub(r"[^\w-]", "_", domain)
        for i in range(count):
            counts[name] += 1
            chosen[f"{name}-{counts[name]}"] = mine[(2 * i + 1) * len(mine) // (2 * count)]
    return chosen


def spectrogram_png(mel: Tensor) -> bytes:
    """A log-mel spectrogram (80, T) in [0, 1] as a PNG file of T by 80 pixels, without axes; low frequencies are below.

    Raises:
        UsageError: matplotlib is not installed.
    """
    check_drawing()
    from matplotlib import colormaps
    from PIL import Image

    shades = (mel.clamp(0.0, 1.0) * (COLOURS - 1)).round().byte().flip(0).numpy()
    picture = Image.fromarray(shades, "P")
    picture.putpalette(
        (255 * colormaps["magma"].resampled(COLOURS)(range(COLOURS))[:, :3]).round().astype("u1").tobytes()
    )
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def check_drawing() -> None:
    """Raise UsageError if what draws is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("matplotlib", "PIL")):
        raise UsageError(NEEDS_MATPLOTLIB)
