"""What can be said about an ``.svq`` file without the weights it needs."""

from dataclasses import dataclass

from .blocks import CHECK_BYTES, BlockMap
from .header import BLOCK_COLUMNS, Coding, Header
from .recovery import surviving_blocks
from .sizes import MAX_CODEBOOK_SIZE, fixed_bytes, symbol_width

__all__ = ["FileInfo", "inspect"]

MAX_WIDTH = symbol_width(MAX_CODEBOOK_SIZE)


@dataclass(frozen=True)
class FileInfo:
    """A file's header, and where its bytes go. The bytes of all parts add up to ``size``.

    Attributes:
        header: the file's header.
        size: bytes of the whole file.
        intact: for every block, whether it is there and its check fits.
        header_bytes: bytes of the header.
        payload_bytes: bytes of the coded indices in intact blocks.
        length_bytes: bytes of the lengths stored with them.
        check_bytes: bytes of their checks.
        damaged_bytes: all other bytes; 0 in an intact file.
    """

    header: Header
    size: int
    intact: tuple[bool, ...]
    header_bytes: int
    payload_bytes: int
    length_bytes: int
    check_bytes: int
    damaged_bytes: int

    @property
    def blocks(self) -> int:
        """Blocks that the file should have."""
        return len(self.intact)

    @property
    def is_intact(self) -> bool:
        """Whether every check fits, and no byte is left over."""
        return all(self.intact) and self.damaged_bytes == 0

    @property
    def bits_per_second(self) -> float:
        """Bits of the whole file per second of sound."""
        return 8 * self.size / self.header.duration


def inspect(data: bytes) -> FileInfo:
    """Look at a file without decoding it. Needs no weights; a damaged block is not an error.

    Raises:
        BitstreamError: this is not an ``.svq`` file, or its header cannot be read.
    """
    header, header_bytes = Header.parse(data)
    width = _guess_width(data, header, header_bytes) if header.coding == Coding.FIXED else 0
    found = surviving_blocks(BlockMap(data, header, header_bytes, width))
    indices = {block.index for block in found}
    payload_bytes = sum(block.stop - block.start for block in found)
    length_bytes = sum(block.start - block.begin for block in found)
    check_bytes = CHECK_BYTES * len(found)
    return FileInfo(
        header=header,
        size=len(data),
        intact=tuple(index in indices for index in range(header.blocks)),
        header_bytes=header_bytes,
        payload_bytes=payload_bytes,
        length_bytes=length_bytes,
        check_bytes=check_bytes,
        damaged_bytes=len(data) - header_bytes - payload_bytes - length_bytes - check_bytes,
    )


def _guess_width(data: bytes, header: Header, header_bytes: int) -> int:
    """Bits of an index in a file of fixed coding, which only the weights know for sure.

    The file's size gives them away; where two widths give the same size, the blocks lie at the same places under both.
    If bytes are missing or too many, the width under which the first or the last block is intact is the right one, and
    failing that the narrowest one that needs more bytes than are there is the most likely.
    """
    last_columns = header.columns - (header.blocks - 1) * BLOCK_COLUMNS
    widths = range(1, MAX_WIDTH + 1)
    sizes = {
        width: header_bytes
        + (header.blocks - 1) * (fixed_bytes(BLOCK_COLUMNS, width) + CHECK_BYTES)
        + fixed_bytes(last_columns, width)
        + CHECK_BYTES
        for width in widths
    }
    for width in widths:
        if sizes[width] == len(data):
            return width
    for width in widths:
        blocks = BlockMap(data, header, header_bytes, width)
        last_begin = len(data) - CHECK_BYTES - fixed_bytes(last_columns, width)
        if blocks.intact(0, header_bytes) or (
            last_begin >= header_bytes and blocks.intact(header.blocks - 1, last_begin)
        ):
            return width
    return next((width for width in widths if sizes[width] > len(data)), MAX_WIDTH)
