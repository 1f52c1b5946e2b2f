"""Unsigned LEB128 integers: seven bits a byte, least significant first, the high bit set on all bytes but the last."""

from .errors import BitstreamError

__all__ = ["decode_varint", "encode_varint"]

MAX_BYTES = 6
"""No integer of the format needs more (the largest is a count of samples, below 2^37)."""


def encode_varint(value: int) -> bytes:
    """The shortest LEB128 form of ``value``, 0 <= value < 2^42."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Read the integer that begins at ``position``.

    Returns the value, 0 <= value < 2^42, and the position after it.

    Raises:
        BitstreamError: the data end inside the integer, or it is longer than six bytes or than its value needs. An
            integer has one form only, so that a file has one form only.
    """
    value = 0
    for count in range(MAX_BYTES):
        if position + count >= len(data):
            raise BitstreamError("The file ends inside an integer: it is cut short, get another copy of it.")
        byte = data[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if byte == 0 and count > 0:
                break
            return value, position + count + 1
    raise BitstreamError("The file holds an integer that is not in its shortest form: it is damaged, get another copy.")
