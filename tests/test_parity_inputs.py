"""The inputs and weights of the parity tests are those that the golden files were made with."""

import zlib

import numpy as np
import pytest
from parity import fill, numbers

CHECKS = numbers("fill_check")["checks"]


@pytest.mark.parametrize("check", CHECKS, ids=[check["call"] for check in CHECKS])
def test_draws_of_the_fill_rule(check):
    values = eval(check["call"], vars(fill))
    assert str(values.dtype) == check["dtype"]
    np.testing.assert_allclose(values.ravel()[:3].astype(float), check["first"], atol=1e-7)
    assert values.astype(float).sum() == pytest.approx(check["sum"], rel=1e-6, abs=1e-4)
    if not check["call"].startswith("waveform"):  # sin and cos may differ in the last bit between machines
        assert zlib.crc32(np.ascontiguousarray(values).tobytes()) == check["crc32"]
