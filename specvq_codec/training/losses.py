"""Measures of waveforms and spectrograms to learn from or to watch."""

from __future__ import annotations

import torch
from torch import Tensor

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))  # FFT size and hop length, Hann window of the FFT's size


def stft_magnitudes(waveform: Tensor, size: int, hop: int) -> Tensor:
    """Magnitudes (B, size // 2 + 1, T) of waveforms (B, N), centred frames, zeros beyond the ends."""
    window = torch.hann_window(size, device=waveform.device)
    stft = torch.stft(waveform, size, hop, window=window, pad_mode="constant", return_complex=True)
    return (stft.real.square() + stft.imag.square() + 1e-9).sqrt()  # the constant keeps the root's gradient finite


def multi_resolution_stft(estimate: Tensor, target: Tensor) -> Tensor:
    """Multi-resolution STFT distance of waveforms (B, N), a scalar >= 0.

    Mean over three resolutions of spectral convergence and mean absolute difference of natural-log magnitudes, floored
    at 1e-5 of a full-scale sinusoid's (about size / 4): Yamamoto, Song & Kim, "Parallel WaveGAN" (2020).
    """
    total = torch.zeros((), device=estimate.device)
    for size, hop in RESOLUTIONS:
        x, y = stft_magnitudes(estimate, size, hop), stft_magnitudes(target, size, hop)
        convergence = (y - x).norm() / y.norm().clamp(min=1e-3)
        floor = 1e-5 * size / 4
        logarithms = (y.clamp(min=floor).log() - x.clamp(min=floor).log()).abs().mean()
        total = total + convergence + logarithms
    return total / len(RESOLUTIONS)


def gradient_energy(mel: Tensor) -> Tensor:
    """How much a spectrogram (..., 80, T) changes: the squared steps to the next band and frame, summed; a scalar.

    The ratio of a decoded spectrogram's to the original's is its sharpness: blur, which an L1 distance rewards, is
    below 1.
    """
    return mel.diff(dim=-1).square().sum() + mel.diff(dim=-2).square().sum()
