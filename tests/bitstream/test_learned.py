"""Learned coding: sizes, exactness, payloads that no encoder writes, and weights that are not the right ones."""

from typing import Any

import numpy as np
import pytest
import reference_decoder
from bitstream_cases import FINGERPRINT, draw_indices, draw_likely, forge, skewed_model
from hypothesis import given, settings
from hypothesis import strategies as st
from prior_cases import random_prior

from specvq_codec.bitstream import (
    BitstreamError,
    Coding,
    CodingModel,
    Header,
    Prior,
    UsageError,
    WeightsError,
    inspect,
    learned_mark,
    read,
    read_lenient,
    write,
)
from specvq_codec.bitstream.entropy import encode_fixed, max_payload_bytes
from specvq_codec.bitstream.learned import decode_learned, encode_learned, learned_bits

TENSORS = random_prior()
LISTS: dict[str, Any] = {name: tensor.tolist() for name, tensor in TENSORS.items()}
MODEL = CodingModel(64, skewed_model(64).static, Prior(TENSORS))
COLUMNS = 600
INDICES = draw_likely(Prior(TENSORS), COLUMNS)


def written(indices: np.ndarray, entropy: str = "learned", model: CodingModel = MODEL) -> bytes:
    return write(indices, 22050, len(indices) * 4096, FINGERPRINT, model, entropy)


@pytest.mark.parametrize("columns", [1, 2, 9, 53])
def test_blocks_decode_to_what_was_encoded(columns: int) -> None:
    for indices in (INDICES[:columns], np.full((columns, 5), 63, np.int16)):
        payload = encode_learned(indices, MODEL)
        assert len(payload) <= max_payload_bytes(columns)
        (decoded,) = decode_learned([payload], [columns], MODEL)
        assert isinstance(decoded, np.ndarray) and decoded.dtype == np.int16
        np.testing.assert_array_equal(decoded, indices)
        assert reference_decoder.decode_learned(payload, columns, LISTS) == indices.tolist()


def test_coding_comes_within_a_byte_of_the_model() -> None:
    bits = learned_bits(INDICES[:256], MODEL)
    assert bits.shape == (256, 5)
    coded = 8 * len(encode_learned(INDICES[:256], MODEL))
    assert bits.sum() - 8 < coded < bits.sum() + 8 + 0.0001 * bits.sum()
    assert coded < 0.9 * 8 * len(encode_fixed(INDICES[:256], MODEL))


def test_blocks_decoded_together_are_those_decoded_alone() -> None:
    lengths = [256, 3, 256, 1, 90]
    blocks = [INDICES[first : first + length] for first, length in enumerate(lengths)]
    payloads = [encode_learned(block, MODEL) for block in blocks]
    payloads[2] = payloads[2][:-1] + b"\0"
    payloads[4] = b"\xff" * 20
    together = decode_learned(payloads, lengths, MODEL)
    for place, (block, result) in enumerate(zip(blocks, together, strict=True)):
        if place in (2, 4):
            assert isinstance(result, BitstreamError)
        else:
            assert isinstance(result, np.ndarray)
            np.testing.assert_array_equal(result, block)


@given(data=st.data())
@settings(derandomize=True, deadline=None, max_examples=100)
def test_any_payload_is_refused_or_is_the_only_one_of_its_indices(data: st.DataObject) -> None:
    """The real and the reference decoder accept the same payloads, and only those that an encoder writes."""
    columns = data.draw(st.integers(1, 4))
    payload = bytearray(encode_learned(INDICES[data.draw(st.integers(0, 99)) :][:columns], MODEL))
    change = data.draw(st.sampled_from(["none", "end", "longer", "shorter", "any"]))
    if change == "end" and payload:
        payload[-1] = data.draw(st.integers(0, 255))
    elif change == "longer":
        payload += data.draw(st.binary(min_size=1, max_size=9))
    elif change == "shorter":
        del payload[data.draw(st.integers(0, len(payload))) :]
    elif change == "any":
        payload[:] = data.draw(st.binary(max_size=20))
    (decoded,) = decode_learned([bytes(payload)], [columns], MODEL)
    try:
        expected = reference_decoder.decode_learned(bytes(payload), columns, LISTS)
    except reference_decoder.Refused:
        assert isinstance(decoded, BitstreamError)
    else:
        assert isinstance(decoded, np.ndarray) and decoded.tolist() == expected
        assert encode_learned(decoded, MODEL) == payload


