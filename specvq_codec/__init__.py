"""A neural audio codec for any sound at about 0.2 kbps: `Codec`, `Codes` and the errors they raise.

Names are imported on first use, so that `import specvq_codec.bitstream` and `specvq --help` need no torch.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bitstream.errors import AudioError, BitstreamError, SpecVQError, UsageError, WeightsError
    from .codec import Codec, Codes

__version__ = "0.1.0"
__all__ = ["AudioError", "BitstreamError", "Codec", "Codes", "SpecVQError", "UsageError", "WeightsError"]

# In a checkout bitstream/ and weights/ stand beside this folder (see package-dir in pyproject.toml): look there too,
# so that a checkout runs as it is and is never mixed with an installed copy.
if not (Path(__file__).parent / "bitstream").is_dir():
    __path__.append(str(Path(__file__).parents[1]))


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(".codec" if name in ("Codec", "Codes") else ".bitstream.errors", __name__)
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
