"""Fidelity and diversity against top-X as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .diversity import Point
from .generation import DECODED, OTHERS
from .pictures import check_drawing

_PANELS = {  # measure: its standard error, and what the axis is called
    "mkl": ("mkl_error", "MKL (less is nearer)"),
    "difference": ("difference_error", "difference of samples (dB)"),
    "fid": ("", "Fréchet distance (less is nearer)"),
    "indices": ("", "distinct indices"),
}
_LINES = {DECODED: "--", OTHERS: ":"}


def save_curves(path: Path, points: Sequence[Point]) -> None:
    """Write fidelity (left) and diversity (right) of samples against top-X as a PNG file; bars are standard errors.

    Args:
        path: the file, which is replaced if it is there.
        points: as `diversity.trade_off` measures them; those without top-X become horizontal lines.

    Raises:
        UsageError: matplotlib is not installed.
    """
    check_drawing()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), dpi=90, layout="constrained")
    drawn = [point for point in points if point.top_k is not None]
    sizes = [point.top_k for point in drawn]
    for axis, (measure, (deviation, title)) in zip(figure.subplots(2, 2).flat, _PANELS.items(), strict=True):
        bars = [getattr(point, deviation) or 0.0 for point in drawn] if deviation else None
        axis.errorbar(sizes, [getattr(point, measure) for point in drawn], bars, marker="o", capsize=3)
        for point in points:
            if point.top_k is None and (height := getattr(point, measure)) is not None:
                axis.axhline(height, color="grey", linestyle=_LINES[point.name], label=point.name)
        axis.set_xscale("log")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel("top-X")
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    figure.savefig(path, format="png")
