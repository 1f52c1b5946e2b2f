"""Where bundles are: in the package, in a folder, in the folders of an environment variable, on a hub."""

import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from ..bitstream import WeightsError
from .bundle import CONFIG, Bundle, load_bundle

DEFAULT = Path(__file__).parent / "default"
VARIABLE = "SPECVQ_WEIGHTS"  # folders of bundles, separated as in PATH
_HUB = "hf://"


def locate(source: str | PathLike[str] | None = None) -> Bundle:
    """The bundle that a user means.

    Args:
        source: None for the default one in the package, a folder, the name of a bundle that `find_bundles` finds, or
            "hf://owner/name" (which downloads it once, and needs the extra `hub`).

    Raises:
        WeightsError: there is no such bundle.
    """
    if source is None:
        return load_bundle(DEFAULT)
    text = os.fspath(source)
    if text.startswith(_HUB):
        return load_bundle(_from_hub(text.removeprefix(_HUB)))
    if Path(text).is_dir():
        return load_bundle(Path(text))
    bundles = list(find_bundles())
    for bundle in bundles:
        if bundle.name == text:
            return bundle
    names = ", ".join(bundle.name for bundle in bundles)
    raise WeightsError(f"There is no weight bundle {text}: give a folder with a {CONFIG}, or one of these: {names}.")


def find_bundles() -> Iterator[Bundle]:
    """The default bundle, and those in the folders that the environment variable SPECVQ_WEIGHTS names."""
    if (DEFAULT / CONFIG).is_file():
        yield load_bundle(DEFAULT)
    for place in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        folder = Path(place)
        candidates = [folder, *sorted(folder.iterdir())] if folder.is_dir() else []
        for candidate in candidates:
            if (candidate / CONFIG).is_file():
                yield load_bundle(candidate)


def bundle_for(mark: bytes) -> Bundle | None:
    """The bundle whose fingerprint begins with `mark`, or None."""
    return next((bundle for bundle in find_bundles() if bundle.fingerprint.startswith(mark)), None)


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise WeightsError("Weights on a hub need one more package: pip install 'specvq-codec[hub]'.") from error
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.md"]))
    except Exception as error:  # network, authentication, wrong name: the hub's own sentence says which
        raise WeightsError(f"{_HUB}{name} could not be fetched: {error}") from error
