"""The authors' checkpoints -> a weight bundle, or a classifier.

The codebooks of Iashin & Rahtu (v-iashin/SpecVQGAN) are Lightning checkpoints that also hold the training losses and
the optimiser; their samplers hold a codebook too, and a causal mask for each layer; their MelGAN is a bare state dict;
their classifiers are nested under `model`, and a text file beside them has the statistics of their input. Architectures
are read off the shapes, and every name and shape is then compared with this package's own network: nothing is skipped
silently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .bitstream.errors import UsageError, WeightsError
from .classifiers import Classifier, NetworkConfig, new_network, save_classifier
from .models.autoencoder import Autoencoder, AutoencoderConfig, to_sequence
from .models.melception import MelceptionConfig
from .models.melgan import Generator, MelGANConfig
from .models.transformer import Transformer, TransformerConfig
from .models.vggishish import VGGishConfig
from .spectrogram import HOP_LENGTH, N_MELS
from .state_dicts import refuse, refuse_shared, verified
from .unpickle import read_checkpoint
from .weights import add_sampler, write_bundle
from .weights.stored import Precision, Tensors, reduced

__all__ = [
    "classifier_from",
    "codebook_from",
    "import_classifier",
    "import_reference",
    "read_checkpoint",
    "sampler_from",
    "vocoder_from",
]

_CODEBOOK_PARTS = ("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv.")
_TRAINING = "loss."  # discriminator and perceptual network beside a codebook
_IN_SAMPLER = "first_stage_model."  # where a sampler's checkpoint keeps its codebook
_SAMPLER = "transformer."  # where it keeps the sampler itself
_ORDER = "first_stage_permuter."  # and in which order the sampler has the indices of a grid
_MASK = re.compile(r"blocks\.\d+\.attn\.mask")
_AUXILIARY = "AuxLogits."  # a second classifier in Melception's checkpoint, which only training uses
_HEAD = 64  # numbers in an attention head of all published samplers; shapes do not tell it


def import_reference(
    codebook: Path | None,
    vocoder: Path | None,
    out: Path,
    name: str | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    sampler: Path | None = None,
    heads: int | None = None,
    sampler_precision: Precision | None = None,
    labels: Path | None = None,
) -> None:
    """Make a weight bundle from the authors' files.

    Args:
        codebook: checkpoint of a codebook, or of a sampler, which holds one (`last.ckpt`). None takes the sampler's.
        vocoder: checkpoint of MelGAN (`best_netG.pt`); without one, decoding uses Griffin-Lim.
        out: folder of the bundle.
        name: what to call the bundle; the folder's name if not given.
        dtype: precision on disk. "float16" halves the size and changes a few indices.
        sampler: checkpoint of a sampler (`last.ckpt`); without one, sounds cannot be continued.
        heads: of the sampler, see `sampler_from`.
        sampler_precision: of the sampler on disk, see `reduced`; `dtype` if not given.
        labels: text file that names the sampler's classes, one a line, in their order. The checkpoint does not name
            them: without this they are called by their numbers.

    Raises:
        WeightsError: a file cannot be read or is damaged, a key is missing, unknown, or of the wrong shape, or the
            sampler belongs to another codebook.
        UsageError: neither codebook nor sampler is given, or the labels are not those of the sampler's classes.
    """
    if codebook is None and sampler is None:
        raise UsageError("A bundle needs a codebook: give its checkpoint, or that of a sampler, which holds one.")
    around = read_checkpoint(sampler) if sampler else {}
    config, tensors = codebook_from(read_checkpoint(codebook) if codebook else around)
    melgan, melgan_tensors = vocoder_from(read_checkpoint(vocoder)) if vocoder else (None, {})
    if sampler:
        network, network_tensors = sampler_from(around, heads)
        stored = _stored(network_tensors, sampler_precision or dtype)
        names = _labels(labels, network.num_classes)
        embedding = "quantize.embedding.weight"
        if not torch.equal(codebook_from(around)[1][embedding], tensors[embedding]):
            raise WeightsError(f"{sampler} was trained with another codebook than {codebook}: leave the codebook out.")
    sources = " and ".join(file.name for file in (codebook, vocoder, sampler) if file)
    bundle = write_bundle(
        out,
        name or out.resolve().name,
        asdict(config),
        _stored(tensors, dtype),
        asdict(melgan) if melgan else None,
        _stored(melgan_tensors, dtype),
        note=f"Imported from {sources}, checkpoints of the reference implementation.",
    )
    if sampler:
        add_sampler(bundle, asdict(network), stored, names)


def _labels(path: Path | None, count: int) -> list[str]:
    """The names of so many classes: the lines of a file, or numbers."""
    if path is None:
        return [str(number) for number in range(count)]
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text in UTF-8: give a file with a class a line.") from error
    if len(names) != count or len(set(names)) != count:
        raise UsageError(f"{path} names {len(set(names))} classes, and the sampler has {count}: give one a line.")
    return names


def import_classifier(checkpoint: Path, statistics: Path, out: Path) -> None:
    """Make a classifier for LPAPS or for the metrics (see `load_classifier`) from the authors' files.

    Args:
        checkpoint: of VGGish-ish (`vggishish16.pt`), or of Melception (`melception-21-05-10T09-28-40.pt`).
        statistics: the text file beside it (`train_means_stds_melspec_10s_22050hz.txt`): a line a mel band, its mean
            and standard deviation. Both classifiers have the same.
        out: file of the new classifier; one that is there is replaced. Its labels are numbers, since the checkpoint
            does not name them.

    Raises:
        WeightsError: a file cannot be read or is damaged, or a key is missing, unknown, or of the wrong shape.
        UsageError: the new file cannot be written.
    """
    config, tensors = classifier_from(read_checkpoint(checkpoint))
    with torch.device("meta"):
        network = new_network(config)
    network.load_state_dict(tensors, assign=True)
    means, stds = _statistics(statistics)
    save_classifier(out, Classifier(network, means, stds, tuple(map(str, range(config.num_classes)))))


def classifier_from(checkpoint: Mapping[Any, Any]) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """Configuration and tensors, float32 but for counters, of a `VGGish` or `Melception`, out of a checkpoint of it.

    Raises:
        WeightsError: a key is missing, unknown, or of the wrong shape; the message names it.
    """
    state = checkpoint.get("model")
    if not isinstance(state, Mapping):
        raise WeightsError("The checkpoint holds no classifier (nothing under the key model): give another file.")
    state = {str(key): value for key, value in state.items() if not str(key).startswith(_AUXILIARY)}
    try:
        config = _melception_config(state) if "fc.weight" in state else _vggish_config(state)
        with torch.device("meta"):
            model = new_network(config)
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"The classifier's architecture is none that this package has ({error}).") from error
    return config, verified(state, model, "classifier")


def _melception_config(state: Mapping[str, Any]) -> MelceptionConfig:
    classes, width = _shape(state, "fc.weight", 2)
    return MelceptionConfig(classes, width / MelceptionConfig().channels(2048))


def _vggish_config(state: Mapping[str, Any]) -> VGGishConfig:
    places = [i for i in range(_count(state, r"features\.(\d+)\.")) if f"features.{i}.weight" in state]
    if not places:
        raise WeightsError(
            "The checkpoint holds no classifier (no key is fc.weight or starts with features.): give another file."
        )
    levels: list[list[int]] = []
    for before, place in zip([-3, *places], places, strict=False):
        if place - before > 2:  # a pooling layer stands between
            levels.append([])
        levels[-1].append(_shape(state, f"features.{place}.weight", 4)[0])
    return VGGishConfig(
        channels=tuple(widths[0] for widths in levels),
        convs=tuple(len(widths) for widths in levels),
        hidden=_shape(state, "classifier.0.weight", 2)[0],
        num_classes=_shape(state, "classifier.4.weight", 2)[0],
    )


def _statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (80,) of mel bands, from a text file of two columns."""
    try:
        rows = [
            [float(word) for word in line.split()]
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.strip()
        ]
        table = torch.tensor(rows)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}): check the path.") from error
    except ValueError as error:  # of letters, and of lines of different lengths
        raise WeightsError(f"{path} is no table of numbers ({error}): give the means and deviations.") from error
    if table.shape != (N_MELS, 2) or not table.isfinite().all() or table[:, 1].min() <= 0:
        raise WeightsError(f"{path} must have {N_MELS} lines, each a mean and a positive standard deviation.")
    return table[:, 0], table[:, 1]


