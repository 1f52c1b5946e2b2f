"""What a sound is to be for: features of a video, and a class, as a sampler takes them.

The reference describes ten seconds of video by 215 features (21.5 frames a second), keeps the middle 212, for the 848
frames of a spectrogram's middle, and gives its samplers 1, 5 or all of these.
"""

from __future__ import annotations

import difflib
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch

from .bitstream.errors import SpecVQError, UsageError
from .models.transformer import Condition, TransformerConfig

Features = npt.NDArray[np.float32]

CLIP_FRAMES = 215  # in ten seconds
CLIP_RATE = 21.5  # a second
KEPT_FRAMES = 212  # in the 9.85 s that a sampler's window lasts
_NAMED = "features"  # the array to take from an .npz file that has several
_NEAR = 3  # class names that an error suggests
# What NumPy and the unpickler raise for a file that is no array, or is damaged.
_DAMAGED = (ValueError, EOFError, BadZipFile, zlib.error, TokenError, MemoryError, SpecVQError)


def load_features(*paths: Path) -> Features:
    """Features of a video's frames from files: .npy, .npz, or pickled arrays (.pkl), of which nothing is executed.

    Args:
        paths: a file (T, D), or one for each stream (such as RGB and flow); streams are put side by side, and the
            longer ones cut.

    Returns:
        float32 (T, D), D being the sum over streams.

    Raises:
        SpecVQError: a file cannot be read, or holds something else.
    """
    streams = [_load(path) for path in paths]
    frames = min(len(stream) for stream in streams)
    return np.concatenate([stream[:frames] for stream in streams], axis=1)


def _load(path: Path) -> Features:
    of_numpy = path.suffix.lower() in (".npy", ".npz")
    try:
        if of_numpy:
            loaded = np.load(path, allow_pickle=False)
            array = loaded if isinstance(loaded, np.ndarray) else _from_archive(loaded)
        else:
            from .training.pickled import read_array

            array = read_array(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SpecVQError(f"{path} cannot be read ({reason}): give a file of features.") from error
    except _DAMAGED as error:
        reason = str(error) or type(error).__name__
        if of_numpy and "pickle" in reason:
            # NumPy takes whatever it does not know for a pickle, and tells how to load it nevertheless
            reason = "it is of another format, or holds objects"
        raise SpecVQError(f"{path} holds no features ({reason}): give an .npy, .npz or .pkl file of them.") from error
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise SpecVQError(f"{path} must hold numbers of shape (frames, depth), not {array.dtype}{array.shape}.")
    features = array.astype(np.float32)
    if not np.isfinite(features).all():
        raise SpecVQError(f"{path} holds features that are not finite: compute them again.")
    return features


def kind_of_features(path: Path) -> str | None:
    """What an .npz file says of which kind its features are (see features.py), None if it says nothing."""
    if path.suffix.lower() != ".npz":
        return None
    with np.load(path, allow_pickle=False) as archive:
        return str(archive["kind"]) if "kind" in archive.files else None


def _from_archive(archive: Any) -> npt.NDArray[Any]:
    with archive:
        names = archive.files
        if _NAMED not in names and len(names) != 1:
            raise ValueError(f"none of its {len(names)} arrays is called {_NAMED}")
        return archive[_NAMED if _NAMED in names else names[0]]


def frame_indices(length: int, size: int, repeats: int = 1) -> npt.NDArray[np.int64]:
    """Which of `length` frames stand for all of them, evenly spread: (size * repeats,), each one `repeats` times."""
    if size == length:
        chosen = np.arange(length)
    else:
        chosen = np.floor(np.arange(size) * (length / size)).astype(np.int64) + length // (size + 1)
    return chosen.repeat(repeats)


def clip_places(size: int) -> npt.NDArray[np.int64]:
    """Places of the `size` features that a sampler takes among the 215 of ten seconds: (size,)."""
    return (CLIP_FRAMES - KEPT_FRAMES) // 2 + frame_indices(KEPT_FRAMES, size)


def seen_places(length: int, size: int) -> npt.NDArray[np.int64]:
    """Places of the `size` features that a sampler takes among the `length` of a video: (size,).

    Of a video longer than ten seconds, only these count; a shorter one is seen again from its beginning, as in the
    reference's demonstration. As many features as the sampler takes are taken as they are.
    """
    return np.arange(size) if length == size else clip_places(size) % min(length, CLIP_FRAMES)


def class_number(name: str | int, labels: Sequence[str]) -> int:
    """The number of a class, which may be given as its label or as the number.

    Case does not matter, and spaces, hyphens and underscores are the same, unless that makes labels equal.

    Raises:
        UsageError: there is no such class; the message names those with similar labels.
    """
    name = str(name)
    if name in labels:
        return labels.index(name)
    if name.isascii() and name.isdigit() and len(name) < 9 and int(name) < len(labels):
        return int(name)
    lower = {label.lower(): label for label in labels}
    alike = [label for label in labels if _plain(label) == _plain(name) != ""]
    if len(alike) == 1:
        return labels.index(alike[0])
    near = [lower[found] for found in difflib.get_close_matches(name.lower(), lower, _NEAR)]
    near = near or [label for label in labels if name.lower() in label.lower()][:_NEAR]
    hint = f"did you mean {' or '.join(near)}?" if near else f"give one of {len(labels)}, such as {labels[0]}."
    raise UsageError(f"There is no class {name!r}: {hint} specvq weights show tells all.")


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", " ", label).strip().casefold()


def condition_for(
    config: TransformerConfig,
    labels: Sequence[str],
    features: Features | None = None,
    label: str | int | None = None,
    device: torch.device | str = "cpu",
) -> Condition:
    """The condition that a sampler takes, from what a user gives.

    Args:
        config: of the sampler.
        labels: of its classes.
        features: (T, D) of a video's frames at 21.5 a second, of which `seen_places` are taken.
        label: of a class, or its number.
        device: where the tensors are to be.

    Raises:
        UsageError: the sampler takes no such condition, needs one that is not given, or the class or the features are
            not such as it knows.
    """
    needed = not config.optional
    if config.feature_frames == 0 and features is not None:
        raise UsageError("This sampler takes no features: leave them out, or use weights whose sampler does.")
    if config.num_classes == 0 and label is not None:
        raise UsageError("This sampler knows no classes: leave the class out, or use weights whose sampler does.")
    if config.feature_frames and features is None and needed:
        raise UsageError(
            f"This sampler needs features of {config.feature_depth} numbers a frame: give a video, or a file of them."
        )
    if config.num_classes and label is None and needed:
        raise UsageError(f"This sampler needs a class: give one of {config.num_classes}, such as {labels[0]}.")
    rows = classes = None
    if features is not None:
        features = np.asarray(features, dtype=np.float32)
        if features.ndim != 2 or not len(features) or not np.isfinite(features).all():
            raise UsageError(f"Features must be finite numbers (frames, depth), not of the shape {features.shape}.")
        if features.shape[1] != config.feature_depth:
            raise UsageError(
                f"The features have {features.shape[1]} numbers a frame, and the sampler takes {config.feature_depth}: "
                "compute them with the network that it was trained with."
            )
        seen = features[seen_places(len(features), config.feature_frames)]
        rows = torch.from_numpy(seen)[None].to(device)
    if label is not None:
        classes = torch.tensor([class_number(label, labels)], device=device)
    return Condition(rows, classes)
