"""Files from the network: fetched once, only with a checksum, and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from http.client import HTTPException
from pathlib import Path

from .bitstream.errors import WeightsError

_URL = re.compile(r"(?:https?|file)://")
_CHECKED_URL = re.compile(r"((?:https?|file)://[^#]*?([^/#?]+))#sha256=([0-9a-fA-F]{8,64})")


def is_url(source: str) -> bool:
    """Whether a source is an address rather than a path."""
    return _URL.match(source) is not None


def cache_folder() -> Path:
    """Where fetched files are kept: specvq-codec below XDG_CACHE_HOME, or below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "specvq-codec"


def fetch(url: str) -> Path:
    """The file at an address, from the cache if it was fetched before.

    Args:
        url: http, https or file, and after it "#sha256=" with the checksum of the file in hexadecimal, or with its
            first 8 digits or more, as PyTorch has them in its file names.

    Raises:
        WeightsError: the address has no checksum, the file cannot be fetched, or it has another checksum.
    """
    found = _CHECKED_URL.fullmatch(url)
    if found is None:
        raise WeightsError(f"{url} needs the file's checksum: put #sha256= and its hexadecimal digits after the name.")
    address, name, checksum = found[1], found[2], found[3].lower()
    path = cache_folder() / f"{checksum}-{name}"
    if path.is_file() and _matches(path, checksum):
        return path
    from torch.hub import download_url_to_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(address, str(path), checksum, progress=sys.stderr.isatty())
    except RuntimeError as error:  # of the checksum alone
        raise WeightsError(f"{address} is not the file that its checksum is of: check both.") from error
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise WeightsError(f"{address} could not be fetched ({str(reason).lower()}): give a file instead.") from error
    return path


def _matches(path: Path, checksum: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(checksum)
