"""Files in learned coding that were written once are read and written the same for ever, also by the second decoder."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import reference_decoder
from bitstream_cases import GOLDEN
from safetensors.numpy import load_file

from specvq_codec.bitstream import Coding, CodingModel, Prior, read, write

FOLDER = GOLDEN.with_name("svq_learned")
ABOUT = json.loads((FOLDER / "cases.json").read_text())
FINGERPRINT = bytes.fromhex(ABOUT["fingerprint"])


@pytest.fixture(scope="module")
def tensors() -> dict[str, Any]:
    return load_file(FOLDER / "prior.safetensors")


def test_the_digest_of_a_prior_stays(tensors: dict[str, Any]) -> None:
    assert Prior(tensors).digest.hex() == ABOUT["prior_sha256"]


@pytest.mark.parametrize("case", ABOUT["cases"], ids=lambda case: case["file"])
def test_golden_file(case: dict[str, Any], tensors: dict[str, Any]) -> None:
    data = (FOLDER / case["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == case["sha256"], "golden files are never made again"
    with np.load(FOLDER / "indices.npz") as stored:
        indices = stored[case["file"].removesuffix(".svq")]
    model = CodingModel(64, prior=Prior(tensors))
    header, decoded = read(data, model, FINGERPRINT)
    assert header.coding == Coding.LEARNED
    assert (header.sample_rate, header.num_samples) == (case["sample_rate"], case["num_samples"])
    np.testing.assert_array_equal(decoded, indices)
    assert write(indices, header.sample_rate, header.num_samples, FINGERPRINT, model, "learned") == data
    own = {key: tensor.tolist() for key, tensor in tensors.items()}
    if case["columns"] < 100:  # plain Python takes its time
        assert reference_decoder.decode(data, 64, (), own)[1] == indices.tolist()
