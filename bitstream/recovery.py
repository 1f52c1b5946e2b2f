"""Finding the intact blocks of a damaged file."""

from .blocks import Block, BlockMap

__all__ = ["surviving_blocks"]

NEAR_BLOCKS, NEAR_BYTES = 8, 16_384
"""How far from the damage a single block is believed.

A check of 24 bits fits by chance at one place in 2^24 for every block that is looked for. Eight blocks and 16 kB keep
the danger below 1 % even after the worst damage (and below 0.1 % after the loss of one block); anything farther must
be followed by a second block that fits.
"""

MAX_TRIES = 2**21
"""Places at which blocks are searched for in one file, so that a hostile one takes seconds and not a minute.

Only damage counts: this is some 17 hours of it in one piece for a codebook of 1024 vectors.
"""


def surviving_blocks(blocks: BlockMap) -> list[Block]:
    """The intact blocks of a file in order, whatever happened to the others.

    Bytes may have changed, be missing or be too many, also where the length of a block is stored. The search has a
    bound, so that the time has one.
    """
    found: list[Block] = []
    index, position, tries = 0, blocks.first, MAX_TRIES
    while index < blocks.header.blocks:
        block = blocks.intact(index, position) or _following(blocks, index, position)
        if block is None:
            block = _search(blocks, index, position, tries)
            if block is None:
                break
            tries -= block.begin - position
        found.append(block)
        index, position = block.index + 1, block.end
    return found


def _following(blocks: BlockMap, index: int, position: int) -> Block | None:
    """The block after the damaged block ``index``, if it lies where it should: most often only a payload was hit."""
    end = blocks.expected_end(index, position)
    return None if end is None else blocks.intact(index + 1, end)


def _search(blocks: BlockMap, index: int, position: int, tries: int) -> Block | None:
    """The first block, ``index`` or a later one, that begins within ``tries`` bytes from ``position`` and is intact."""
    for begin in range(position, min(position + tries, len(blocks.data))):
        block = blocks.any_intact(begin, at_least=index)
        if block is None:
            continue
        near = block.index < index + NEAR_BLOCKS and begin < position + NEAR_BYTES
        if near or block.index == blocks.header.blocks - 1 or blocks.intact(block.index + 1, block.end):
            return block
    return None
