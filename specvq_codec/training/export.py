"""From training runs to a weight bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..audio import array_stream
from ..bitstream import UsageError, frequency_tables
from ..codec import Codec
from ..models.melgan import Generator
from ..weights import Bundle, write_bundle
from .codebook import CodebookConfig, CodebookModule
from .data import Clip, Pack
from .vocoder import VocoderConfig, fold_weights, normalise_weights


def export_bundle(
    out: Path,
    name: str,
    codebook: tuple[CodebookConfig, Path],
    vocoder: tuple[VocoderConfig, Path],
    data: Path,
    note: str,
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
        progress: wraps the loop over recordings, to show a progress bar.

    Raises:
        UsageError: a run holds no checkpoint.
    """
    module = CodebookModule(codebook[0])
    module.load_state_dict(_checkpoint(codebook[1]))
    generator = Generator(vocoder[0].model)
    normalise_weights(generator)
    generator.load_state_dict(_checkpoint(vocoder[1]))
    fold_weights(generator)

    def write(static: npt.NDArray[np.int32] | None) -> Bundle:
        return write_bundle(
            out,
            name,
            dataclasses.asdict(codebook[0].model),
            _half(module.autoencoder.state_dict()),
            dataclasses.asdict(vocoder[0].model),
            _half(generator.state_dict()),
            static,
            note,
        )

    return write(frequency_tables(count_indices(Codec(write(None)), progress(Pack(data, "train")))))


def count_indices(codec: Codec, recordings: Iterable[tuple[Clip, Tensor]]) -> npt.NDArray[np.int64]:
    """How often each index occurs in each mel row: (5, K)."""
    counts = np.zeros((5, codec.model.codebook_size), dtype=np.int64)
    for _, waveform in recordings:
        for indices in codec.encode_stream(array_stream(waveform, codec.sample_rate)):
            for row in range(5):
                counts[row] += np.bincount(indices[:, row], minlength=counts.shape[1])
    return counts


def _checkpoint(run: Path) -> dict[str, Tensor]:
    path = run / "last.pt"
    if not path.exists():
        raise UsageError(f"{run} holds no checkpoint: train first, with specvq train ... --out {run}")
    state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["module"]
    return state


def _half(state: dict[str, Tensor]) -> dict[str, npt.NDArray[np.float16]]:
    return {key: tensor.contiguous().half().numpy() for key, tensor in state.items()}
