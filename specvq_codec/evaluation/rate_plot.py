"""Rate against quality as a drawing (SVG) that takes its colours from the page around it.

Rows are numbered, since their names would cover one another; the page explains the numbers. Rows without a rate, which
are limits rather than codecs, become dashed lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .columns import Column
from .reconstruction import Row

WIDTH, HEIGHT = 360, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 16, 40  # margins
RADIUS = 9  # of a point, with room for two digits
_RATE = "bits_per_second"


def rate_plot(rows: Sequence[Row], column: Column) -> str:
    """The values of a column against bits per second, which are logarithmic; nothing if no row has both.

    Args:
        rows: the first one is number 1.
        column: of the table.

    Returns:
        An `svg` element with classes for its parts, and a description for those who do not see it.
    """
    places = [(number, row, getattr(row, column.measure)) for number, row in enumerate(rows, 1)]
    there = [(number, row, float(value)) for number, row, value in places if value is not None]
    points = [(number, row, value) for number, row, value in there if row.bits_per_second]
    if not points:
        return ""
    limits = [(number, row, value) for number, row, value in there if not row.bits_per_second]
    rates = [row.bits_per_second or 1.0 for _, row, _ in points]
    across = _rate_axis(min(rates), max(rates))
    values = [value for _, _, value in there]
    room = max(0.08 * (max(values) - min(values)), 0.001 * max(map(abs, values))) or 1.0
    up = _Axis(min(values) - room, max(values) + room, HEIGHT - BOTTOM, TOP)
    parts = [_frame(across, up, column)]
    for place, (number, row, value) in enumerate(limits):
        text_end = WIDTH - RIGHT - 2 - 20 * place  # beside one another, since lines can be close
        parts.append(_limit(number, row, text_end, up.place(value), column))
    for number, row, value in points:
        x = across.place(math.log10(row.bits_per_second or 1.0))
        parts.append(_point(number, row, x, up.place(value), column))
    told = "; ".join(f"{row.name}: {column.cell(row)}{_at_rate(row)}" for _, row, _ in there)
    label = escape(f"{column.heading} against bits per second. {told}.")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


class _Axis:
    """From values to places."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high
        self._start, self._scale = start, (end - start) / (high - low)

    def place(self, value: float) -> float:
        return self._start + (value - self.low) * self._scale


def _frame(across: _Axis, up: _Axis, column: Column) -> str:
    """Grid, numbers along the axes, and what they are."""
    parts = []
    for rate in _rates(across):
        x = across.place(math.log10(rate))
        text = f"{rate / 1000:g}k" if rate >= 1000 else f"{rate:g}"
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{text}</text>')
    for value, text in _ticks(up.low, up.high):
        y = up.place(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">bit/s</text>')
    return "".join(parts)


def _point(number: int, row: Row, x: float, y: float, column: Column) -> str:
    title = escape(f"{row.name}: {column.cell(row)}{_at_rate(row)}")
    return (
        f'<g class="point"><title>{title}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{number}</text></g>'
    )


def _limit(number: int, row: Row, text_end: float, y: float, column: Column) -> str:
    title = escape(f"{row.name}: {column.cell(row)}")
    return (
        f'<g class="limit"><title>{title}</title><path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{text_end}" y="{y - 4:.1f}" text-anchor="end">{number}</text></g>'
    )


def _at_rate(row: Row) -> str:
    return "" if row.bits_per_second is None else f" at {row.bits_per_second:.0f} bit/s"


def _rates(axis: _Axis) -> list[float]:
    """Numbers such as 100, 200 and 500 within an axis of logarithms; fewer if these are many."""
    decades = range(math.floor(axis.low), math.ceil(axis.high) + 1)
    within = [(digit, digit * 10.0**decade) for decade in decades for digit in (1, 2, 5)]
    within = [(digit, rate) for digit, rate in within if axis.low <= math.log10(rate) <= axis.high]
    return [rate for digit, rate in within if len(within) <= 7 or digit == 1]


def _rate_axis(lowest: float, highest: float) -> _Axis:
    """An axis of logarithms around rates, with two numbers of `_rates` at least."""
    low, high = math.log10(lowest / 1.3), math.log10(highest * 1.3)
    round_ones = [math.log10(digit) + decade for decade in range(-3, 13) for digit in (1, 2, 5)]
    if sum(low <= number <= high for number in round_ones) < 2:
        low = max(number for number in round_ones if number <= low)
        high = min(number for number in round_ones if number >= high)
    return _Axis(low - 1e-9, high + 1e-9, LEFT, WIDTH - RIGHT)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Some round numbers between two, and how to write them."""
    size = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(size * digit for digit in (1, 2, 5, 10) if (high - low) / (size * digit) <= 6)
    first, last = math.ceil(low / step), math.floor(high / step)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1)]
