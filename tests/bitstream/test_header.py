"""Headers, variable-length integers, and the arithmetic of columns and blocks."""

import itertools
from fractions import Fraction
from math import floor

import pytest
import reference_decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from specvq_codec.bitstream import BitstreamError, Coding, Header, UsageError, inspect
from specvq_codec.bitstream.header import RATES
from specvq_codec.bitstream.varint import decode_varint, encode_varint

rates = st.sampled_from(RATES) | st.integers(1000, 768_000)


@given(value=st.integers(0, 2**42 - 1), before=st.binary(max_size=3), after=st.binary(max_size=3))
@settings(derandomize=True, deadline=None)
def test_varint_round_trip(value: int, before: bytes, after: bytes) -> None:
    encoded = encode_varint(value)
    assert len(encoded) == max(1, -(-value.bit_length() // 7))
    assert decode_varint(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


@given(data=st.binary(max_size=8))
@settings(derandomize=True, deadline=None, max_examples=500)
def test_a_varint_has_one_form(data: bytes) -> None:
    try:
        value, end = decode_varint(data, 0)
    except BitstreamError:
        return
    assert encode_varint(value) == data[:end]


@pytest.mark.parametrize(
    "data", ["", "80", "ff ff", "80 00", "ff 80 00", "80 80 80 80 80 80 01", "ff ff ff ff ff ff ff"]
)
def test_bad_varints(data: str) -> None:
    with pytest.raises(BitstreamError):
        decode_varint(bytes.fromhex(data), 0)


@given(rate=rates, data=st.data(), coding=st.sampled_from(Coding), fingerprint=st.binary(min_size=4, max_size=4))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_header_round_trip_and_columns(rate: int, data: st.DataObject, coding: Coding, fingerprint: bytes) -> None:
    num_samples = data.draw(st.integers(1, 90_000 * rate) | st.integers(1, 1000))
    header = Header(coding, fingerprint, rate, num_samples)
    encoded = header.to_bytes()
    assert Header.parse(encoded + b"more") == (header, len(encoded))
    assert header.codec_samples == max(1, floor(Fraction(num_samples * 22050, rate) + Fraction(1, 2)))
    assert 4096 * (header.columns - 1) < header.codec_samples <= 4096 * header.columns
    assert header.columns == reference_decoder.count_columns(rate, num_samples)
    ranges = [header.block_range(block) for block in range(header.blocks)]
    assert ranges[0][0] == 0 and ranges[-1][1] == header.columns and 1 <= ranges[-1][1] - ranges[-1][0] <= 256
    assert all(end - first == 256 and end == start for (first, end), (start, _) in itertools.pairwise(ranges))


@pytest.mark.parametrize(
    ("rate", "num_samples", "columns"),
    [(22050, 1, 1), (22050, 4096, 1), (22050, 4097, 2), (44100, 8192, 1), (44100, 8193, 2), (192000, 1, 1)],
)
def test_columns(rate: int, num_samples: int, columns: int) -> None:
    assert Header(Coding.FIXED, bytes(4), rate, num_samples).columns == columns


@pytest.mark.parametrize("rate", RATES)
def test_header_of_ten_seconds_has_eleven_bytes_at_most(rate: int) -> None:
    for seconds in (0.001, 1, 5, 10):
        assert len(Header(Coding.STATIC, bytes(4), rate, max(1, int(rate * seconds))).to_bytes()) <= 11


@pytest.mark.parametrize(
    ("rate", "num_samples"), [(999, 10), (768_001, 10), (0, 10), (22050, 0), (22050, 90_000 * 22050 + 1)]
)
def test_impossible_headers_cannot_be_made_or_read(rate: int, num_samples: int) -> None:
    with pytest.raises(UsageError):
        Header(Coding.FIXED, bytes(4), rate, num_samples)
    rate_code, explicit = (0, b"") if rate == 22050 else (15, encode_varint(rate))
    with pytest.raises(BitstreamError):
        Header.parse(b"SVQ" + bytes([64 | rate_code]) + bytes(4) + explicit + encode_varint(num_samples))
    with pytest.raises(UsageError):
        Header(Coding.FIXED, bytes(5), 22050, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an .svq file"),
        (b"RIFF" + bytes(40), "not an .svq file"),
        (b"SVQ", "cut short"),
        (b"SVQ\x40\0\0\0", "cut short"),
        (b"SVQ\x40\0\0\0\0", "cut short"),
        (b"SVQ\x00" + bytes(20), "version 0"),
        (b"SVQ\x80" + bytes(20), "version 2.*install a newer one"),
        (b"SVQ\xc0" + bytes(20), "version 3.*install a newer one"),
        (b"SVQ\x70" + bytes(20), "coding 3.*newer"),
        (b"SVQ\x4f\0\0\0\0" + encode_varint(44100) + b"\1" + bytes(20), "shortest form"),
        (b"SVQ\x40\0\0\0\0\x81\0" + bytes(20), "shortest form"),
    ],
)
def test_headers_that_are_refused(data: bytes, message: str) -> None:
    for reader in (Header.parse, inspect):
        with pytest.raises(BitstreamError, match=message):
            reader(data)
