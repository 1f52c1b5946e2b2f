"""Bytes of an ``.svq`` file to codebook indices and back; needs neither the networks nor torch.

``FORMAT.md`` beside this file is the byte-level specification.
"""

from .blocks import MAX_FILE_BYTES
from .container import ENTROPY_CHOICES, read, read_lenient, write
from .entropy import MAX_CODEBOOK_SIZE, ROWS, CodingModel, frequency_tables
from .errors import AudioError, BitstreamError, SpecVQError, UsageError, WeightsError
from .header import (
    BLOCK_COLUMNS,
    CODEC_RATE,
    COLUMN_SAMPLES,
    FINGERPRINT_BYTES,
    MAX_RATE,
    MAX_SECONDS,
    MIN_RATE,
    Coding,
    Header,
)
from .inspection import FileInfo, inspect

__all__ = [
    "BLOCK_COLUMNS",
    "CODEC_RATE",
    "COLUMN_SAMPLES",
    "ENTROPY_CHOICES",
    "FINGERPRINT_BYTES",
    "MAX_CODEBOOK_SIZE",
    "MAX_FILE_BYTES",
    "MAX_RATE",
    "MAX_SECONDS",
    "MIN_RATE",
    "ROWS",
    "AudioError",
    "BitstreamError",
    "Coding",
    "CodingModel",
    "FileInfo",
    "Header",
    "SpecVQError",
    "UsageError",
    "WeightsError",
    "frequency_tables",
    "inspect",
    "read",
    "read_lenient",
    "write",
]