def codebook_from(checkpoint: Mapping[Any, Any]) -> tuple[AutoencoderConfig, dict[str, Tensor]]:
    """Configuration and float32 tensors of an `Autoencoder`, out of a checkpoint of a codebook or of a sampler.

    Keys of training losses (`loss.`) are left out, and so is a sampler around the codebook.

    Raises:
        WeightsError: a key is missing, unknown, or of the wrong shape; the message names it.
    """
    state = _state_dict(checkpoint)
    if any(key.startswith(_IN_SAMPLER) for key in state):
        state = {key.removeprefix(_IN_SAMPLER): value for key, value in state.items() if key.startswith(_IN_SAMPLER)}
    state = {key: value for key, value in state.items() if not key.startswith(_TRAINING)}
    if not any(key.startswith(_CODEBOOK_PARTS) for key in state):
        raise WeightsError("The checkpoint holds no codebook (no key starts with encoder.): give another file.")
    levels = _count(state, r"encoder\.down\.(\d+)\.")
    try:
        config = AutoencoderConfig(
            channels=tuple(
                _shape(state, f"encoder.down.{level}.block.0.conv1.weight", 4)[0] for level in range(levels)
            ),
            num_res_blocks=_count(state, r"encoder\.down\.0\.block\.(\d+)\."),
            attention_levels=tuple(i for i in range(levels) if f"encoder.down.{i}.attn.0.norm.weight" in state),
            z_channels=_shape(state, "encoder.conv_out.weight", 4)[0],
            embed_dim=_shape(state, "quantize.embedding.weight", 2)[1],
            codebook_size=_shape(state, "quantize.embedding.weight", 2)[0],
        )
        with torch.device("meta"):
            model = Autoencoder(config)
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"The codebook's architecture is none that this package has ({error}).") from error
    return config, verified(state, model, "codebook")