def test_files() -> None:
    data = written(INDICES)
    header, decoded = read(data, MODEL, FINGERPRINT)
    assert header.coding == Coding.LEARNED and inspect(data).is_intact and inspect(data).blocks == 3
    np.testing.assert_array_equal(decoded, INDICES)
    assert header.fingerprint == learned_mark(FINGERPRINT, Prior(TENSORS).digest)
    assert len(data) < min(len(written(INDICES, "static")), len(written(INDICES, "fixed")))
    assert written(INDICES, "auto") == data
    short = written(INDICES[:53])
    about = inspect(short)
    assert about.size - about.payload_bytes <= 14


def test_auto_takes_what_is_smallest() -> None:
    unlikely = draw_likely(Prior(random_prior(seed=1)), 60)
    sizes = {entropy: len(written(unlikely, entropy)) for entropy in ("fixed", "static", "learned")}
    assert sizes["learned"] > sizes["fixed"]
    assert len(written(unlikely, "auto")) == min(sizes.values())


def test_damage_stays_within_a_block() -> None:
    data = bytearray(written(INDICES))
    data[40] ^= 1
    with pytest.raises(BitstreamError, match="block 1 of 3"):
        read(bytes(data), MODEL, FINGERPRINT)
    _, indices, lost = read_lenient(bytes(data), MODEL, FINGERPRINT)
    assert lost == [(0, 256)]
    np.testing.assert_array_equal(indices[256:], INDICES[256:])


def test_blocks_that_no_encoder_writes_are_lost_alone() -> None:
    header = Header(Coding.LEARNED, MODEL.prior.mark(FINGERPRINT) if MODEL.prior else b"", 22050, 300 * 4096)
    data = forge(header, [encode_learned(INDICES[:256], MODEL), b"\xff" * 30])
    with pytest.raises(BitstreamError, match="codes that no index has"):
        read(data, MODEL, FINGERPRINT)
    _, indices, lost = read_lenient(data, MODEL, FINGERPRINT)
    assert lost == [(256, 300)]
    np.testing.assert_array_equal(indices[:256], INDICES[:256])


@pytest.mark.parametrize("reader", [read, read_lenient])
def test_other_priors_and_weights_are_named(reader: Any) -> None:
    data = written(INDICES[:60])
    mark, other = data[4:8].hex(), Prior(random_prior(seed=1))
    with pytest.raises(WeightsError, match=f"prior {mark}, and these are {other.mark(FINGERPRINT).hex()}: decode it"):
        reader(data, CodingModel(64, prior=other), FINGERPRINT)
    with pytest.raises(WeightsError, match=f"prior {mark}, and these are 01234567 without a prior: decode it"):
        reader(data, CodingModel(64), FINGERPRINT)
    with pytest.raises(WeightsError, match="needs a prior, which these weights do not have"):
        reader(data, CodingModel(64), None)
    with pytest.raises(WeightsError, match=f"prior {mark}, and these are"):
        reader(data, MODEL, bytes(4))
    damaged = data[:4] + bytes(4) + data[8:]
    with pytest.raises(BitstreamError, match="file is damaged"):
        reader(damaged, MODEL, FINGERPRINT)


def test_files_without_learned_coding_need_no_prior() -> None:
    for entropy in ("fixed", "static"):
        data = written(INDICES[:60], entropy)
        assert data == written(INDICES[:60], entropy, CodingModel(64, MODEL.static))
        np.testing.assert_array_equal(read(data, CodingModel(64, MODEL.static), FINGERPRINT)[1], INDICES[:60])


def test_weights_without_a_prior() -> None:
    with pytest.raises(UsageError, match="no prior for learned coding: use --entropy auto"):
        written(INDICES[:9], "learned", skewed_model(64))
    usual = draw_indices(skewed_model(64), 60)
    assert written(usual, "auto", skewed_model(64))[3] >> 4 & 3 == Coding.STATIC
    with pytest.raises(WeightsError, match="prior of the weights is for 64 codebook vectors, and there are 32"):
        CodingModel(32, prior=Prior(TENSORS))
