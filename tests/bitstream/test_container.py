"""Whole files: what goes in comes out, sizes are bounded, and nothing else is accepted."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import reference_decoder
from bitstream_cases import FINGERPRINT, Case, cases, draw_indices, forge, make_case, skewed_model
from hypothesis import given, settings
from hypothesis import strategies as st

from specvq_codec.bitstream import (
    MAX_FILE_BYTES,
    BitstreamError,
    Coding,
    CodingModel,
    Header,
    UsageError,
    WeightsError,
    container,
    inspect,
    read,
    read_lenient,
    write,
)
from specvq_codec.bitstream.header import RATES
from specvq_codec.bitstream.varint import encode_varint


def written(case: Case, entropy: str = "auto") -> bytes:
    return write(case.indices, case.sample_rate, case.num_samples, FINGERPRINT, case.model, entropy)


@given(case=cases(), entropy=st.sampled_from(["auto", "fixed", "static"]))
@settings(derandomize=True, deadline=None, max_examples=80)
def test_round_trip(case: Case, entropy: str) -> None:
    data = written(case, entropy)
    header, indices = read(data, case.model, FINGERPRINT)
    assert (header.sample_rate, header.num_samples) == (case.sample_rate, case.num_samples)
    assert header.fingerprint == FINGERPRINT[:4]
    assert indices.dtype == np.int16
    np.testing.assert_array_equal(indices, case.indices)
    lenient_header, lenient, lost = read_lenient(data, case.model, None)
    assert lenient_header == header and not lost
    np.testing.assert_array_equal(lenient, case.indices)

    info = inspect(data)
    assert info.header == header and info.is_intact and info.blocks == header.blocks
    assert info.header_bytes + info.payload_bytes + info.length_bytes + info.check_bytes == info.size == len(data)
    assert info.bits_per_second == pytest.approx(8 * len(data) * case.sample_rate / case.num_samples)


@given(case=cases(max_columns=300), entropy=st.sampled_from(["fixed", "static"]))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_the_reference_decoder_agrees(case: Case, entropy: str) -> None:
    assert case.model.static is not None
    data = written(case, entropy)
    _, indices = reference_decoder.decode(data, case.model.codebook_size, case.model.static.tolist())
    assert indices == case.indices.tolist()


@given(case=cases())
@settings(derandomize=True, deadline=None, max_examples=40)
def test_auto_is_the_smallest(case: Case) -> None:
    sizes = {entropy: len(written(case, entropy)) for entropy in ("auto", "fixed", "static")}
    assert sizes["auto"] == min(sizes["fixed"], sizes["static"])
    header = Header(Coding.FIXED, bytes(4), case.sample_rate, case.num_samples)
    codes = -(-5 * header.columns * (case.model.codebook_size - 1).bit_length() // 8)
    # Blocks are whole bytes, so the codes of all blocks together are those of the whole grid.
    assert sizes["auto"] <= codes + len(header.to_bytes()) + 3 * header.blocks
    assert sizes["fixed"] == codes + len(header.to_bytes()) + 3 * header.blocks


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seconds", [0.001, 1, 10])
def test_overhead_of_a_short_clip_is_at_most_14_bytes(rate: int, seconds: float) -> None:
    num_samples = max(1, int(rate * seconds))
    model = skewed_model(1024)
    columns = Header(Coding.FIXED, bytes(4), rate, num_samples).columns
    for entropy in ("fixed", "static"):
        data = write(draw_indices(model, columns), rate, num_samples, FINGERPRINT, model, entropy)
        assert len(data) - inspect(data).payload_bytes <= 14


@pytest.mark.parametrize("minutes", [2, 3, 7, 60])
@pytest.mark.parametrize(("codebook_size", "rate"), [(1024, 192_000), (1024, 22050), (128, 192_000), (128, 44100)])
def test_overhead_of_a_long_sound_is_at_most_one_percent(minutes: int, codebook_size: int, rate: int) -> None:
    """Also for tables as skewed as those of good codes are, which carry 92 to 99 % of their nominal bits."""
    model = skewed_model(codebook_size, concentration=3.0)
    num_samples = minutes * 60 * rate
    indices = draw_indices(model, Header(Coding.FIXED, bytes(4), rate, num_samples).columns)
    for entropy in ("fixed", "static"):
        data = write(indices, rate, num_samples, FINGERPRINT, model, entropy)
        assert len(data) - inspect(data).payload_bytes <= 0.01 * len(data)


def test_a_model_without_tables_writes_fixed_codes() -> None:
    case = make_case(64, 3)
    bare = CodingModel(64)
    data = write(case.indices, case.sample_rate, case.num_samples, FINGERPRINT, bare)
    assert inspect(data).header.coding == Coding.FIXED
    with pytest.raises(UsageError, match="no static tables"):
        write(case.indices, case.sample_rate, case.num_samples, FINGERPRINT, bare, "static")
    for reader in (read, read_lenient):
        with pytest.raises(WeightsError, match="static tables"):
            reader(written(case, "static"), bare, FINGERPRINT)


@pytest.mark.parametrize("entropy", ["fixed", "static"])
@pytest.mark.parametrize("columns", [4, 300])
def test_other_weights_are_named_but_not_blamed_for_damage(entropy: str, columns: int) -> None:
    data = written(make_case(64, columns), entropy)
    others = [skewed_model(64), skewed_model(1024), CodingModel(2)]
    for reader in (read, read_lenient):
        for model in others:
            with pytest.raises(WeightsError, match=r"01234567.*5eed5eed"):
                reader(data, model, bytes.fromhex("5eed5eed00"))
        damaged = bytearray(data)
        damaged[5] ^= 1  # in the fingerprint
        with pytest.raises(BitstreamError):
            reader(bytes(damaged), others[0], FINGERPRINT)


def test_wrong_arguments() -> None:
    case = make_case(64, 3)
    arguments: dict[str, Any] = {
        "sample_rate": 22050,
        "num_samples": 3 * 4096,
        "fingerprint": FINGERPRINT,
        "model": case.model,
    }
    for bad in (case.indices[:2], case.indices.T, case.indices.astype(float), case.indices + 64, case.indices - 64):
        with pytest.raises(UsageError, match=r"[Ii]ndices"):
            write(bad, **arguments)
    for name, value in {"entropy": "zip", "sample_rate": 3, "num_samples": 0, "fingerprint": b"abc"}.items():
        with pytest.raises(UsageError):
            write(case.indices, **{**arguments, name: value})


def test_bytes_that_do_not_decode_are_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(64, 3)
    wrong = case.indices.copy()
    wrong[1, 2] = (wrong[1, 2] + 1) % 64
    monkeypatch.setattr(container, "read", lambda *_: (None, wrong))
    with pytest.raises(BitstreamError, match="do not decode to the indices"):
        written(case)


@pytest.mark.parametrize("entropy", ["fixed", "static"])
@pytest.mark.parametrize("columns", [2, 300])
def test_every_changed_byte_and_every_cut_is_noticed(entropy: str, columns: int) -> None:
    case = make_case(3, columns)
    data = written(case, entropy)
    for position in range(len(data)):
        for change in (1, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= change
            with pytest.raises(BitstreamError):
                read(bytes(damaged), case.model, None)
    for bad in [data[:end] for end in range(len(data))] + [data + b"\0", data + data[-3:], data + data]:
        with pytest.raises(BitstreamError):
            read(bad, case.model, None)


def test_damage_is_located() -> None:
    case = make_case(64, 600)
    data = bytearray(written(case, "fixed"))
    data[-4] ^= 1
    with pytest.raises(BitstreamError, match=r"block 3 of 3 \(95\.1 s to 111\.5 s\).*--lenient"):
        read(bytes(data), case.model, FINGERPRINT)


@pytest.mark.parametrize("coding", [Coding.FIXED, Coding.STATIC])
def test_checks_come_before_entropy_decoding(coding: Coding, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(64, 600)
    data = bytearray(written(case, coding.name.lower()))
    data[-1] ^= 1

    def decode(*_: object) -> None:
        raise AssertionError("decoded before the last check was verified")

    monkeypatch.setattr(container, f"decode_{coding.name.lower()}", decode)
    with pytest.raises(BitstreamError):
        read(bytes(data), case.model, FINGERPRINT)


def test_well_checked_nonsense_is_refused() -> None:
    """Payloads that no encoder writes, in files whose checks fit."""
    model = skewed_model(3)
    static = Header(Coding.STATIC, FINGERPRINT[:4], 22050, 2 * 4096)
    fixed = Header(Coding.FIXED, FINGERPRINT[:4], 22050, 2 * 4096)
    for header, payload in [
        (static, bytes(1)),
        (static, b"\x12" + bytes(1)),
        (static, b"\xff" * 8),
        (static, b"\x12" * 39),
        (fixed, b"\xff\xff\xf0"),
        (fixed, b"\x00\x00\x01"),
        (fixed, b"\x00\x00"),
        (fixed, bytes(4)),
    ]:
        for reader in (read, read_lenient):
            with pytest.raises(BitstreamError):
                reader(forge(header, [payload]), model, FINGERPRINT)


def test_a_small_file_cannot_claim_a_long_sound() -> None:
    for coding in (Coding.FIXED, Coding.STATIC):
        header = Header(coding, FINGERPRINT[:4], 768_000, 90_000 * 768_000)
        data = header.to_bytes() + encode_varint(2) + bytes(30)
        for reader in (read, read_lenient):
            with pytest.raises(BitstreamError):
                reader(data, CodingModel(2, np.full((5, 2), 2**23 - 1)), None)
        assert not any(inspect(data).intact)


def test_no_valid_file_is_larger_than_the_bound() -> None:
    header = Header(Coding.STATIC, FINGERPRINT[:4], 767_999, 90_000 * 767_999)
    payloads = [bytes(3848)] * (header.blocks - 1)
    last = 15 * (header.columns - 256 * (header.blocks - 1)) + 8
    data = forge(header, [*payloads, bytes(last)])
    assert MAX_FILE_BYTES - 3848 < len(data) <= MAX_FILE_BYTES and inspect(data).is_intact
    with pytest.raises(BitstreamError, match="more than"):
        inspect(data + bytes(MAX_FILE_BYTES))


def test_the_package_needs_no_torch() -> None:
    code = "import sys, specvq_codec.bitstream; assert not {'torch', 'constriction'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
