"""A second decoder of ``.svq`` files, written from FORMAT.md alone: plain Python, no numpy, none of the package.

The model of learned coding is in reference_prior.py.

Reads one file, strictly. Not quick and not friendly: it is here to be read beside FORMAT.md, and to disagree with the
real decoder whenever that one changes.
"""

import zlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from reference_prior import ReferencePrior, Tensors

Grid = list[list[int]]
Tables = Sequence[Sequence[int]]

RATES = [22050, 44100, 48000, 8000, 11025, 12000, 16000, 24000]
RATES += [32000, 64000, 88200, 96000, 176400, 192000, 37800]
FIXED, STATIC, LEARNED = 0, 1, 2


class Refused(Exception):
    """The bytes are not a file of this format."""


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise Refused(reason)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(6):
        require(position < len(data), "cut short")
        byte = data[position]
        position += 1
        value |= (byte & 127) << 7 * count
        if byte < 128:
            require(byte > 0 or count == 0, "not the shortest form")
            return value, position
    raise Refused("integer too long")


def read_header(data: bytes) -> tuple[dict[str, Any], int]:
    require(data[:3] == b"SVQ" and len(data) >= 8, "no header")
    version, coding, rate_code = data[3] >> 6, data[3] >> 4 & 3, data[3] & 15
    require(version == 1, "other version")
    require(coding in (FIXED, STATIC, LEARNED), "other coding")
    position = 8
    if rate_code == 15:
        rate, position = read_varint(data, position)
        require(1000 <= rate <= 768000 and rate not in RATES, "bad rate")
    else:
        rate = RATES[rate_code]
    samples, position = read_varint(data, position)
    require(1 <= samples <= 90000 * rate, "bad length")
    return {"coding": coding, "fingerprint": data[4:8], "rate": rate, "samples": samples}, position


def count_columns(rate: int, samples: int) -> int:
    codec_samples = max(1, (2 * samples * 22050 + rate) // (2 * rate))
    return (codec_samples + 4095) // 4096


def fixed_length(columns: int, width: int) -> int:
    return (5 * columns * width + 7) // 8


def decode_fixed(payload: bytes, columns: int, codebook_size: int) -> Grid:
    width = (codebook_size - 1).bit_length()
    require(len(payload) == fixed_length(columns, width), "wrong length")
    bits = "".join(f"{byte:08b}" for byte in payload)
    symbols = [int(bits[i * width : (i + 1) * width], 2) for i in range(5 * columns)]
    require("1" not in bits[5 * columns * width :], "padding is not zero")
    require(max(symbols) < codebook_size, "no such symbol")
    return [symbols[5 * column : 5 * column + 5] for column in range(columns)]


class RangeDecoder:
    def __init__(self, payload: bytes) -> None:
        self.payload, self.position, self.span = payload, 8, 2**64 - 1
        self.distance = int.from_bytes(payload[:8].ljust(8, b"\0"), "big")

    def next(self, starts: Sequence[int]) -> int:
        scale = self.span >> 24
        quantile = self.distance // scale
        require(quantile < 2**24, "outside of all symbols")
        symbol = bisect_right(starts, quantile) - 1
        self.distance -= scale * starts[symbol]
        self.span = scale * (starts[symbol + 1] - starts[symbol])
        if self.span < 2**32:
            word = int.from_bytes(self.payload[self.position : self.position + 4].ljust(4, b"\0"), "big")
            self.span, self.distance, self.position = self.span << 32, self.distance << 32 | word, self.position + 4
        return symbol


def decode_static(payload: bytes, columns: int, tables: Tables) -> Grid:
    decoder = RangeDecoder(payload)
    rows = []
    for weights in tables:
        starts = [0, *accumulate(weight + 1 for weight in weights)]
        require(starts[-1] == 2**24, "bad table")
        rows.append([decoder.next(starts) for _ in range(columns)])
    check_sealing(payload, decoder.position, decoder.distance, decoder.span)
    return [list(column) for column in zip(*rows, strict=True)]


def decode_learned(payload: bytes, columns: int, prior: Tensors) -> Grid:
    decoder, model = RangeDecoder(payload), ReferencePrior(prior)
    symbols = []
    for _ in range(5 * columns):
        symbols.append(decoder.next([0, *accumulate(model.frequencies())]))
        model.push(symbols[-1])
    check_sealing(payload, decoder.position, decoder.distance, decoder.span)
    return [symbols[5 * column : 5 * column + 5] for column in range(columns)]


def check_sealing(payload: bytes, taken: int, distance: int, span: int) -> None:
    """The payload must be the shortest string in the final interval, and the lowest of the shortest."""
    if payload:
        require(payload[-1] > 0 and len(payload) <= taken, "not sealed: zeros at the end")
        unit = 2 ** (8 * (taken - len(payload)))
        require(distance < unit, "not sealed: a lower one fits")
        require(distance + (256 - payload[-1]) * unit >= span, "not sealed: a shorter one fits")


def decode(
    data: bytes, codebook_size: int, tables: Tables = (), prior: Tensors | None = None
) -> tuple[dict[str, Any], Grid]:
    """Return the header as a dict, and the indices as a list of columns of five."""
    header, position = read_header(data)
    columns = count_columns(header["rate"], header["samples"])
    header_crc = zlib.crc32(data[:position])
    blocks: list[tuple[bytes, int]] = []
    for index, first in enumerate(range(0, columns, 256)):
        count = min(256, columns - first)
        if first + 256 >= columns:
            length = len(data) - 3 - position
        elif header["coding"] == FIXED:
            length = fixed_length(count, (codebook_size - 1).bit_length())
        else:
            length, position = read_varint(data, position)
        require(0 <= length <= 15 * count + 8 and position + length + 3 <= len(data), "bad length")
        payload, check = data[position : position + length], data[position + length : position + length + 3]
        crc = zlib.crc32(index.to_bytes(4, "little"), zlib.crc32(payload, header_crc))
        require(check == (crc & 0xFFFFFF).to_bytes(3, "little"), "check does not fit")
        blocks.append((payload, count))
        position += length + 3
    indices: Grid = []
    for payload, count in blocks:
        if header["coding"] == FIXED:
            indices += decode_fixed(payload, count, codebook_size)
        elif header["coding"] == LEARNED:
            require(prior is not None, "no prior")
            indices += decode_learned(payload, count, prior or {})
        else:
            indices += decode_static(payload, count, tables)
    return header, indices
