"""From training runs to a weight bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ..audio import array_stream
from ..bitstream import WeightsError, frequency_tables
from ..codec import Codec
from ..models.prior import integer_tensors
from ..weights import Bundle, add_prior, add_sampler, write_bundle
from ..weights.stored import Precision, Tensors, reduced
from .checkpoints import load_checkpoint, read_checkpoint
from .codebook import CodebookConfig, CodebookModule
from .data import Clip, Pack
from .prior import load_prior
from .sampler import SamplerModule, read_about
from .vocoder import VocoderConfig, load_generator


def export_bundle(
    out: Path,
    name: str,
    codebook: tuple[CodebookConfig, Path],
    vocoder: tuple[VocoderConfig, Path],
    data: Path,
    note: str,
    default_vocoder: str = "melgan",
    progress: Callable[[Iterable[tuple[Clip, Tensor]]], Iterable[tuple[Clip, Tensor]]] = iter,
) -> Bundle:
    """Write the networks of two runs as a bundle in half precision, with static tables counted on a pack's train split.

    Args:
        out: folder of the bundle.
        name: what to call it.
        codebook: configuration and run of the codebook.
        vocoder: configuration and run of the vocoder.
        data: the pack whose train split is encoded to count how often each index occurs.
        note: where the weights come from, in a sentence.
        default_vocoder: "melgan" or "griffin-lim", whichever sounds better with these weights.
        progress: wraps the loop over recordings, to show a progress bar.

    Raises:
        UsageError: a run holds no checkpoint, or one of another configuration, or the folder cannot be written to.
    """
    module = CodebookModule(codebook[0])
    _load(module, codebook[1])
    generator = load_generator(vocoder[0].model, vocoder[1])

    def write(folder: Path, static: npt.NDArray[np.int32] | None) -> Bundle:
        return write_bundle(
            folder,
            name,
            dataclasses.asdict(codebook[0].model),
            _stored(module.autoencoder),
            dataclasses.asdict(vocoder[0].model),
            _stored(generator),
            static,
            note,
            default_vocoder,
        )

    recordings = Pack(data, "train")
    with TemporaryDirectory() as draft:  # counting takes a while, and a bundle without tables is not to be left behind
        codec = Codec(write(Path(draft), None), vocoder="griffin-lim")
        counts = count_indices(codec, progress(recordings))
    return write(out, frequency_tables(counts))


def export_sampler(bundle: Bundle, run: Path, precision: Precision = "float16") -> Bundle:
    """Put the sampler of a run into a bundle; the bundle's fingerprint stays.

    Args:
        bundle: whose indices the sampler was trained on.
        run: folder of its training run.
        precision: of the tensors on disk, see `reduced`.

    Raises:
        UsageError: it is no run of a sampler, or the folder cannot be written to.
        WeightsError: the sampler was trained on the indices of other weights.
    """
    about = read_about(run)
    _require_same("sampler", about.fingerprint, bundle)
    module = SamplerModule(about.model)
    _load(module, run)
    settings = dataclasses.asdict(dataclasses.replace(about.model, dropout=0.0))
    return add_sampler(bundle, settings, _stored(module.network, precision), about.labels, about.features)


def export_prior(bundle: Bundle, run: Path) -> Bundle:
    """Put the prior of a run into a bundle, in integers; the bundle's fingerprint stays.

    Raises:
        UsageError: it is no run of a prior, or the folder cannot be written to.
        WeightsError: the prior was trained on the indices of other weights.
    """
    network, about = load_prior(run)
    _require_same("prior", about.fingerprint, bundle)
    return add_prior(bundle, integer_tensors(network))


def count_indices(codec: Codec, recordings: Iterable[tuple[Clip, Tensor]]) -> npt.NDArray[np.int64]:
    """How often each index occurs in each mel row: (5, K)."""
    counts = np.zeros((5, codec.model.codebook_size), dtype=np.int64)
    for _, waveform in recordings:
        for indices in codec.encode_stream(array_stream(waveform, codec.sample_rate)):
            for row in range(5):
                counts[row] += np.bincount(indices[:, row], minlength=counts.shape[1])
    return counts


def _require_same(part: str, fingerprint: bytes, bundle: Bundle) -> None:
    if fingerprint != bundle.fingerprint:
        raise WeightsError(
            f"The {part} was trained on indices of the weights {fingerprint.hex()[:8]}, and {bundle.path} is "
            f"{bundle.fingerprint.hex()[:8]}: name the bundle that it was trained for."
        )


def _load(module: nn.Module, run: Path) -> None:
    path = run / "last.pt"
    load_checkpoint(module, read_checkpoint(path), path)


def _stored(network: nn.Module, precision: Precision = "float16") -> Tensors:
    return reduced({key: tensor.contiguous().numpy() for key, tensor in network.state_dict().items()}, precision)
