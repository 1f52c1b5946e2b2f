"""Spectrograms as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .. import spectrogram as spec
from ..bitstream import UsageError

TICKS = (250, 500, 1000, 2000, 4000, 7000)  # Hz


def save_spectrograms(path: Path, panels: Sequence[tuple[str, Tensor]]) -> None:
    """Write spectrograms, one above the other on one time axis, as a PNG file.

    Args:
        path: the file, which is replaced if it is there.
        panels: title and log-mel spectrogram (80, T) in [0, 1] of each.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("Pictures need matplotlib: pip install 'specvq-codec[eval]'.") from error
    figure = Figure(figsize=(10, 0.6 + 2.4 * len(panels)), dpi=120, layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    filters = spec.mel_filters()
    centres = filters @ torch.linspace(0.0, spec.SAMPLE_RATE / 2, filters.shape[1]) / filters.sum(1)  # (80,) Hz
    places = [int((centres - hz).abs().argmin()) for hz in TICKS]
    image = None
    for axis, (title, mel) in zip(axes, panels, strict=True):
        seconds = mel.shape[1] * spec.HOP_LENGTH / spec.SAMPLE_RATE
        extent = (0.0, seconds, -0.5, spec.N_MELS - 0.5)
        decibels = (mel * 100.0 - 80.0).numpy()
        image = axis.imshow(decibels, vmin=-80, vmax=20, cmap="magma", origin="lower", aspect="auto", extent=extent)
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_yticks(places, [f"{hz / 1000:g}" for hz in TICKS])
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("seconds")
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="dB")
    figure.savefig(path, format="png")
