"""Files of trained spectrogram classifiers: one safetensors file with the network and all that it needs.

There are two kinds of network: VGGish-ish, whose activations give the perceptual loss, and Melception, whose features
and verdicts give the metrics of generated sound.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .bitstream.errors import WeightsError
from .files import write_file
from .models.melception import Melception, MelceptionConfig
from .models.vggishish import VGGish, VGGishConfig
from .spectrogram import N_MELS
from .weights.places import DEFAULT

Network: TypeAlias = VGGish | Melception
NetworkConfig: TypeAlias = VGGishConfig | MelceptionConfig

_FORMAT = "specvq classifier 1"
_KINDS: dict[str, type[NetworkConfig]] = {config.kind: config for config in (VGGishConfig, MelceptionConfig)}
_FIRST_KIND = VGGishConfig.kind  # of files from when there was one kind, which do not name it


@dataclass(frozen=True)
class Classifier:
    """A classifier and what its input and output mean.

    Attributes:
        network: takes spectrograms standardised by `means` and `stds`.
        means: of every mel band of spectrograms in [0, 1], float32 (80,).
        stds: their standard deviations, float32 (80,).
        labels: names of the classes in the order of the logits.
    """

    network: Network
    means: Tensor
    stds: Tensor
    labels: tuple[str, ...]


def band_statistics(spectrograms: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (80,) by which a classifier's input is standardised, float32.

    Both are taken over time in each spectrogram (80, T), and then averaged over spectrograms, as the reference does.
    """
    pairs = [torch.var_mean(mel.double(), 1, correction=0) for mel in spectrograms]
    variances, means = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    return means.mean(0).float(), variances.sqrt().mean(0).float()


def new_network(config: NetworkConfig) -> Network:
    """A network of the configuration's kind, with random weights."""
    return VGGish(config) if isinstance(config, VGGishConfig) else Melception(config)


def save_classifier(path: Path, classifier: Classifier, half: bool = False) -> None:
    """Write a classifier as a whole; an older file there is replaced.

    Args:
        path: the file, .safetensors.
        classifier: what to write.
        half: store the weights of convolutions and linear layers in half precision; they are float32 again when loaded.

    Raises:
        UsageError: the file cannot be written.
    """
    tensors = classifier.network.state_dict()
    if half:
        tensors = {key: tensor.half() if tensor.ndim > 1 else tensor for key, tensor in tensors.items()}
    tensors |= {"means": classifier.means, "stds": classifier.stds}
    about = {
        "format": _FORMAT,
        "kind": classifier.network.config.kind,
        "config": json.dumps(asdict(classifier.network.config)),
        "labels": json.dumps(classifier.labels),
    }
    write_file(path, save({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, about), force=True)


def load_classifier(path: Path) -> Classifier:
    """Read a classifier, in eval mode and without gradients; all of it or nothing.

    Raises:
        WeightsError: the file is missing, damaged or no classifier, or a tensor is missing, left over, not finite or of
            another shape than the file's own description says.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise WeightsError(f"There is no classifier {path}: train one, with specvq train classifier.") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or no classifier ({error}): train or import it again.") from error
    network, labels = _described(about, len(tensors), path)
    means, stds = (_statistic(tensors, name, path) for name in ("means", "stds"))
    expected = network.state_dict()
    if wrong := sorted(set(expected) ^ set(tensors)):
        raise WeightsError(f"{path} lacks tensors, or has too many ({', '.join(wrong[:5])}): get the classifier again.")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape or not tensor.isfinite().all():
            raise WeightsError(f"{key} in {path} is not finite or of the wrong shape: get the classifier again.")
        tensors[key] = tensor.to(expected[key].dtype)
    network.load_state_dict(tensors, assign=True)
    return Classifier(network.eval().requires_grad_(False), means, stds, labels)


def default_classifier() -> Classifier:
    """The Melception that comes with the package, on whose features and verdicts metrics are computed by default.

    Raises:
        WeightsError: this copy of the package has none, or it is damaged.
    """
    path = DEFAULT / "melception.safetensors"
    if not path.is_file():
        raise WeightsError("This copy of specvq-codec has no classifier of its own: give one with --classifier.")
    return load_classifier(path)


def _described(about: dict[str, str], count: int, path: Path) -> tuple[Network, tuple[str, ...]]:
    """The network that a file of so many tensors says it holds, without memory yet, and its labels."""
    if about.get("format") != _FORMAT:
        raise WeightsError(f"{path} is no classifier of this package: give one from specvq train classifier.")
    kind = about.get("kind", _FIRST_KIND)
    if kind not in _KINDS:
        raise WeightsError(f"{path} is a classifier of the unknown kind {kind!r}: install a newer specvq-codec.")
    try:
        settings: dict[str, Any] = json.loads(about["config"])
        settings.update({key: tuple(value) for key, value in settings.items() if isinstance(value, list)})
        labels = tuple(json.loads(about["labels"]))
        if sum(settings.get("convs", ())) > count:  # making layers without end takes time even without memory
            raise ValueError("it is deeper than its tensors")
        with torch.device("meta"):
            network = new_network(_KINDS[kind](**settings))
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"The description in {path} is damaged ({error}): get the classifier again.") from error
    if len(labels) != network.config.num_classes:
        raise WeightsError(f"{path} names {len(labels)} classes for {network.config.num_classes} logits: get it again.")
    return network, labels


def _statistic(tensors: dict[str, Tensor], name: str, path: Path) -> Tensor:
    tensor = tensors.pop(name, None)
    if (
        tensor is None
        or tensor.shape != (N_MELS,)
        or not tensor.isfinite().all()
        or (name == "stds" and tensor.min() <= 0)
    ):
        raise WeightsError(f"{path} lacks the {name} of {N_MELS} mel bands: get the classifier again.")
    return tensor.float()
