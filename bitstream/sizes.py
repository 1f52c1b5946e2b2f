"""How large indices and payloads are. Numbers only: looking at a file takes no arrays."""

__all__ = ["MAX_CODEBOOK_SIZE", "ROWS", "fixed_bytes", "max_payload_bytes", "symbol_width"]

ROWS = 5
"""Indices in a column: the 80 mel bands in steps of 16."""

MAX_CODEBOOK_SIZE = 2**15
"""Indices are int16."""


def symbol_width(codebook_size: int) -> int:
    """Bits of one fixed-length index: ceil(log2(codebook_size)), 1..15."""
    return (codebook_size - 1).bit_length()


def fixed_bytes(columns: int, width: int) -> int:
    """Bytes of the fixed-length payload of ``columns`` columns at ``width`` bits an index."""
    return (columns * ROWS * width + 7) // 8


def max_payload_bytes(columns: int) -> int:
    """The most bytes that any payload of ``columns`` columns can take, whatever its coding.

    The rarest index costs 24 bits, the range coder's rounding less than 0.006 bits an index, sealing less than a byte.
    """
    return 3 * ROWS * columns + 8
