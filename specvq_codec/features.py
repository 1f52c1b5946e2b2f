"""Features of a video's pictures, which a sampler is conditioned on.

There are two kinds. Both give one row of numbers for each of 21.5 pictures a second (see video.py):

    resnet50    2048 activations of ResNet-50, as the reference's samplers take them; needs its weights
    pixels      512 numbers that need no weights: the picture, shrunk to 16 x 16 grey values in [-1, 1], and their
                differences to the picture before, so that what moves is seen; those of the first one are 0
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .bitstream.errors import SpecVQError, UsageError, WeightsError
from .conditions import CLIP_FRAMES, Features, seen_places
from .downloads import fetch, is_url
from .files import write_file
from .models.resnet50 import FEATURE_DEPTH, ResNet50
from .unpickle import read_checkpoint
from .video import FRAME_RATE, Frame, read_frames

if TYPE_CHECKING:
    from .weights import Bundle

Places = Sequence[int] | NDArray[np.int64]
Extractor = Callable[[Iterable[Frame], Places | None], Features]

PIXEL_SIDE = 16
DEPTHS = {"resnet50": FEATURE_DEPTH, "pixels": 2 * PIXEL_SIDE**2}  # numbers in a row, by kind
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a grey value (ITU-R BT.601)
_RESIZED, _CROPPED = 256, 224  # what ResNet-50 sees: the middle of a picture whose shorter side was made 256
_MEANS, _STDS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures in [0, 1]
_LEAST = 4  # pictures, which a column of indices lasts
_BATCH = 16
_IGNORED = "fc."  # the classifier
_COUNTER = ".num_batches_tracked"  # of no use after training; old files lack it
_SHOWN = 5  # keys that an error message names


def features_of_sampler(bundle: Bundle) -> str:
    """The kind of features that a bundle's sampler takes.

    A bundle that does not say takes ResNet-50's if they have its depth, as the authors' samplers do.

    Raises:
        UsageError: there is no sampler, it takes no features, or those of a kind that this package does not compute.
    """
    depth = (bundle.sampler or {}).get("feature_depth", 0)
    if not depth:
        raise UsageError(
            f"The bundle {bundle.name} has no sampler that takes features of video: name weights that have one "
            "(docs/video.md tells how to train it)."
        )
    kind = bundle.features or ("resnet50" if depth == FEATURE_DEPTH else None)
    if kind not in DEPTHS:
        raise UsageError(
            f"The sampler of {bundle.name} takes features of {depth} numbers that this package does not compute: "
            "compute them as they were for its training, and give them with --features."
        )
    return kind


def count_pictures(path: str | PathLike[str]) -> int:
    """How many pictures there are in a clip's first ten seconds, 215 at most.

    Raises:
        SpecVQError: what `read_frames` tells; or the clip does not last as long as a column of indices.
    """
    count = sum(1 for _ in read_frames(path, CLIP_FRAMES))
    if count < _LEAST:
        raise SpecVQError(
            f"{path} lasts {float(count / FRAME_RATE):.2f} s, and at least {float(_LEAST / FRAME_RATE):.2f} s "
            "are needed: give a longer video."
        )
    return count


def features_of_video(path: str | PathLike[str], extract: Extractor) -> Features:
    """Features (T, D), float32, of the pictures of a clip's first ten seconds, T <= 215; errors of `count_pictures`."""
    count_pictures(path)
    return extract(read_frames(path, CLIP_FRAMES), None)


def seen_in_video(path: str | PathLike[str], extract: Extractor, size: int) -> tuple[Features, float]:
    """What a sampler that takes `size` features is given of a clip (see `seen_places`), and how long the clip lasts.

    Returns:
        float32 (size, D); and seconds, ten at most. Errors are those of `count_pictures`.
    """
    count = count_pictures(path)
    return extract(read_frames(path, CLIP_FRAMES), seen_places(count, size)), float(count / FRAME_RATE)


def make_extractor(
    kind: str, weights: str | None = None, bundle: Bundle | None = None, device: torch.device | str = "cpu"
) -> Extractor:
    """What computes features (T, D), float32, of T pictures; or only those at some places among them, in their order.

    Args:
        kind: "resnet50" or "pixels".
        weights: of ResNet-50, if they are needed: a .safetensors or .pth file, or its address with a checksum (see
            downloads.py).
        bundle: which may have them.
        device: to compute on.

    Raises:
        UsageError: there is no such kind.
        WeightsError: weights are needed and not given, or not those of a ResNet-50.
    """
    if kind == "pixels":
        return pixels
    if kind != "resnet50":
        raise UsageError(f"There are no features {kind!r}: use {' or '.join(DEPTHS)}.")
    network = load_resnet50(weights, bundle).to(device)
    return lambda frames, places: activations(frames, network, places)