def sampler_from(
    checkpoint: Mapping[Any, Any], heads: int | None = None
) -> tuple[TransformerConfig, dict[str, Tensor]]:
    """Configuration and float32 tensors of a `Transformer`, out of a checkpoint of a sampler.

    Args:
        checkpoint: of the sampler. Its causal masks are left out.
        heads: attention heads in a layer, which no shape tells; if not given, they are 64 wide, as in all published
            samplers.

    Raises:
        WeightsError: a key is missing, unknown, or of the wrong shape, or the sampler has indices in another order.
    """
    whole = _state_dict(checkpoint)
    state = {key.removeprefix(_SAMPLER): value for key, value in whole.items() if key.startswith(_SAMPLER)}
    state = {key: value for key, value in state.items() if not _MASK.fullmatch(key)}
    if not state:
        raise WeightsError(f"The checkpoint holds no sampler (no key starts with {_SAMPLER}): give another file.")
    strange = [key for key in whole if not key.startswith((_SAMPLER, _IN_SAMPLER, _ORDER))]
    refuse(strange, "Beside the sampler are unknown keys")
    codebook_size, width = _shape(state, "tok_emb.weight", 2)
    depth, num_classes = _conditions(state)
    frames = _shape(state, "pos_emb", 3)[1] - TransformerConfig().window - (num_classes > 0)
    try:
        config = TransformerConfig(
            codebook_size=codebook_size,
            n_layer=_count(state, r"blocks\.(\d+)\."),
            n_head=heads or max(1, width // _HEAD),
            n_embd=width,
            feature_frames=frames if depth else 0,
            feature_depth=depth,
            num_classes=num_classes,
        )
        with torch.device("meta"):
            model = Transformer(config)
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"The sampler's architecture is none that this package has ({error}).") from error
    order = whole.get(f"{_ORDER}forward_shuffle_idx")
    expected = to_sequence(torch.arange(config.window).unflatten(0, (-1, config.columns)))
    if order is not None and not (isinstance(order, Tensor) and torch.equal(order, expected)):
        raise WeightsError("The sampler has the indices in another order than column by column: give another one.")
    return config, verified(state, model, "sampler")


def _conditions(state: Mapping[str, Any]) -> tuple[int, int]:
    """Numbers in a feature, and number of classes, of a sampler; 0 if it takes no such condition."""
    if any(key.startswith(("feat_embedder.", "cls_embedder.")) for key in state):
        return _shape(state, "feat_embedder.weight", 3)[1], _shape(state, "cls_embedder.weight", 2)[0]
    table = state.get("embedder.weight")
    if isinstance(table, Tensor) and table.ndim == 2:
        return 0, _shape(state, "embedder.weight", 2)[0]
    return _shape(state, "embedder.weight", 3)[1], 0


