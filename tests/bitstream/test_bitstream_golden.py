"""Files that the first release wrote are read, and written, the same for ever."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import reference_decoder
from bitstream_cases import GOLDEN, golden_cases

from specvq_codec.bitstream import Coding, CodingModel, inspect, read, write


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    with np.load(GOLDEN / "arrays.npz") as stored:
        return dict(stored)


def test_the_tables_and_indices_were_not_made_again() -> None:
    expected = json.loads((GOLDEN / "cases.json").read_text())["arrays_sha256"]
    assert hashlib.sha256((GOLDEN / "arrays.npz").read_bytes()).hexdigest() == expected


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case["file"])
def test_golden_file(case: dict[str, Any], arrays: dict[str, Any]) -> None:
    data = (GOLDEN / case["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == case["sha256"], "golden files are never made again"
    model = CodingModel(case["codebook_size"], None if case["tables"] is None else arrays[case["tables"]])
    indices = arrays[case["file"].removesuffix(".svq")]
    fingerprint = bytes.fromhex(case["fingerprint"])

    header, decoded = read(data, model, fingerprint)
    assert header.coding == Coding[case["coding"].upper()]
    assert (header.sample_rate, header.num_samples) == (case["sample_rate"], case["num_samples"])
    assert decoded.dtype == np.int16 and decoded.shape == (case["columns"], 5)
    np.testing.assert_array_equal(decoded, indices)
    assert write(indices, header.sample_rate, header.num_samples, fingerprint, model, case["coding"]) == data
    assert inspect(data).is_intact

    tables = () if model.static is None else model.static.tolist()
    reference_header, reference_indices = reference_decoder.decode(data, model.codebook_size, tables)
    assert reference_indices == indices.tolist()
    assert reference_header == {
        "coding": int(header.coding),
        "fingerprint": fingerprint,
        "rate": case["sample_rate"],
        "samples": case["num_samples"],
    }
