"""What rows and sections are called, so that no two have one name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..bitstream.errors import UsageError
from ..weights import Bundle

ALL = "all"  # the section over all recordings


def section_name(domain: str) -> str:
    """What the section of a domain or class is called: as it is, but for one called "all", which is not everything."""
    return f"{domain}/" if domain == ALL else domain


def labels_of(bundles: Sequence[Bundle]) -> list[str]:
    """Names of bundles, with fingerprints where those are the same, and with folders where these are the same, too."""
    labels = [bundle.name for bundle in bundles]
    for about in (lambda bundle: bundle.fingerprint.hex()[:8], lambda bundle: str(bundle.path)):
        counts = Counter(labels)
        labels = [
            f"{label} ({about(bundle)})" if counts[label] > 1 else label
            for label, bundle in zip(labels, bundles, strict=True)
        ]
    return labels


def require_distinct(names: Iterable[str]) -> None:
    """Refuse rows that could not be told apart.

    Raises:
        UsageError: a name occurs twice.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"Two rows would be called {twice[0]!r}: leave one out, or give it another name.")
