"""Neural codecs that others trained, if their packages and weights are installed: EnCodec, DAC and SNAC.

EnCodec: Défossez et al., "High fidelity neural audio compression" (2022), package `encodec`. DAC: Kumar et al.,
"High-fidelity audio compression with improved RVQGAN" (2023), package `descript-audio-codec`. SNAC: Siuzdak et al.,
"SNAC: multi-scale neural audio codec" (2024), package `snac`. They fetch their weights when they are first used; here
that is before anything is measured. Rates are those of the indices, at whole bits each, with those of what a network
appends to a sound; none of the packages stores fewer without a language model.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bitstream import UsageError
from ..resampling import SAMPLE_RATE
from .external import RoundTrip, Samples, changed_rate, fitted

SHORTEST = 1024  # samples: what is shorter than a frame is followed by silence, since convolutions reflect


class Network(Protocol):
    """What the packages have in common."""

    rate: int  # Hz

    def encode(self, sound: Tensor) -> tuple[Any, int]:
        """From a sound (1, 1, N) to what `decode` takes, and its bits."""

    def decode(self, coded: Any) -> Tensor:
        """The sound (1, 1, M)."""


class Encodec:
    """The causal network at 24 kHz, at 1.5, 3, 6, 12 or 24 kbit/s."""

    def __init__(self, kilobits: float, device: torch.device) -> None:
        from encodec import EncodecModel

        self._model = EncodecModel.encodec_model_24khz().to(device).eval()
        self._model.set_target_bandwidth(kilobits)
        self.rate = int(self._model.sample_rate)

    def encode(self, sound: Tensor) -> tuple[Any, int]:
        """See `Network`."""
        frames = self._model.encode(sound)  # pairs of codes (1, K, T) and a scale, which this network does not use
        return frames, sum(codes.numel() for codes, _ in frames) * int(self._model.bits_per_codebook)

    def decode(self, coded: Any) -> Tensor:
        """See `Network`."""
        return self._model.decode(coded)


class Dac:
    """The network at 44.1 kHz, with all of its nine codebooks: 7.8 kbit/s."""

    def __init__(self, device: torch.device) -> None:
        import dac

        self._model = dac.DAC.load(dac.utils.download(model_type="44khz")).to(device).eval()
        self.rate = int(self._model.sample_rate)

    def encode(self, sound: Tensor) -> tuple[Any, int]:
        """See `Network`."""
        latents, codes, *_ = self._model.encode(self._model.preprocess(sound, self.rate))  # (1, D, T), (1, K, T)
        return latents, codes.numel() * _bits(self._model.codebook_size)

    def decode(self, coded: Any) -> Tensor:
        """See `Network`."""
        return self._model.decode(coded)


class Snac:
    """One of the three networks: `snac_24khz` (for speech, 1 kbit/s), `snac_32khz` (1.9) and `snac_44khz` (2.6)."""

    def __init__(self, network: str, device: torch.device) -> None:
        from snac import SNAC

        self._model = SNAC.from_pretrained(f"hubertsiuzdak/{network}").to(device).eval()
        self.rate = int(self._model.sampling_rate)

    def encode(self, sound: Tensor) -> tuple[Any, int]:
        """See `Network`."""
        codes = self._model.encode(sound)  # (1, T) of several lengths
        return codes, sum(book.numel() for book in codes) * _bits(self._model.codebook_size)

    def decode(self, coded: Any) -> Tensor:
        """See `Network`; its decoder adds noise, the same in every run."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self._model.decode(coded)


@dataclass(frozen=True)
class _Known:
    """How a network is made, and the package it needs."""

    make: Callable[[torch.device], Network]
    package: str


_ENCODEC, _SNAC = "encodec", "snac"
NEURAL_CODECS = {
    "encodec": _Known(partial(Encodec, 1.5), _ENCODEC),
    "encodec-3k": _Known(partial(Encodec, 3.0), _ENCODEC),
    "encodec-6k": _Known(partial(Encodec, 6.0), _ENCODEC),
    "encodec-12k": _Known(partial(Encodec, 12.0), _ENCODEC),
    "encodec-24k": _Known(partial(Encodec, 24.0), _ENCODEC),
    "dac": _Known(Dac, "descript-audio-codec"),
    "snac": _Known(partial(Snac, "snac_24khz"), _SNAC),
    "snac-32khz": _Known(partial(Snac, "snac_32khz"), _SNAC),
    "snac-44khz": _Known(partial(Snac, "snac_44khz"), _SNAC),
}


@dataclass(frozen=True)
class NeuralCodec:
    """One of them, as an `external.ExternalCodec`."""

    name: str
    network: Network
    device: torch.device

    @torch.inference_mode()
    def round_trip(self, sound: Samples) -> RoundTrip:
        """Encode and decode; see `external.ExternalCodec`."""
        theirs = torch.from_numpy(changed_rate(sound, SAMPLE_RATE, self.network.rate))
        length = len(theirs)
        padded = F.pad(theirs, (0, max(0, SHORTEST - length)))[None, None].to(self.device)
        try:
            start = time.perf_counter()
            coded, bits = self.network.encode(padded)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # which is still computing
            encoded = time.perf_counter()
            made = self.network.decode(coded)[0, 0].float().cpu()
            decoded = time.perf_counter()
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UsageError(f"{self.name} failed ({error}): leave it out.") from error
        ours = changed_rate(fitted(made.numpy(), length), self.network.rate, SAMPLE_RATE)
        return RoundTrip(fitted(ours, len(sound)), bits, encoded - start, decoded - encoded)


def neural_codec(name: str, device: torch.device) -> NeuralCodec:
    """Load one of `NEURAL_CODECS`.

    Raises:
        UsageError: its package is not installed, or its weights are not there and cannot be fetched.
    """
    known = NEURAL_CODECS[name]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where results are printed nobody else's messages may appear
            return NeuralCodec(name, known.make(device), device)
    except ImportError as error:
        raise UsageError(f"{name} needs its package: pip install {known.package}, or leave {name} out.") from error
    except Exception as error:  # whatever goes wrong in fetching and loading, which is not ours
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise UsageError(
            f"The weights of {name} could not be loaded ({reason}): use {known.package} once by itself, which fetches "
            f"them, or leave {name} out."
        ) from error


def _bits(codebook_size: Any) -> int:
    return math.ceil(math.log2(int(codebook_size)))
