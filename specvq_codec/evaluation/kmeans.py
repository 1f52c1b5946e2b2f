"""The peer without a network: 16 x 16 spectrogram patches, principal components, k-means.

What networks of the same rate have to beat. It sees one patch at a time, and its codewords are fitted in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import spectrogram as spec
from ..models.autoencoder import COLUMN_FRAMES
from ..training.data import Pack
from ..training.patches import assign, k_means, patches_of, principal_patches
from ..windows import COLUMN_SAMPLES

ROWS = spec.N_MELS // COLUMN_FRAMES


@dataclass(frozen=True)
class PatchCodec:
    """A vector quantiser of spectrogram patches.

    Attributes:
        basis: (D, 256) orthonormal principal components of the patches.
        codewords: (R, K, D) in their coefficients; R is 1 for one codebook, or 5 for one a mel row.
    """

    basis: Tensor
    codewords: Tensor

    def encode(self, mel: Tensor) -> Tensor:
        """Log-mel spectrogram (80, 16 T) in [0, 1] -> indices (5, T), int64."""
        rows = (patches_of(mel[None, None]) @ self.basis.mT).unflatten(0, (ROWS, -1))  # (5, T, D)
        if len(self.codewords) == 1:
            return assign(rows.flatten(0, 1), self.codewords[0]).unflatten(0, (ROWS, -1))
        return torch.stack([assign(row, words) for row, words in zip(rows, self.codewords, strict=True)])

    def decode(self, indices: Tensor) -> Tensor:
        """Indices (5, T) -> log-mel spectrogram (80, 16 T), clamped to [0, 1]."""
        books = self.codewords.expand(ROWS, -1, -1)
        coefficients = torch.stack([words[row] for row, words in zip(indices, books, strict=True)])  # (5, T, D)
        patches = (coefficients @ self.basis).unflatten(2, (COLUMN_FRAMES, COLUMN_FRAMES))  # (5, T, 16, 16)
        return patches.permute(0, 2, 1, 3).flatten(2).flatten(0, 1).clamp(0.0, 1.0)


def fit_patches(
    columns: Tensor, codebook_size: int, per_row: bool, components: int = 48, iterations: int = 25, seed: int = 0
) -> PatchCodec:
    """Fit to columns of log-mel spectrograms (N, 80, 16) in [0, 1]; the same arguments give the same codewords."""
    patches = columns.unflatten(1, (ROWS, COLUMN_FRAMES)).flatten(2)  # (N, 5, 256)
    basis, _ = principal_patches(patches.flatten(0, 1), components)
    points = patches @ basis.mT  # (N, 5, D)
    books = points.unbind(1) if per_row else (points.flatten(0, 1),)
    generator = torch.Generator().manual_seed(seed)
    return PatchCodec(basis, torch.stack([k_means(book, codebook_size, iterations, generator) for book in books]))


def sample_columns(pack: Pack, count: int = 40_000, seed: int = 0) -> Tensor:
    """Columns (count, 80, 16) of the log-mel spectrograms of a pack, drawn without replacement.

    Only columns that lie wholly in a recording are drawn, each with the same probability; all of them if there are no
    more than `count`.
    """
    per_clip = [clip.length // COLUMN_SAMPLES for clip in pack.clips]
    total = sum(per_clip)
    chosen = np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))
    parts: list[Tensor] = []
    first = 0
    for clip, number in zip(pack.clips, per_clip, strict=True):
        mine: npt.NDArray[np.int64] = chosen[np.searchsorted(chosen, first) : np.searchsorted(chosen, first + number)]
        if len(mine):
            mel = spec.log_mel(pack.waveform(clip))[:, : number * COLUMN_FRAMES]
            parts.append(mel.unflatten(1, (-1, COLUMN_FRAMES))[:, torch.from_numpy(mine - first)].movedim(1, 0))
        first += number
    return torch.cat(parts)