def vocoder_from(checkpoint: Mapping[Any, Any]) -> tuple[MelGANConfig, dict[str, Tensor]]:
    """Configuration and float32 tensors of a `Generator`, out of a checkpoint of MelGAN.

    Weight normalisation is folded: `weight_v` (direction) and `weight_g` (length, one for each index of the first
    dimension) become `weight`.

    Raises:
        WeightsError: a key is missing, unknown, or of the wrong shape; the message names it.
    """
    state = _state_dict(checkpoint)
    layers = _count(state, r"model\.(\d+)\.")
    convolutions = [i for i in range(layers) if f"model.{i}.weight_v" in state]
    residuals = [i for i in range(layers) if any(key.startswith(f"model.{i}.block.") for key in state)]
    if len(convolutions) < 3:
        raise WeightsError("The checkpoint holds no MelGAN generator (model.N.weight_v): give another file.")
    first, *upsamplings, _last = (_shape(state, f"model.{i}.weight_v", 3) for i in convolutions)
    config = MelGANConfig(
        num_mels=first[1],
        channels=(first[0], *(shape[1] for shape in upsamplings)),
        ratios=tuple(shape[2] // 2 for shape in upsamplings),  # a kernel is twice its stride
        num_res_layers=len(residuals) // len(upsamplings),
    )
    if config.num_mels != N_MELS or config.hop_length != HOP_LENGTH:
        raise WeightsError(
            f"The vocoder makes {config.hop_length} samples of {config.num_mels} mels, and the codec needs "
            f"{HOP_LENGTH} of {N_MELS}: give a MelGAN that was trained for such spectrograms."
        )
    try:
        with torch.device("meta"):
            model = Generator(config)
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"The vocoder's architecture is none that this package has ({error}).") from error
    return config, verified(_folded(state), model, "vocoder")


def _state_dict(checkpoint: Mapping[Any, Any]) -> dict[str, Any]:
    """The state dict in a checkpoint, which may be the checkpoint itself."""
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, Mapping):
        raise WeightsError("The checkpoint's state_dict is no dictionary: give another file.")
    return {str(key): value for key, value in state.items()}


def _count(state: Mapping[str, Any], pattern: str) -> int:
    """One more than the largest index that stands at a place in the keys; 0 if there is none."""
    found = (re.match(pattern, key) for key in state)
    # as many as there are keys is enough: a larger index is an unknown key, and is named as such later
    return min(max((int(match[1]) + 1 for match in found if match and len(match[1]) < 9), default=0), len(state))


def _shape(state: Mapping[str, Any], key: str, dimensions: int) -> tuple[int, ...]:
    """The shape of a tensor that tells something about the architecture."""
    tensor = state.get(key)
    if tensor is None:
        raise WeightsError(f"The checkpoint lacks the key {key}: give a complete one.")
    if not isinstance(tensor, Tensor) or tensor.ndim != dimensions or 0 in tensor.shape:
        raise WeightsError(f"{key} in the checkpoint is no tensor of {dimensions} dimensions: give another file.")
    return tuple(tensor.shape)


def _folded(state: Mapping[str, Any]) -> dict[str, Any]:
    """Weight-normalised pairs multiplied out, w = g v / |v|; everything else as it is."""
    refuse_shared(state, "vocoder")
    folded = dict(state)
    for key, direction in state.items():
        if not key.endswith(".weight_v"):
            continue
        stem = key.removesuffix("_v")
        length = state.get(f"{stem}_g")
        if length is None:
            raise WeightsError(f"The vocoder lacks the key {stem}_g: give a complete checkpoint.")
        shape = list(direction.shape[:1]) + [1] * (direction.ndim - 1) if isinstance(direction, Tensor) else None
        if not isinstance(length, Tensor) or list(length.shape) != shape:
            raise WeightsError(f"{stem}_g in the vocoder does not fit {stem}_v: give another file.")
        v = direction.double()  # folded once: let it cost no precision
        norm = v.flatten(1).norm(dim=1).reshape(length.shape)
        folded[stem] = (length.double() / norm * v).float()
        del folded[key], folded[f"{stem}_g"]
    return folded


def _stored(tensors: Mapping[str, Tensor], precision: Precision) -> Tensors:
    return reduced({key: tensor.numpy() for key, tensor in tensors.items()}, precision)
