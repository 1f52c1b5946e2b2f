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
    """Sum of the squared differences between neighbours in time and in frequency of spectrograms (..., 80, T).

    Divided by the original's it says how sharp a decoded spectrogram is: 1 where it has as much detail, less where it
    is blurred, more where it is noisy. It does not say that the detail is in the right place, and L1, which does,
    rewards blur: read both.

    Returns:
        A scalar, float64 except on devices without it.
    """
    precise = torch.float32 if mel.device.type == "mps" else torch.float64
    return sum((mel.diff(dim=axis).to(precise).square().sum() for axis in (-1, -2)), mel.new_zeros((), dtype=precise))
