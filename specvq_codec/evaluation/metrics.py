"""Distances between spectrograms and between waveforms, and how evenly a codebook is used."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import spectrogram as spec
from ..training.losses import multi_resolution_stft

__all__ = ["log_mel_l1", "normalised_entropy", "stft_distance", "usage"]


def log_mel_l1(estimate: Tensor, target: Tensor) -> float:
    """Mean absolute difference of the log-mel spectrograms of two waveforms (N,), in [0, 1] units: 0.01 is 1 dB.

    All 1 + N // 256 centred frames count; waveforms below 1024 samples are followed by silence.
    """
    missing = max(0, spec.N_FFT - len(target))
    mels = spec.log_mel(F.pad(torch.stack([estimate, target]), (0, missing)))  # (2, 80, T)
    return float((mels[0] - mels[1]).abs().mean())


def stft_distance(estimate: Tensor, target: Tensor) -> float:
    """Multi-resolution STFT distance of two waveforms (N,): 0 for equal ones (see `training.losses`)."""
    return float(multi_resolution_stft(estimate[None], target[None]))


def usage(counts: Tensor) -> float:
    """Share of a codebook that occurs at all, in [0, 1].

    Args:
        counts: how often each of K codes occurred: (R, K), one row for each of R codebooks, which are averaged. With n
            occurrences no more than n codes can be used.
    """
    return float((counts > 0).double().mean())


def normalised_entropy(counts: Tensor) -> float:
    """Order-0 entropy of the codes in bits, divided by log2 K: 1 where all are equally frequent, 0 where one is alone.

    Args:
        counts: (R, K), as for `usage`; the codebooks' entropies are averaged.
    """
    share = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    bits = -torch.special.xlogy(share, share).sum(1) / torch.log(torch.tensor(2.0, dtype=torch.float64))
    return float(bits.mean()) / float(torch.log2(torch.tensor(counts.shape[1], dtype=torch.float64)))
