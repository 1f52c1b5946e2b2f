"""Bytes of an ``.svq`` file to codebook indices and back; needs neither the networks nor torch.

``FORMAT.md`` beside this file is the byte-level specification.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .blocks import MAX_FILE_BYTES
from .errors import AudioError, BitstreamError, SpecVQError, UsageError, WeightsError
from .header import (
    BLOCK_COLUMNS,
    CODEC_RATE,
    COLUMN_SAMPLES,
    ENTROPY_CHOICES,
    FINGERPRINT_BYTES,
    MAGIC,
    MAX_RATE,
    MAX_SECONDS,
    MIN_RATE,
    Coding,
    Header,
    learned_mark,
)
from .inspection import FileInfo, inspect
from .sizes import MAX_CODEBOOK_SIZE, ROWS

if TYPE_CHECKING:
    from .container import check_coding, read, read_lenient, write
    from .entropy import CodingModel, frequency_tables
    from .prior import Prior

__all__ = [
    "BLOCK_COLUMNS",
    "CODEC_RATE",
    "COLUMN_SAMPLES",
    "ENTROPY_CHOICES",
    "FINGERPRINT_BYTES",
    "MAGIC",
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
    "Prior",
    "SpecVQError",
    "UsageError",
    "WeightsError",
    "check_coding",
    "frequency_tables",
    "inspect",
    "learned_mark",
    "read",
    "read_lenient",
    "write",
]

# Imported on first use: they need numpy, and `specvq info` is to be quick.
_LATER = {
    "CodingModel": ".entropy",
    "Prior": ".prior",
    "check_coding": ".container",
    "frequency_tables": ".entropy",
    "read": ".container",
    "read_lenient": ".container",
    "write": ".container",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name], __name__), name)