def pixels(frames: Iterable[Frame], places: Places | None = None) -> Features:
    """Features of the kind "pixels", (T, 512): 16 x 16 grey values in [-1, 1], row by row, and their differences.

    A grey value is the mean over an area of the picture (adaptive average pooling, where areas can share their borders)
    of 0.299 R + 0.587 G + 0.114 B. Whatever its shape, the whole picture is seen.
    """
    luma = torch.tensor(_LUMA)
    rows = []
    for frame in frames:
        grey = torch.from_numpy(frame).float() @ luma  # (H, W)
        rows.append(F.adaptive_avg_pool2d(grey[None], PIXEL_SIDE).flatten() / 127.5 - 1.0)
    greys = torch.stack(rows)  # (T, 256)
    features = torch.cat([greys, greys.diff(dim=0, prepend=greys[:1])], dim=1).numpy()
    return features if places is None else features[places]


def save_features(path: Path, features: Features, kind: str, force: bool = False) -> None:
    """Write features to an .npz file that says of which kind they are (see `conditions.kind_of_features`).

    Raises UsageError if the file exists and `force` is not set, or cannot be written.
    """
    file = io.BytesIO()
    np.savez(file, features=features, kind=np.array(kind))
    write_file(path, file.getvalue(), force)


@torch.inference_mode()
def activations(frames: Iterable[Frame], network: ResNet50, places: Places | None = None) -> Features:
    """Features of the kind "resnet50", (T, 2048), of a network in eval mode, on its device.

    Each is of one picture alone; given places among the pictures, the network looks only at these, once at each.
    """
    device = network.conv1.weight.device
    if places is not None:
        chosen, order = np.unique(places, return_inverse=True)
        wanted = set(chosen.tolist())
        frames = (frame for place, frame in enumerate(frames) if place in wanted)
    inputs = map(prepare, frames)
    rows = []
    while batch := list(islice(inputs, _BATCH)):
        rows.append(network(torch.stack(batch).to(device)).cpu())
    features = torch.cat(rows).numpy()
    return features if places is None else features[order]


def prepare(frame: Frame) -> Tensor:
    """A picture as ResNet-50 sees it, float32 (3, 224, 224).

    As the reference's: the shorter side becomes 256 pixels by bilinear filtering with antialiasing, the middle is cut
    out, values are standardised. torch filters where the reference has Pillow do it; both round to 8 bits, and differ
    by one step at most.
    """
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None]  # (1, 3, H, W)
    height, width = picture.shape[2:]
    shorter = min(height, width)
    size = [_RESIZED * height // shorter, _RESIZED * width // shorter]
    picture = F.interpolate(picture, size, mode="bilinear", antialias=True)
    top, left = (round((side - _CROPPED) / 2) for side in size)
    picture = picture[0, :, top : top + _CROPPED, left : left + _CROPPED].float() / 255.0
    return (picture - torch.tensor(_MEANS)[:, None, None]) / torch.tensor(_STDS)[:, None, None]


def load_resnet50(weights: str | None = None, bundle: Bundle | None = None) -> ResNet50:
    """A ResNet-50 in eval mode. Arguments and errors are those of `make_extractor`."""
    if weights is not None:
        path = fetch(weights) if is_url(weights) else Path(weights)
        tensors = _read_tensors(path)
    elif bundle is not None and bundle.has("features"):
        path = bundle.path / "features.safetensors"
        tensors = {key: torch.from_numpy(tensor) for key, tensor in bundle.tensors("features").items()}
    else:
        raise WeightsError(
            "These features need the weights of ResNet-50, which no bundle here has: give them with --video-weights, a "
            "file or an address with its checksum, such as torchvision's "
            "https://download.pytorch.org/models/resnet50-0676ba61.pth#sha256=0676ba61"
        )
    with torch.device("meta"):
        network = ResNet50()
    network.load_state_dict(_checked(tensors, network.state_dict(), path), assign=True)
    return network.eval().requires_grad_(False)


def _read_tensors(path: Path) -> Mapping[Any, Any]:
    """What is in a file of weights; nothing of it is executed."""
    if path.suffix != ".safetensors":
        return read_checkpoint(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): give a file of ResNet-50's weights.") from error


def _checked(found: Mapping[Any, Any], wanted: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors that the network wants, float32: exactly those, but for the classifier and counters."""
    found = {
        key: tensor
        for key, tensor in found.items()
        if not (isinstance(key, str) and (key.startswith(_IGNORED) or key.endswith(_COUNTER)))
    }
    counters = {key: torch.zeros((), dtype=torch.int64) for key in wanted if key.endswith(_COUNTER)}
    wrong = [str(key) for key in found if key not in wanted]
    for key in wanted.keys() - counters.keys():
        tensor = found.get(key)
        if not isinstance(tensor, Tensor) or tensor.shape != wanted[key].shape or not tensor.isfinite().all():
            wrong.append(key)
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise WeightsError(
            f"{path} holds no ResNet-50 as torchvision's: missing, unknown, of the wrong shape or not finite are "
            f"{', '.join(sorted(wrong)[:_SHOWN])}{more}."
        )
    return {key: found[key].float().contiguous() for key in wanted if key not in counters} | counters
