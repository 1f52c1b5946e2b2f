"""Damage to one block of a long file costs that block alone."""

import numpy as np
import pytest
from bitstream_cases import FINGERPRINT, Case, make_case
from hypothesis import given, settings
from hypothesis import strategies as st

from specvq_codec.bitstream import BitstreamError, inspect, read_lenient, recovery, write
from specvq_codec.bitstream.blocks import Block, BlockMap
from specvq_codec.bitstream.header import Header
from specvq_codec.bitstream.recovery import surviving_blocks

COLUMNS = 5 * 256 + 10
BLOCKS = 6
CASE = make_case(100, COLUMNS)


def written(entropy: str, case: Case = CASE) -> tuple[bytes, list[Block]]:
    """A file of six blocks, and where they lie."""
    data = write(case.indices, case.sample_rate, case.num_samples, FINGERPRINT, case.model, entropy)
    header, header_bytes = Header.parse(data)
    return data, surviving_blocks(BlockMap(data, header, header_bytes, 7))


def lost_ranges(blocks: set[int]) -> list[tuple[int, int]]:
    """The column ranges of lost blocks, neighbours joined."""
    ranges: list[tuple[int, int]] = []
    for block in sorted(blocks):
        first, end = 256 * block, min(COLUMNS, 256 * (block + 1))
        if ranges and ranges[-1][1] == first:
            first = ranges.pop()[0]
        ranges.append((first, end))
    return ranges


def assert_lost(damaged: bytes, blocks: set[int]) -> None:
    """Exactly these blocks are lost, and everything else is as it was."""
    header, indices, lost = read_lenient(damaged, CASE.model, FINGERPRINT)
    assert lost == lost_ranges(blocks)
    expected = CASE.indices.copy()
    for first, end in lost:
        expected[first:end] = 0
    np.testing.assert_array_equal(indices, expected)
    assert header.columns == COLUMNS
    info = inspect(damaged)
    assert {index for index, intact in enumerate(info.intact) if not intact} == blocks
    parts = info.header_bytes + info.payload_bytes + info.length_bytes + info.check_bytes + info.damaged_bytes
    assert parts == info.size == len(damaged)
    assert not info.is_intact


@pytest.mark.parametrize("entropy", ["fixed", "static"])
@pytest.mark.parametrize("hit", range(BLOCKS))
def test_a_flipped_byte_costs_one_block(entropy: str, hit: int) -> None:
    data, blocks = written(entropy)
    assert len(blocks) == BLOCKS
    block = blocks[hit]
    assert (block.start > block.begin) == (entropy == "static" and hit < BLOCKS - 1)
    # The length where there is one, the payload, the check.
    for position in (*range(block.begin, block.start), block.start, (block.start + block.stop) // 2, block.end - 1):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= change
            assert_lost(bytes(damaged), {hit})


@pytest.mark.parametrize("entropy", ["fixed", "static"])
@given(data=st.data())
@settings(derandomize=True, deadline=None, max_examples=25)
def test_missing_or_additional_bytes_cost_the_blocks_they_touch(entropy: str, data: st.DataObject) -> None:
    whole, blocks = written(entropy)
    first = data.draw(st.integers(blocks[0].begin, len(whole) - 1))
    end = data.draw(st.integers(first + 1, min(len(whole), first + 3000)))
    touched = {block.index for block in blocks if block.begin < end and block.end > first}
    if len(touched) < BLOCKS:
        assert_lost(whole[:first] + whole[end:], touched)
    inserted = whole[:first] + data.draw(st.binary(min_size=1, max_size=200)) + whole[first:]
    # Bytes between two blocks, or before the first, harm none of them.
    between = {block.begin for block in blocks}
    harmed = set() if first in between else {block.index for block in blocks if block.begin < first < block.end}
    assert read_lenient(inserted, CASE.model, FINGERPRINT)[2] == lost_ranges(harmed)


@pytest.mark.parametrize("entropy", ["fixed", "static"])
def test_isolated_blocks_survive_between_damaged_ones(entropy: str) -> None:
    data, blocks = written(entropy)
    damaged = bytearray(data)
    for hit in (0, 2, 4):
        damaged[blocks[hit].begin] ^= 0xFF
    assert_lost(bytes(damaged), {0, 2, 4})
    del damaged[blocks[2].begin + 5]
    assert_lost(bytes(damaged), {0, 2, 4})


@pytest.mark.parametrize("entropy", ["fixed", "static"])
def test_a_file_that_is_cut_short_or_goes_on(entropy: str) -> None:
    data, blocks = written(entropy)
    assert_lost(data[: blocks[3].stop], {3, 4, 5})
    assert_lost(data[: blocks[3].end], {4, 5})
    assert_lost(data + bytes(100), {5})  # the last block extends to the end of the file
    assert_lost(data[: blocks[0].begin] + data[blocks[5].begin :], {0, 1, 2, 3, 4})


def test_blocks_far_from_the_damage_need_a_second_one() -> None:
    """After a long stretch of garbage a single check could fit by chance."""
    case = make_case(2, 40 * 256, concentration=0.1)
    data, blocks = written("static", case)
    garbage = np.random.default_rng(1).bytes(20_000)
    damaged = data[: blocks[2].begin] + garbage + data[blocks[20].begin :]
    _, indices, lost = read_lenient(damaged, case.model, FINGERPRINT)
    assert lost == [(512, 20 * 256)]
    np.testing.assert_array_equal(indices[20 * 256 :], case.indices[20 * 256 :])
    alone = data[: blocks[2].begin] + garbage + data[blocks[20].begin : blocks[20].end] + garbage
    assert read_lenient(alone, case.model, FINGERPRINT)[2] == [(512, 40 * 256)]


def test_the_search_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    data, blocks = written("static")
    damaged = data[: blocks[1].begin] + bytes(300) + data[blocks[1].begin :]
    monkeypatch.setattr(recovery, "MAX_TRIES", 301)
    assert read_lenient(damaged, CASE.model, FINGERPRINT)[2] == []
    monkeypatch.setattr(recovery, "MAX_TRIES", 300)
    assert read_lenient(damaged, CASE.model, FINGERPRINT)[2] == [(256, COLUMNS)]


def test_swapped_and_foreign_blocks_are_not_taken() -> None:
    data, blocks = written("fixed")
    first, second = data[blocks[1].begin : blocks[1].end], data[blocks[2].begin : blocks[2].end]
    swapped = data[: blocks[1].begin] + second + first + data[blocks[3].begin :]
    header, indices, lost = read_lenient(swapped, CASE.model, FINGERPRINT)
    assert (256, 512) in lost and (512, 768) not in lost
    other = write(CASE.indices, 22050, CASE.num_samples - 1, FINGERPRINT, CASE.model, "fixed")
    spliced = data[: blocks[3].begin] + other[len(other) - len(data) + blocks[3].begin :]
    assert_lost(spliced, {3, 4, 5})
    assert header.columns == len(indices)


@pytest.mark.parametrize("entropy", ["fixed", "static"])
def test_nothing_is_recovered_under_a_damaged_header(entropy: str) -> None:
    data, blocks = written(entropy)
    for position in range(blocks[0].begin):
        damaged = bytearray(data)
        damaged[position] ^= 0x04
        with pytest.raises(BitstreamError):
            read_lenient(bytes(damaged), CASE.model, None)
