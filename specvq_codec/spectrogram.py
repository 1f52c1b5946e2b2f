"""The front end: waveform -> log-mel spectrogram, and Griffin-Lim, which goes back without trained weights."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLE_RATE = 22_050
N_FFT = 1024
HOP_LENGTH = 256
N_MELS = 80
F_MIN, F_MAX = 125.0, 7600.0  # Hz
FLOOR = 1e-5  # magnitudes below it count as it


def _hz_to_mel(hz: Tensor) -> Tensor:
    """The scale of Slaney's Auditory Toolbox: linear below 1 kHz, logarithmic above."""
    return torch.where(hz < 1000.0, hz * 3.0 / 200.0, 15.0 + 27.0 * torch.log(hz.clamp(min=1.0) / 1000.0) / _log_6_4())


def _mel_to_hz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * torch.exp((mel - 15.0) * _log_6_4() / 27.0))


def _log_6_4() -> Tensor:
    return torch.log(torch.tensor(6.4, dtype=torch.float64))


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # so that what is kept can be trained with, whoever asks first
def mel_filters(device: torch.device | None = None) -> Tensor:
    """Triangular mel filters of unit area (Slaney), float32 (80, 513)."""
    low, high = _hz_to_mel(torch.tensor([F_MIN, F_MAX], dtype=torch.float64))
    edges = _mel_to_hz(low + (high - low) * torch.arange(N_MELS + 2, dtype=torch.float64) / (N_MELS + 1))  # (82,)
    bins = torch.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=torch.float64)  # (513,)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0.0)
    return (triangles * 2.0 / (right - left)).float().to(device)


def magnitudes(waveform: Tensor) -> Tensor:
    """Waveform (..., N) -> STFT magnitudes (..., 513, T) without padding: T = (N - 1024) // 256 + 1."""
    flat = waveform.reshape(-1, waveform.shape[-1])
    window = torch.hann_window(N_FFT, dtype=waveform.dtype, device=waveform.device)
    stft = torch.stft(flat, N_FFT, HOP_LENGTH, window=window, center=False, return_complex=True)
    return stft.abs().reshape(*waveform.shape[:-1], *stft.shape[1:])


def log_mel_frames(waveform: Tensor) -> Tensor:
    """Log-mel spectrogram of frames that lie wholly in the waveform: (..., N) -> (..., 80, (N - 1024) // 256 + 1)."""
    mel = mel_filters(waveform.device).to(waveform.dtype) @ magnitudes(waveform)
    decibels = 20.0 * torch.log10(mel.clamp(min=FLOOR)) - 20.0
    return ((decibels + 100.0) / 100.0).clamp(0.0, 1.0)


def log_mel(waveform: Tensor) -> Tensor:
    """Log-mel spectrogram in [0, 1] of a waveform in [-1, 1] at 22 050 Hz: (..., N) -> (..., 80, 1 + N // 256).

    Magnitude STFT 1024/256 with centred frames and reflect padding, 80 Slaney mels from 125 to 7600 Hz, decibels
    scaled so that 0 is -80 dB and 1 is +20 dB; frame t is centred on sample 256 t. N must be above 512.
    """
    flat = waveform.reshape(-1, waveform.shape[-1])
    padded = F.pad(flat, (N_FFT // 2, N_FFT // 2), mode="reflect")
    return log_mel_frames(padded.reshape(*waveform.shape[:-1], -1))


def mel_magnitudes(mel: Tensor) -> Tensor:
    """Undo the logarithm: log-mel in [0, 1] -> mel magnitudes."""
    return torch.pow(10.0, (mel * 100.0 - 80.0) / 20.0)


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _inverse_mel_filters(device: torch.device | None = None) -> Tensor:
    return torch.linalg.pinv(mel_filters().double()).float().to(device)  # (513, 80)


def griffin_lim(mel: Tensor, before: Tensor | None = None, iterations: int = 16, momentum: float = 0.99) -> Tensor:
    """Waveform for a log-mel spectrogram, without any trained weights.

    Perraudin, Balazs & Sondergaard, "A fast Griffin-Lim algorithm" (2013), on least-squares linear magnitudes. Phases
    start from a fixed seed: the same spectrogram always gives the same sound.

    Args:
        mel: (B, 80, T) in [0, 1].
        before: samples (B, N) that the waveform should begin like, so that pieces fit together; N at most 256 T.
        iterations: between projections; more than 16 are hard to hear.
        momentum: of the projections, in [0, 1).

    Returns:
        (B, 256 T), about [-1, 1], not clamped.
    """
    target = (_inverse_mel_filters(mel.device) @ mel_magnitudes(mel)).clamp(min=0.0).mT  # (B, T, 513)
    target = torch.cat([target, target[:, -1:]], 1)  # centred frames need one more than the hops they span
    generator = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(target.shape, generator=generator).to(mel.device)
    estimate = torch.polar(torch.ones_like(target), angle)  # only its phases count
    if before is not None and before.shape[-1] > N_FFT:
        known = _centred_stft(before)[:, :-2]  # the last frames look beyond what is known
        estimate = torch.cat([known, estimate[:, known.shape[1] :]], 1)
    previous = torch.zeros_like(estimate)
    for _ in range(iterations):
        rebuilt = _centred_stft(_centred_istft(_with_magnitudes(estimate, target)))
        estimate = torch.sub(rebuilt, previous, alpha=momentum / (1 + momentum))
        previous = rebuilt
    return _centred_istft(_with_magnitudes(estimate, target))


def _with_magnitudes(spectrum: Tensor, magnitudes: Tensor) -> Tensor:
    """The phases of one complex spectrum with other magnitudes; in real arithmetic, which is several times faster."""
    parts = torch.view_as_real(spectrum)  # (B, T, 513, 2)
    scale = magnitudes * parts.square().sum(-1).clamp(min=1e-20).rsqrt()
    return torch.view_as_complex(parts * scale.unsqueeze(-1))


def _centred_stft(waveform: Tensor) -> Tensor:
    """Spectrum (B, 1 + N // 256, 513) of a waveform (B, N)."""
    mode = "reflect" if waveform.shape[-1] > N_FFT // 2 else "constant"
    frames = F.pad(waveform, (N_FFT // 2, N_FFT // 2), mode=mode).unfold(-1, N_FFT, HOP_LENGTH)
    return torch.fft.rfft(frames * torch.hann_window(N_FFT, device=waveform.device))


def _centred_istft(spectrum: Tensor) -> Tensor:
    """The waveform (B, 256 T) whose STFT is nearest to a spectrum (B, T + 1, 513).

    torch.istft computes the same, but spends most of its time in a scatter; with a hop of a quarter of the frame,
    overlapping is four shifted additions.
    """
    window = torch.hann_window(N_FFT, device=spectrum.device)
    frames = torch.fft.irfft(spectrum, N_FFT) * window  # (B, T + 1, 1024)
    envelope = _overlap_add(window.square().expand(1, frames.shape[1], -1))
    sound = _overlap_add(frames) / envelope.clamp(min=1e-8)
    return sound[:, N_FFT // 2 : -N_FFT // 2]


def _overlap_add(frames: Tensor) -> Tensor:
    """Frames (B, T, 1024) -> their sum (B, 256 T + 768) at steps of 256 samples."""
    overlap = N_FFT // HOP_LENGTH
    parts = frames.unflatten(-1, (overlap, HOP_LENGTH))
    total = frames.new_zeros(frames.shape[0], frames.shape[1] + overlap - 1, HOP_LENGTH)
    for i in range(overlap):
        total[:, i : i + frames.shape[1]] += parts[:, :, i]
    return total.flatten(1)
