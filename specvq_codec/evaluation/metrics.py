"""Distances between spectrograms and between waveforms, detail, intelligibility, and how evenly a codebook is used."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import spectrogram as spec
from ..resampling import resampled
from ..training.losses import gradient_energy, multi_resolution_stft

__all__ = [
    "gradient_energy",
    "log_mel_l1",
    "mean_and_error",
    "normalised_entropy",
    "pesq",
    "pesq_is_there",
    "stft_distance",
    "stoi",
    "stoi_is_there",
    "usage",
    "waveform_mel",
]

PESQ_RATE = 16_000  # Hz, of the wide band
PESQ_SECONDS = 20  # of a piece of speech: given minutes of it, the package writes beyond its memory


def waveform_mel(waveform: Tensor) -> Tensor:
    """Log-mel spectrogram (..., 80, 1 + N // 256) in [0, 1] of waveforms (..., N), N >= 1.

    Waveforms below 1024 samples are followed by silence.
    """
    return spec.log_mel(F.pad(waveform, (0, max(0, spec.N_FFT - waveform.shape[-1]))))


def log_mel_l1(estimate: Tensor, target: Tensor) -> float:
    """Mean absolute difference of the log-mel spectrograms of two waveforms (N,), in [0, 1] units: 0.01 is 1 dB.

    All 1 + N // 256 centred frames count; waveforms below 1024 samples are followed by silence.
    """
    mels = waveform_mel(torch.stack([estimate, target]))  # (2, 80, T)
    return float((mels[0] - mels[1]).abs().mean())


def stoi_is_there() -> bool:
    """Whether `stoi` can be computed, which needs pystoi."""
    return importlib.util.find_spec("pystoi") is not None


def stoi(estimate: Tensor, target: Tensor) -> float | None:
    """Short-time objective intelligibility of speech: about 0 for noise, 1 for the original.

    Taal, Hendriks, Heusdens & Jensen, "An algorithm for intelligibility prediction of time-frequency weighted noisy
    speech" (2011), as pystoi computes it.

    Args:
        estimate: waveform (N,) at 22 050 Hz.
        target: waveform (N,) of the clean speech.

    Returns:
        The measure, or None if less than 0.4 s of the target is louder than 40 dB below its loudest part.
    """
    import pystoi

    if not target.any():
        return None
    with warnings.catch_warnings():
        # pystoi warns, and returns a number that means nothing; below one frame it fails
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(pystoi.stoi(target.numpy(), estimate.numpy(), spec.SAMPLE_RATE))
        except (RuntimeWarning, ValueError):
            return None


def pesq_is_there() -> bool:
    """Whether `pesq` can be computed, which needs the package of that name."""
    return importlib.util.find_spec("pesq") is not None


def pesq(estimate: Tensor, target: Tensor) -> float | None:
    """Perceived quality of speech, as a mean opinion score: 4.64 for the original, 1 for the worst.

    ITU-T P.862.2, the wide band extension of PESQ, as the package pesq computes it. Of more than 20 s, equal pieces are
    measured, and their mean counts.

    Args:
        estimate: waveform (N,) at 22 050 Hz.
        target: waveform (N,) of the clean speech.

    Returns:
        The measure, or None if the target is shorter than 0.25 s, or nothing in it is taken for speech.
    """
    from pesq import BufferTooShortError, NoUtterancesError
    from pesq import pesq as measured

    def is_speech(sound: npt.NDArray[np.float32]) -> bool:
        try:
            measured(PESQ_RATE, sound, sound, "wb")
        except NoUtterancesError:
            return False
        return True

    def pieces(sound: Tensor) -> Iterator[npt.NDArray[np.float32]]:
        for piece in sound.tensor_split(-(-len(sound) // (PESQ_SECONDS * spec.SAMPLE_RATE))):
            yield np.concatenate(list(resampled([piece.numpy()], spec.SAMPLE_RATE, PESQ_RATE)))

    scores = []
    for original, decoded in zip(pieces(target), pieces(estimate), strict=True):
        if not original.any():
            continue  # the package would divide by its loudness
        try:
            scores.append(measured(PESQ_RATE, original, decoded, "wb"))
        except BufferTooShortError:
            continue
        except NoUtterancesError:  # in either sound: where speech was lost, that is the worst of all
            scores += [1.0] if is_speech(original) else []
        except ValueError:  # what the package makes of silence in the place of speech
            scores.append(1.0)
    return sum(scores) / len(scores) if scores else None


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


def mean_and_error(values: Tensor) -> tuple[float, float | None]:
    """The mean of values (N,), N >= 1, and its standard error; None for a single value."""
    error = float(values.double().std()) / len(values) ** 0.5 if len(values) > 1 else None
    return float(values.double().mean()), error
