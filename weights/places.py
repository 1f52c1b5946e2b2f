"""Where bundles are: in the package, in a folder, in the folders of an environment variable, on a hub."""

import os
import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from ..bitstream import WeightsError
from .bundle import Bundle, load_bundle
from .replacing import CONFIG

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
        if not (DEFAULT / CONFIG).is_file():
            raise WeightsError(f"This copy of specvq-codec has no weights of its own: name a bundle{_names()}.")
        return load_bundle(DEFAULT)
    text = os.fspath(source)
    if text.startswith(_HUB):
        return load_bundle(_from_hub(text.removeprefix(_HUB)))
    if Path(text).is_dir():
        return load_bundle(Path(text))
    if Path(text).exists():
        raise WeightsError(f"{text} is a file, and a weight bundle is a folder: give the folder that holds {CONFIG}.")
    for bundle in find_bundles():
        if bundle.name == text:
            return bundle
    raise WeightsError(f"There is no weight bundle {text}: give a folder with a {CONFIG}{_names()}.")


def _names() -> str:
    names = [bundle.name for bundle in find_bundles()]
    return f", or one of these: {', '.join(names)}" if names else ""


def find_bundles() -> Iterator[Bundle]:
    """The default bundle, and those in the folders that the environment variable SPECVQ_WEIGHTS names.

    A bundle whose description is damaged is left out, with a warning: others can be used nevertheless.
    """
    folders = [DEFAULT]
    for place in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        try:
            folders += [Path(place), *sorted(Path(place).iterdir())]
        except OSError as error:
            warnings.warn(f"{VARIABLE} names {place}, which cannot be read ({error.strerror}).", stacklevel=2)
    for folder in folders:
        if (folder / CONFIG).is_file():
            try:
                yield load_bundle(folder)
            except WeightsError as error:
                warnings.warn(str(error), stacklevel=2)


def bundle_for(mark: bytes) -> Bundle | None:
    """The bundle that made the file with this mark, or None."""
    return next((bundle for bundle in find_bundles() if bundle.is_named(mark)), None)


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise WeightsError(
            "Weights on a hub need one more package: pip install 'specvq-codec[hub]', or '.[hub]' in a checkout."
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.md"]))
    except Exception as error:  # network, authentication, wrong name: the hub's own sentence says which
        raise WeightsError(f"{_HUB}{name} could not be fetched: {error}") from error
