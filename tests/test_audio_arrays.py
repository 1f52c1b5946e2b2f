"""Arrays and tensors as sound: every type has a defined outcome."""

import numpy as np
import pytest
import torch

from specvq_codec.audio import array_stream
from specvq_codec.bitstream.errors import AudioError


def whole(stream) -> np.ndarray:
    return np.concatenate(list(stream))


@pytest.mark.parametrize(
    ("dtype", "factor", "offset"),
    [
        ("uint8", 2**7, 2**7),
        ("int8", 2**7, 0),
        ("int16", 2**15, 0),
        ("int32", 2**31, 0),
        ("float16", 1, 0),
        ("float32", 1, 0),
        ("float64", 1, 0),
    ],
)
def test_array_types_and_torch(dtype, factor, offset):
    values = np.array([-1.0, -0.5, 0.0, 0.25, 0.5])
    samples = (values * factor + offset).astype(dtype)
    np.testing.assert_array_equal(whole(array_stream(samples, 44100)), values.astype(np.float32))
    np.testing.assert_array_equal(whole(array_stream(torch.from_numpy(samples), 44100)), values.astype(np.float32))


def test_more_tensors():
    values = torch.tensor([[-1.0, 0.5], [0.0, 0.25]], requires_grad=True)
    np.testing.assert_array_equal(whole(array_stream(values, 44100)), [-0.5, 0.375])
    np.testing.assert_array_equal(whole(array_stream(values.bfloat16(), 44100)), [-0.5, 0.375])
    np.testing.assert_array_equal(whole(array_stream(values.T, 44100)), [-0.25, 0.125])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "at least one sample"),
        (np.zeros((2, 0)), "at least one sample"),
        (np.float32(1), "shape"),
        (np.zeros((1, 2, 3)), "shape"),
        (np.zeros(3, np.int64), "int64"),
        (np.zeros(3, bool), "bool"),
        (np.zeros(3, complex), "complex"),
        (["a", "b"], "type"),
        ([[0.1], [0.1, 0.2]], "channels of one length"),
        (torch.zeros(3, 4).to_sparse(), "make it dense"),
        (torch.zeros(3, device="meta"), "make it dense"),
    ],
)
def test_arrays_that_are_refused(samples, message):
    with pytest.raises(AudioError, match=message):
        array_stream(samples, 44100)


@pytest.mark.parametrize("rate", [0, -1, 7999, 192_001, 44100.5, float("nan"), None, "44100"])
def test_rates_that_are_refused(rate):
    with pytest.raises(AudioError, match="sample rate"):
        array_stream(np.zeros(3), rate)
