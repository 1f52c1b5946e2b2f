"""Bytes of an ``.svq`` file to codebook indices and back; needs neither the networks nor torch.

``FORMAT.md`` beside this file is the byte-level specification.
"""

from .errors import AudioError, BitstreamError, SpecVQError, UsageError, WeightsError

__all__ = ["AudioError", "BitstreamError", "SpecVQError", "UsageError", "WeightsError"]
