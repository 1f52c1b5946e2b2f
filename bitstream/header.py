"""The header of an ``.svq`` file, and all that follows from it: how many columns and blocks there must be."""

import enum
import hashlib
from dataclasses import dataclass

from .errors import BitstreamError, SpecVQError, UsageError
from .varint import decode_varint, encode_varint

__all__ = [
    "BLOCK_COLUMNS",
    "CODEC_RATE",
    "COLUMN_SAMPLES",
    "ENTROPY_CHOICES",
    "FINGERPRINT_BYTES",
    "MAX_RATE",
    "MAX_SECONDS",
    "MIN_RATE",
    "Coding",
    "Header",
    "learned_mark",
]

MAGIC = b"SVQ"
VERSION = 1

CODEC_RATE = 22050
"""Samples a second of the sound that the networks see."""

COLUMN_SAMPLES = 4096
"""Samples at the codec's rate in one column of indices: 16 spectrogram frames, 256 samples apart."""

BLOCK_COLUMNS = 256
"""Columns in every block but the last, 47.6 s."""

FINGERPRINT_BYTES = 4
"""How much of the weights' SHA-256 fingerprint a file carries."""

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Sample rates, in Hz, that a file can name."""

MAX_SECONDS = 90_000
"""A file holds at most 25 hours: a day, and room for a recorder that stops late."""

RATES = (
    22050,
    44100,
    48000,
    8000,
    11025,
    12000,
    16000,
    24000,
    32000,
    64000,
    88200,
    96000,
    176400,
    192000,
    37800,
)
"""Sample rates that take no bytes of their own; the header holds the place in this list."""

EXPLICIT_RATE = 15

ENTROPY_CHOICES = ("auto", "fixed", "static", "learned")
"""What ``write`` takes for ``entropy``; ``auto`` is the smallest of the others that the weights have."""


def learned_mark(fingerprint: bytes, prior: bytes) -> bytes:
    """What files in learned coding carry in place of the fingerprint's beginning, since they need a prior as well.

    Args:
        fingerprint: of the weights, at least 4 bytes.
        prior: SHA-256 of their prior, 32 bytes.
    """
    joined = b"specvq learned 1\n" + fingerprint[:FINGERPRINT_BYTES] + prior
    return hashlib.sha256(joined).digest()[:FINGERPRINT_BYTES]


class Coding(enum.IntEnum):
    """How the indices became bytes."""

    FIXED = 0
    STATIC = 1
    LEARNED = 2


@dataclass(frozen=True)
class Header:
    """What a file says about itself before its first block.

    Attributes:
        coding: how the indices became bytes.
        fingerprint: the first 4 bytes of the fingerprint of the weights that the indices belong to; in learned coding,
            of these and their prior together.
        sample_rate: rate of the original sound in Hz, 1000..768000.
        num_samples: its length in samples at that rate, at least 1, at most 25 hours.

    Raises:
        UsageError: a value is out of its range.
    """

    coding: Coding
    fingerprint: bytes
    sample_rate: int
    num_samples: int

    def __post_init__(self) -> None:
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise UsageError(f"A file's fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.fingerprint)}.")
        _check_range(self.sample_rate, self.num_samples, UsageError, "use a sound within these bounds")

    @property
    def duration(self) -> float:
        """Length of the sound in seconds."""
        return self.num_samples / self.sample_rate

    @property
    def codec_samples(self) -> int:
        """Length of the sound at the codec's rate: rounded to the nearest, half up, and at least one sample."""
        return max(1, (2 * self.num_samples * CODEC_RATE + self.sample_rate) // (2 * self.sample_rate))

    @property
    def columns(self) -> int:
        """Columns of indices in the file."""
        return -(-self.codec_samples // COLUMN_SAMPLES)

    @property
    def blocks(self) -> int:
        """Blocks in the file."""
        return -(-self.columns // BLOCK_COLUMNS)

    def block_range(self, block: int) -> tuple[int, int]:
        """The first column of a block, and the one after its last."""
        return block * BLOCK_COLUMNS, min(self.columns, (block + 1) * BLOCK_COLUMNS)

    def column_time(self, column: int) -> float:
        """Where a column begins, in seconds; the end of the sound for the one after the last."""
        return min(self.duration, column * COLUMN_SAMPLES / CODEC_RATE)

    def to_bytes(self) -> bytes:
        """The header as it stands in the file."""
        known = self.sample_rate in RATES
        rate_code = RATES.index(self.sample_rate) if known else EXPLICIT_RATE
        fixed_part = MAGIC + bytes([VERSION << 6 | self.coding << 4 | rate_code]) + self.fingerprint
        return fixed_part + (b"" if known else encode_varint(self.sample_rate)) + encode_varint(self.num_samples)

    @classmethod
    def parse(cls, data: bytes | memoryview) -> tuple["Header", int]:
        """Read the header at the start of a file.

        Returns:
            The header, and the position of the first byte after it.

        Raises:
            BitstreamError: this is not an ``.svq`` file, or one of another version, or its header is damaged.
        """
        if bytes(data[:3]) != MAGIC:
            raise BitstreamError("This is not an .svq file: it does not begin with 'SVQ'.")
        if len(data) < 4 + FINGERPRINT_BYTES:
            raise BitstreamError("The file ends inside its header: it is cut short, get another copy of it.")
        version, coding, rate_code = data[3] >> 6, data[3] >> 4 & 3, data[3] & 15
        if version != VERSION:
            raise BitstreamError(
                f"The file has format version {version}, and this specvq-codec reads version {VERSION}: install a "
                "newer one, or get another copy of the file."
            )
        if coding not in tuple(Coding):
            raise BitstreamError(
                f"The file uses coding {coding}, which is not in use: install a newer specvq-codec, or get another "
                "copy of the file."
            )
        position = 4 + FINGERPRINT_BYTES
        if rate_code == EXPLICIT_RATE:
            rate, position = decode_varint(data, position)
            if rate in RATES:
                raise BitstreamError("The file's header is not in its shortest form: it is damaged, get another copy.")
        else:
            rate = RATES[rate_code]
        num_samples, position = decode_varint(data, position)
        _check_range(rate, num_samples, BitstreamError, "the file is damaged, get another copy of it")
        return cls(Coding(coding), bytes(data[4:8]), rate, num_samples), position


def _check_range(sample_rate: int, num_samples: int, error: type[SpecVQError], advice: str) -> None:
    """Raise ``error`` unless the format can hold a sound of this rate and length."""
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise error(f"A sample rate of {sample_rate} Hz is not within {MIN_RATE} to {MAX_RATE} Hz: {advice}.")
    if not 1 <= num_samples <= MAX_SECONDS * sample_rate:
        raise error(
            f"A sound of {num_samples} samples at {sample_rate} Hz is not within 1 sample to "
            f"{MAX_SECONDS // 3600} hours: {advice}."
        )
