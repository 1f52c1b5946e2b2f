"""Files from the network: fetched once, only with a checksum, and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from .bitstream.errors import WeightsError
from .files import output_file

_URL = re.compile(r"(?:https?|file)://")
_CHECKED_URL = re.compile(r"((?:https?|file)://[^#]*?([^/#?]+))#sha256=([0-9a-fA-F]{8,64})")


def is_url(source: str) -> bool:
    """Whether a source is an address rather than a path."""
    return _URL.match(source) is not None


def cache_folder() -> Path:
    """Where fetched files are kept: specvq-codec below XDG_CACHE_HOME, or below ~/.cache.

    Raises:
        WeightsError: XDG_CACHE_HOME is not set, and the user has no home.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "specvq-codec"
    except RuntimeError as error:
        raise WeightsError("There is no home folder to keep fetched files in: set XDG_CACHE_HOME.") from error


def fetch(url: str) -> Path:
    """The file at an address, from the cache if it was fetched before.

    Args:
        url: http, https or file, and after it "#sha256=" with the checksum of the file in hexadecimal, or with its
            first 8 digits or more, as PyTorch has them in its file names.

    Raises:
        WeightsError: the address has no checksum, the file cannot be fetched, or it has another checksum.
        UsageError: the cache cannot be written to.
    """
    found = _CHECKED_URL.fullmatch(url)
    if found is None:
        raise WeightsError(f"{url} needs the file's checksum: put #sha256= and its hexadecimal digits after the name.")
    address, name, checksum = found[1], found[2], found[3].lower()
    path = cache_folder() / f"{checksum}-{name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and _matches(path, checksum):
            return path
        with output_file(path, force=True) as temporary:
            _download(address, temporary)
            if not _matches(temporary, checksum):
                raise WeightsError(f"{address} is not the file that its checksum is of: check both.")
    except (OSError, ValueError, HTTPException) as error:
        raise WeightsError(f"{address} could not be fetched ({_reason(error)}): give a file instead.") from error
    return path


def _download(address: str, path: Path) -> None:
    """Write what is at an address to a file, with a progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with urlopen(Request(address, headers={"User-Agent": "specvq-codec"})) as answer, path.open("wb") as file:
        length = int(answer.headers["Content-Length"] or 0)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            shutil.copyfileobj(progress.wrap_file(answer, length, description="fetching"), file)
        if file.tell() < length:
            raise WeightsError(f"{address} ended after {file.tell()} of {length} bytes: try again.")


def _reason(error: Exception) -> str:
    """Why something could not be fetched, in a few words."""
    reason = getattr(error, "reason", error)  # that of an error of urllib may be another error
    strerror = getattr(reason, "strerror", None)
    return strerror.lower() if strerror else str(reason)


def _matches(path: Path, checksum: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(checksum)
