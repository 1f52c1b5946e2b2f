"""Fixed and static coding of one block: sizes, exactness, and payloads that no encoder writes."""

import numpy as np
import pytest
import reference_decoder
from bitstream_cases import draw_indices, make_case, skewed_model
from hypothesis import given, settings
from hypothesis import strategies as st

from specvq_codec.bitstream import BitstreamError, CodingModel, UsageError, WeightsError, frequency_tables
from specvq_codec.bitstream.entropy import (
    decode_fixed,
    decode_static,
    encode_fixed,
    encode_static,
    max_payload_bytes,
)


def interval_bits(indices: np.ndarray, model: CodingModel) -> float:
    """Information in the range coder's final interval, by the encoder of FORMAT.md section 6, in bits."""
    assert model.static is not None
    digits, span = 64, 2**64 - 1
    for row in range(5):
        frequencies = (model.static[row].astype(np.int64) + 1).tolist()
        for index in indices[:, row].tolist():
            span = (span >> 24) * frequencies[index]
            if span < 2**32:
                span, digits = span << 32, digits + 32
    return digits - float(np.log2(float(span)))


@given(
    counts=st.integers(2, 300).flatmap(
        lambda k: st.lists(st.lists(st.integers(0, 2**20), min_size=k, max_size=k), min_size=5, max_size=5)
    )
)
@settings(derandomize=True, deadline=None, max_examples=50)
def test_frequency_tables_follow_the_counts(counts: list[list[int]]) -> None:
    table = frequency_tables(np.array(counts))
    model = CodingModel(len(counts[0]), table)  # checks range and sums
    assert table.dtype == np.int32
    expected = (np.array(counts) + 0.5) / (np.sum(counts, axis=1, keepdims=True) + len(counts[0]) / 2)
    assert model.static is not None
    np.testing.assert_allclose(table, expected * (2**24 - len(counts[0])), atol=1.0)


def test_frequency_tables_are_exact_for_large_and_empty_counts() -> None:
    counts = np.zeros((5, 4096), dtype=np.int64)
    counts[0, 0] = 2**37 - 1
    counts[1] = 2**24
    table = frequency_tables(counts)
    assert np.all(table.sum(axis=1, dtype=np.int64) == 2**24 - 4096)
    assert np.all(np.ptp(table[1:], axis=1) == 0) and table[0, 0] == 2**24 - 4096
    np.testing.assert_array_equal(frequency_tables(counts.astype(np.uint64)), table)


@pytest.mark.parametrize(
    "counts",
    [np.zeros((4, 8), int), np.zeros((5, 1), int), np.zeros((5, 8)), np.full((5, 8), -1), np.full((5, 8), 2**37 - 1)],
)
def test_bad_counts(counts: np.ndarray) -> None:
    with pytest.raises(UsageError):
        frequency_tables(counts)


def test_bad_models() -> None:
    good = skewed_model(8).static
    assert good is not None
    for size in (0, 1, 2**15 + 1):
        with pytest.raises(WeightsError, match="cannot be coded"):
            CodingModel(size)
    negative, wrong_sum, huge = good.astype(np.int64), good.copy(), good.astype(np.uint64)
    negative[0, :2] = -1, good[0, :2].sum() + 1
    wrong_sum[4, 3] += 1
    huge[0, 0] += np.uint64(2**63)
    huge[0, 1] += np.uint64(2**63)  # wraps around to the right sum
    for table in (negative, wrong_sum, huge, good[:4], good[:, :7], good.astype(np.float64)):
        with pytest.raises(WeightsError, match="static tables"):
            CodingModel(8, table)
    with pytest.raises(WeightsError, match="no static tables"):
        encode_static(np.zeros((1, 5), int), CodingModel(8))


