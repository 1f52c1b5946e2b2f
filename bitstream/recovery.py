"""Finding the intact blocks of a damaged file."""

from .blocks import Block, BlockMap

__all__ = ["surviving_blocks"]

NEAR_BLOCKS, NEAR_BYTES = 8, 16_384
"""How far from the damage a single block is believed.

A check of 24 bits fits by chance at one place in 2^24 for every block that is looked for. Eight blocks and 16 kB keep
the danger below 1 % even after the worst damage (and below 0.1 % after the loss of one block); anything farther must
be followed by a second block that fits.
"""


def surviving_blocks(blocks: BlockMap) -> list[Block]:
    """The intact blocks of a file in order, whatever happened to the others.

    Bytes may have changed, be missing or be too many, also where the length of a block is stored. The time grows with
    the size of the file only.
    """
    found: list[Block] = []
    index, position = 0, blocks.first
    while index < blocks.header.blocks:
        block = blocks.intact(index, position) or _after_damage(blocks, index, position)
        if block is None:
            break
        found.append(block)
        index, position = block.index + 1, block.end
    return found


def _after_damage(blocks: BlockMap, index: int, position: int) -> Block | None:
    """The next block that is intact, given that block ``index`` does not lie at ``position``."""
    # Most often a payload was hit, and the next block lies where it should.
    end = blocks.expected_end(index, position)
    following = None if end is None else blocks.intact(index + 1, end)
    if following is not None:
        return following
    for begin in range(position, len(blocks.data)):
        block = blocks.any_intact(begin, at_least=index)
        if block is None:
            continue
        near = block.index < index + NEAR_BLOCKS and begin < position + NEAR_BYTES
        if near or block.index == blocks.header.blocks - 1 or blocks.intact(block.index + 1, block.end):
            return block
    return None
