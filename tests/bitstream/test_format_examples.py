"""The examples of FORMAT.md are what the package writes and reads."""

import json
import re
from importlib.resources import files
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
import reference_decoder

from specvq_codec.bitstream import MAX_FILE_BYTES, CodingModel, read, write

FORMAT = files("specvq_codec.bitstream").joinpath("FORMAT.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """The fenced block of FORMAT.md with this info string."""
    found = re.findall(rf"^```{name}\n(.*?)^```$", FORMAT, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"FORMAT.md must have one block {name!r}"
    return found[0]


def hex_block(name: str) -> bytes:
    return bytes.fromhex("".join(line.split("|")[0] for line in block(f"hex {name}").splitlines()))


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    described: dict[str, Any] = json.loads(block("json example"))
    return described


@pytest.mark.parametrize("coding", ["fixed", "static"])
def test_example_bytes(example: dict[str, Any], coding: str) -> None:
    data = hex_block(coding)
    model = CodingModel(example["codebook_size"], np.array(example["static"]))
    fingerprint = bytes.fromhex(example["fingerprint"])
    indices = np.array(example["indices"])
    assert write(indices, example["sample_rate"], example["num_samples"], fingerprint, model, coding) == data
    header, decoded = read(data, model, fingerprint)
    assert (header.sample_rate, header.num_samples) == (example["sample_rate"], example["num_samples"])
    assert decoded.tolist() == example["indices"]
    assert reference_decoder.decode(data, 3, example["static"])[1] == example["indices"]


def test_the_bound_of_a_file_is_the_one_of_the_page() -> None:
    assert f"No valid file has more than {MAX_FILE_BYTES} bytes." in FORMAT


def test_explicit_rate_example(example: dict[str, Any]) -> None:
    indices = np.array(example["indices"][:1])
    data = write(indices, 11127, 2000, bytes.fromhex(example["fingerprint"]), CodingModel(3), "fixed")
    assert data == hex_block("explicit")


def test_trace_of_the_range_decoder(example: dict[str, Any]) -> None:
    """Recomputes the table of decoder states, and the encoder's interval that the text names."""
    payload = hex_block("static")[10:-3]
    taken, distance, span = 8, int.from_bytes(payload.ljust(8, b"\0"), "big"), 2**64 - 1
    digits, bottom = 64, 0
    lines = []
    for row, weights in enumerate(example["static"]):
        starts = [0, *accumulate(weight + 1 for weight in weights)]
        for column in range(2):
            scale = span >> 24
            index = example["indices"][column][row]
            lines.append(f"{row} {column} {distance:016x} {span:016x} {distance // scale} {index}".split())
            assert starts[index] <= distance // scale < starts[index + 1]
            distance -= scale * starts[index]
            bottom += scale * starts[index]
            span = scale * (starts[index + 1] - starts[index])
            if span < 2**32:
                span, distance, bottom = span << 32, distance << 32, bottom << 32
                taken, digits = taken + 4, digits + 32
    assert [line.split() for line in block("text trace").splitlines()[1:]] == lines
    assert f"distance `{distance:016x}`, span `{span:016x}`, {taken} bytes taken" in FORMAT
    assert f"from `{bottom:x}` to below `{bottom + span:x}` in these {digits} binary" in FORMAT.replace("\n", " ")