@pytest.mark.parametrize("codebook_size", [2, 3, 128, 1000, 1024, 4096, 2**15])
@pytest.mark.parametrize("columns", [1, 2, 53, 256])
def test_blocks_decode_to_what_was_encoded(codebook_size: int, columns: int) -> None:
    model = skewed_model(codebook_size)
    tables = () if model.static is None else model.static.tolist()
    for uniform in (False, True):
        indices = draw_indices(model, columns, seed=columns, uniform=uniform)
        fixed, static = encode_fixed(indices, model), encode_static(indices, model)
        assert len(fixed) == -(-columns * 5 * (codebook_size - 1).bit_length() // 8)
        assert len(static) <= max_payload_bytes(columns)
        np.testing.assert_array_equal(decode_fixed(fixed, columns, model), indices)
        np.testing.assert_array_equal(decode_static(static, columns, model), indices)
        assert reference_decoder.decode_fixed(fixed, columns, codebook_size) == indices.tolist()
        assert reference_decoder.decode_static(static, columns, tables) == indices.tolist()


def test_static_bits_is_the_cross_entropy() -> None:
    model = CodingModel(3, np.array([[2**23 - 1, 2**22 - 1, 2**22 - 1]] * 5))
    assert model.static_bits(np.array([[0, 0, 1, 2, 1], [0, 0, 0, 0, 0]])) == 1 + 1 + 2 + 2 + 2 + 5


def test_sealing_costs_less_than_a_byte_and_little_in_the_mean() -> None:
    model = skewed_model(1024, concentration=1.0)
    overheads = []
    for seed in range(400):
        indices = draw_indices(model, 53, seed)
        overheads.append(8 * len(encode_static(indices, model)) - interval_bits(indices, model))
    assert max(overheads) < 8
    assert 2.2 < np.mean(overheads) < 3.0


@pytest.mark.parametrize("codebook_size", [2, 128, 1024])
def test_static_coding_comes_within_one_percent_of_its_tables(codebook_size: int) -> None:
    case = make_case(codebook_size, 256)
    bits = case.model.static_bits(case.indices)
    coded = 8 * len(encode_static(case.indices, case.model))
    assert bits - 1 < coded < bits + 8 + 0.0001 * bits  # the range coder's own rounding is far below 1 %
    assert coded < 1.01 * bits + 8


def test_static_coding_comes_within_one_percent_of_the_entropy() -> None:
    model = skewed_model(1024)
    assert model.static is not None
    p = (model.static + 1.0) / 2**24
    entropy = float(-np.sum(p * np.log2(p))) * 256
    coded = [8 * len(encode_static(draw_indices(model, 256, seed), model)) for seed in range(40)]
    assert abs(np.mean(coded) / entropy - 1) < 0.01


def test_likeliest_and_rarest_indices() -> None:
    """Payloads may be empty, and 24 bits an index is the most."""
    table = np.zeros((5, 4096), dtype=np.int32)
    table[:, 0] = 2**24 - 4096
    model = CodingModel(4096, table)
    assert encode_static(np.zeros((256, 5), int), model) == b""
    assert decode_static(b"", 256, model).sum() == 0
    rare = np.full((256, 5), 4095)
    payload = encode_static(rare, model)
    assert 3 * 5 * 256 <= len(payload) <= max_payload_bytes(256)
    np.testing.assert_array_equal(decode_static(payload, 256, model), rare)


@given(data=st.data())
@settings(derandomize=True, deadline=None, max_examples=200)
def test_any_payload_is_refused_or_is_the_only_one_of_its_indices(data: st.DataObject) -> None:
    """The real and the reference decoder accept the same payloads, and only those that an encoder writes."""
    model = skewed_model(
        data.draw(st.sampled_from([2, 3, 5, 100])), concentration=data.draw(st.sampled_from([0.1, 9.0]))
    )
    columns = data.draw(st.integers(1, 8))
    indices = draw_indices(model, columns, data.draw(st.integers(0, 99)))
    coding = data.draw(st.sampled_from(["fixed", "static"]))
    encode, decode = (encode_fixed, decode_fixed) if coding == "fixed" else (encode_static, decode_static)
    payload = bytearray(encode(indices, model))
    change = data.draw(st.sampled_from(["end", "longer", "shorter", "any"]))
    if change == "end" and payload:
        payload[-1] = data.draw(st.integers(0, 255))
    elif change == "longer":
        payload += data.draw(st.binary(min_size=1, max_size=9))
    elif change == "shorter":
        del payload[data.draw(st.integers(0, len(payload))) :]
    elif change == "any":
        payload[:] = data.draw(st.binary(max_size=20))
    assert model.static is not None
    try:
        if coding == "fixed":
            expected = reference_decoder.decode_fixed(bytes(payload), columns, model.codebook_size)
        else:
            expected = reference_decoder.decode_static(bytes(payload), columns, model.static.tolist())
    except reference_decoder.Refused:
        with pytest.raises(BitstreamError):
            decode(bytes(payload), columns, model)
    else:
        decoded = decode(bytes(payload), columns, model)
        assert decoded.tolist() == expected
        assert encode(decoded, model) == payload
