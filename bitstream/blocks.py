"""Where the blocks of a file lie, and whether they are intact. Knows nothing of what their payloads mean."""

import zlib
from dataclasses import dataclass

from .errors import BitstreamError
from .header import BLOCK_COLUMNS, CODEC_RATE, COLUMN_SAMPLES, MAX_SECONDS, Coding, Header
from .sizes import fixed_bytes, max_payload_bytes
from .varint import decode_varint, encode_varint

__all__ = ["CHECK_BYTES", "MAX_FILE_BYTES", "Block", "BlockMap", "pack_block"]

CHECK_BYTES = 3
CHECK_MASK = 0xFFFFFF

MAX_BLOCKS = -(-MAX_SECONDS * CODEC_RATE // (COLUMN_SAMPLES * BLOCK_COLUMNS))
MAX_FILE_BYTES = 17 + MAX_BLOCKS * (2 + max_payload_bytes(BLOCK_COLUMNS) + CHECK_BYTES)
"""No file is larger, 7.3 MB: the longest header, and for every block of 25 hours length, payload and check."""


@dataclass(frozen=True)
class Block:
    """A block's place in the file."""

    index: int
    begin: int  # its first byte, of the payload's length if that is stored
    start: int  # the payload's first byte
    stop: int  # the byte after the payload, the check's first

    @property
    def end(self) -> int:
        """The byte after the block."""
        return self.stop + CHECK_BYTES


def pack_block(header: Header, index: int, payload: bytes) -> bytes:
    """A block as it stands in the file: the payload's length where the reader cannot know it, payload, check."""
    stored_length = header.coding != Coding.FIXED and index < header.blocks - 1
    length = encode_varint(len(payload)) if stored_length else b""
    return length + payload + _check(zlib.crc32(header.to_bytes()), index, payload).to_bytes(CHECK_BYTES, "little")


def _check(header_crc: int, index: int, payload: bytes | memoryview) -> int:
    """The low 24 bits of the CRC-32 of the header, the payload, and the block's index."""
    return zlib.crc32(index.to_bytes(4, "little"), zlib.crc32(payload, header_crc)) & CHECK_MASK


class BlockMap:
    """Finds the blocks of a file.

    Args:
        data: the whole file.
        header: its header.
        header_bytes: the length of the header.
        width: bits of an index, which give the length of a block in fixed coding; not used in the others.

    Raises:
        BitstreamError: the file is larger than any file can be.
    """

    def __init__(self, data: bytes, header: Header, header_bytes: int, width: int) -> None:
        if len(data) > MAX_FILE_BYTES:
            raise BitstreamError(f"The file has more than {MAX_FILE_BYTES} bytes, the most that an .svq file can have.")
        self.data = memoryview(data)
        self.header = header
        self.first = header_bytes
        self._fixed = header.coding == Coding.FIXED
        self._full_fixed = fixed_bytes(BLOCK_COLUMNS, width)
        self._full_most = max_payload_bytes(BLOCK_COLUMNS)
        self._header_crc = zlib.crc32(self.data[:header_bytes])
        self._last = header.blocks - 1
        columns = header.columns - self._last * BLOCK_COLUMNS
        self._last_fixed = fixed_bytes(columns, width)
        self._last_most = max_payload_bytes(columns)
        # A CRC is linear: that of data followed by index i differs from that of data followed by index 0 by a number
        # that depends on i alone. So one CRC finds which index, if any, fits the check that stands behind the data.
        zero = zlib.crc32(bytes(4))
        self._index_of = {(zlib.crc32(i.to_bytes(4, "little")) ^ zero) & CHECK_MASK: i for i in range(header.blocks)}

    def intact(self, index: int, begin: int) -> Block | None:
        """Block ``index``, if it lies at ``begin`` and its check fits."""
        extent = self._extent(begin, index == self._last)
        return Block(index, begin, *extent) if extent is not None and self._index(*extent) == index else None

    def any_intact(self, begin: int, at_least: int) -> Block | None:
        """A block that lies at ``begin``, whose check fits, and whose index is ``at_least`` or more."""
        extent = self._extent(begin, last=False)
        if extent is not None:
            index = self._index(*extent)
            if index is not None and at_least <= index < self._last:
                return Block(index, begin, *extent)
        return self.intact(self._last, begin)

    def expected_end(self, index: int, begin: int) -> int | None:
        """Where block ``index``, at ``begin``, would end, be it intact or not; None if that cannot be."""
        extent = self._extent(begin, last=index == self._last)
        return None if extent is None else extent[1] + CHECK_BYTES

    def _extent(self, begin: int, last: bool) -> tuple[int, int] | None:
        """Where the payload of a block that begins at ``begin`` would start and stop, or None if none can lie there."""
        if last:  # it takes what is left of the file
            stop = len(self.data) - CHECK_BYTES
            length = stop - begin
            fits = length == self._last_fixed if self._fixed else 0 <= length <= self._last_most
            return (begin, stop) if fits else None
        if self._fixed:
            start, length = begin, self._full_fixed
        else:
            try:
                length, start = decode_varint(self.data, begin)
            except BitstreamError:
                return None
        if length > self._full_most or start + length + CHECK_BYTES > len(self.data):
            return None
        return start, start + length

    def _index(self, start: int, stop: int) -> int | None:
        """The index for which the check at ``stop`` fits the payload before it, or None if there is none."""
        stored = int.from_bytes(self.data[stop : stop + CHECK_BYTES], "little")
        return self._index_of.get(_check(self._header_crc, 0, self.data[start:stop]) ^ stored)
