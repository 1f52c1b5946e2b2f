"""The drawing of rate against quality: what stands along its axes."""

import re
from dataclasses import fields

import pytest

from specvq_codec.evaluation.columns import COLUMNS
from specvq_codec.evaluation.rate_plot import rate_plot
from specvq_codec.evaluation.reconstruction import Row

FID = next(column for column in COLUMNS if column.measure == "fid")


def ticks(*points: tuple[float, float]) -> tuple[list[str], list[str]]:
    """The numbers along the axis of rates, and along that of values, of a drawing of (rate, FID)."""
    empty = {field.name: None for field in fields(Row)}
    rows = [Row(**(empty | {"name": "a", "bits_per_second": rate, "fid": fid})) for rate, fid in points]
    drawing = rate_plot(rows, FID)
    written = re.findall(r'class="tick" [^>]*text-anchor="(middle|end)">([^<]*)<', drawing)
    across = [text for anchor, text in written if anchor == "middle" and text != "bit/s"]
    return across, [text for anchor, text in written if anchor == "end"]


def test_round_numbers_lie_within():
    across, up = ticks((172.0, 3.0), (6000.0, 4.0))
    assert across == ["200", "500", "1k", "2k", "5k"]
    assert up == ["3.0", "3.2", "3.4", "3.6", "3.8", "4.0"]


@pytest.mark.parametrize("rate", [3.0, 172.0, 200.0, 216.0, 270.0, 300.0, 350.0, 3264.0, 24_000.0])
def test_a_rate_alone_lies_between_two_numbers(rate):
    across, _ = ticks((rate, 3.0))
    numbers = [float(text.replace("k", "e3")) for text in across]
    assert len(numbers) >= 2 and numbers[0] <= rate <= numbers[-1]


@pytest.mark.parametrize("values", [(1000.0, 1000.0000000001), (0.03012345, 0.03012355), (0.0, 0.0), (-0.01, -0.01)])
def test_numbers_of_values_differ(values):
    _, up = ticks(*((100.0, value) for value in values))
    assert 2 <= len(up) == len(set(up)) <= 8
