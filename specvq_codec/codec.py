"""The codec: sound to indices and back, with the networks of a weight bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from os import PathLike
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import spectrogram as spec
from .audio import (
    MAX_RATE,
    MIN_RATE,
    SoundStream,
    array_stream,
    blocks_of,
    open_sound,
    resampled,
    resampled_length,
    whole,
)
from .bitstream import Coding, Header, UsageError, WeightsError
from .codes import Codes, checked_indices
from .conditions import Features, condition_for
from .continuation import continuations, inventions
from .devices import pick_device
from .models.autoencoder import COLUMN_FRAMES, Autoencoder, AutoencoderConfig
from .models.melgan import Generator, MelGANConfig
from .models.transformer import Transformer, TransformerConfig
from .networks import network_of
from .precision import check_precision, with_precision
from .rate import encode_to_rate
from .sampling import Progress, Sampling
from .weights import Bundle, locate
from .windows import COLUMN_SAMPLES, STEP, decode_windows, encode_windows, fade_pieces, mel_chunks, vocode_pieces

__all__ = ["Codec", "Codes"]

Samples = npt.NDArray[np.float32]
VOCODERS = ("auto", "melgan", "griffin-lim")


class Codec:
    """Encodes and decodes sound with one weight bundle on one device.

    Windows go through the networks one at a time, so that a result never depends on what else is in a batch. Indices
    can differ between devices where two codebook vectors are equally near; decoding them needs the same weights, not
    the same device.
    """

    sample_rate = spec.SAMPLE_RATE

    def __init__(
        self, bundle: Bundle, device: str = "auto", vocoder: str = "auto", sampler_precision: str = "auto"
    ) -> None:
        """Load the networks.

        Args:
            bundle: the weights.
            device: "auto" (CUDA, else MPS, else the CPU), or a torch device.
            vocoder: "melgan", "griffin-lim", or "auto" for the one that sounds better with this bundle.
            sampler_precision: "float32", "int8" (weights, on the CPU), "bfloat16", or "auto" for the quickest one that
                was tried on such a device (see `with_precision`). Another one makes another sound of the same seed.

        Raises:
            WeightsError: the bundle is damaged, or has no vocoder and "melgan" was asked for.
            UsageError: there is no such device, vocoder or precision.
        """
        if vocoder not in VOCODERS:
            raise UsageError(f"There is no vocoder {vocoder!r}: use {', '.join(VOCODERS)}.")
        bundle.verify()
        self.bundle = bundle
        self.device = pick_device(device)
        check_precision(sampler_precision, self.device)
        self.sampler_precision = sampler_precision
        self.model = bundle.coding_model()
        autoencoder = network_of(Autoencoder, AutoencoderConfig, bundle.autoencoder, bundle, "codebook")
        self.autoencoder = autoencoder.to(self.device).channels_last()
        self.vocoder: Generator | None = None
        if vocoder == "auto":
            vocoder = bundle.default_vocoder
        if vocoder == "melgan":
            if bundle.melgan is None:
                raise WeightsError(f"The bundle {bundle.name} has no vocoder: use --vocoder griffin-lim.")
            generator = network_of(Generator, MelGANConfig, bundle.melgan, bundle, "vocoder")
            if generator.config.num_mels != spec.N_MELS or generator.config.hop_length != spec.HOP_LENGTH:
                raise WeightsError(f"The vocoder of {bundle.name} needs other spectrograms: use --vocoder griffin-lim.")
            self.vocoder = generator.to(self.device)

    @classmethod
    def from_pretrained(
        cls,
        source: str | PathLike[str] | None = None,
        device: str = "auto",
        vocoder: str = "auto",
        sampler_precision: str = "auto",
    ) -> Codec:
        """The codec of a bundle: the default one, a folder, a name, or "hf://owner/name".

        Raises:
            WeightsError: there is no such bundle, or it is damaged.
        """
        return cls(locate(source), device, vocoder, sampler_precision)

    def encode(
        self,
        sound: str | PathLike[str] | IO[bytes] | Any,
        sample_rate: int | None = None,
        target_bps: float | None = None,
    ) -> Codes:
        """Encode one sound.

        Args:
            sound: a path ("-" for the standard input), a binary file object, or samples: (N,) or (channels, N),
                numpy or torch, floating point in [-1, 1] or integers. Channels are averaged.
            sample_rate: of samples, in Hz, 8000 to 192000; 22 050 if not given. Files know theirs.
            target_bps: bits per second that the file may take; where it would take more, indices that the prior of
                learned coding makes cheaper stand in for the nearest ones (see `rate`). None for the nearest ones.

        Raises:
            AudioError: the sound cannot be read or used.
            WeightsError: there is a target, and the bundle has no prior.
            UsageError: the file cannot be made so small, or the sound is longer than 25 hours.
        """
        with self._stream(sound, sample_rate) as stream:
            return self.encode_opened(stream, target_bps)

    def encode_opened(
        self, stream: SoundStream, target_bps: float | None = None, progress: Callable[[int], object] | None = None
    ) -> Codes:
        """Encode a sound that is open already; `progress` is told how many columns more are done."""
        if stream.expected_samples and not stream.is_estimate:
            self.check_length(stream, stream.expected_samples)
        if target_bps is not None:
            return encode_to_rate(self, stream, target_bps, progress)
        parts = []
        for part in self.encode_stream(stream):
            parts.append(part)
            self.check_length(stream, stream.num_samples)
            if progress:
                progress(len(part))
        indices = np.concatenate(parts)
        return Codes(indices, stream.sample_rate, stream.num_samples, self.bundle.fingerprint, self.model)

    def encode_batch(
        self, sounds: Sequence[Any] | Any, sample_rate: int | None = None, target_bps: float | None = None
    ) -> list[Codes]:
        """Encode several sounds as `encode` does: a list of what it takes, or an array (B, N) or (B, channels, N)."""
        if isinstance(sounds, str | PathLike):
            raise UsageError("encode_batch takes several sounds, and this is the path of one: use encode.")
        return [self.encode(sound, sample_rate, target_bps) for sound in sounds]

    @torch.inference_mode()
    def encode_stream(
        self, sound: SoundStream | str | PathLike[str] | IO[bytes] | Any, sample_rate: int | None = None
    ) -> Iterator[npt.NDArray[np.int16]]:
        """Encode in bounded memory; yields indices (t, 5), int16, whose concatenation is that of `encode`.

        The arguments are those of `encode`; the sound may also be open already.
        """
        with self._stream(sound, sample_rate) as stream:
            for grid in encode_windows(self._mels(stream), self._encode_window):
                yield grid.mT.to("cpu", torch.int16).numpy()

    @torch.inference_mode()
    def latent_stream(self, stream: SoundStream) -> Iterator[Tensor]:
        """The latents that `encode_stream` finds the nearest vectors of: (t, 5, D), float32 on the codec's device."""
        for grid in encode_windows(self._mels(stream), self._latents_of_window):
            yield grid.movedim(0, 1)

    def _mels(self, stream: SoundStream) -> Iterator[Tensor]:
        blocks = blocks_of(resampled(stream, stream.sample_rate, self.sample_rate), STEP * COLUMN_SAMPLES)
        return mel_chunks(torch.from_numpy(block).to(self.device) for block in blocks)

    def decode(self, codes: Codes | str | PathLike[str] | bytes, sample_rate: int | None = None) -> Samples:
        """Decode to samples.

        Args:
            codes: codes, or the path of an `.svq` file, or its bytes.
            sample_rate: wanted rate in Hz, 8000 to 192000; `codes.sample_rate` gives exactly `codes.num_samples`
                samples. None stands for the codec's 22 050 Hz.

        Returns:
            float32 (N,) in [-1, 1].

        Raises:
            WeightsError: the codes belong to other weights.
            BitstreamError: the file is damaged.
            UsageError: there is no such rate, or the codes are no such indices.
        """
        return np.concatenate(list(self.decode_stream(codes, sample_rate)))

    def decode_batch(
        self, batch: Sequence[Codes | str | PathLike[str] | bytes], sample_rate: int | None = None
    ) -> list[Samples]:
        """Decode several codes, each as `decode` does."""
        if isinstance(batch, Codes | str | PathLike | bytes):
            raise UsageError("decode_batch takes several codes, and this is one: use decode.")
        return [self.decode(codes, sample_rate) for codes in batch]

    def decode_stream(
        self, codes: Codes | str | PathLike[str] | bytes, sample_rate: int | None = None
    ) -> Iterator[Samples]:
        """Decode in bounded memory; yields blocks whose concatenation is what `decode` returns, from the same."""
        codes = self._loaded(codes)
        self.check(codes)
        rate = self.sample_rate if sample_rate is None else whole(sample_rate)
        if rate != codes.sample_rate and not MIN_RATE <= rate <= MAX_RATE:
            raise UsageError(
                f"The rate must be the original's or from {MIN_RATE} to {MAX_RATE} Hz, not {sample_rate!r}."
            )
        length = output_length(codes, rate)
        codec_length = output_length(codes, self.sample_rate)
        sound = _silenced(self.vocode(self._frames(codes)), codes.lost)
        sound = resampled(sound, self.sample_rate, self.sample_rate, codec_length)
        for block in resampled(sound, self.sample_rate, rate, length):
            yield np.clip(block, -1.0, 1.0)  # resampling can overshoot

    @torch.inference_mode()
    def spectrogram(self, codes: Codes) -> Samples:
        """The log-mel spectrogram that codes stand for: float32 (80, 16 T) in [0, 1]."""
        self.check(codes)
        return torch.cat(list(self._frames(codes)), dim=1).cpu().numpy()

    @torch.inference_mode()
    def vocode(self, frames: Iterable[Tensor]) -> Iterator[Samples]:
        """The waveform of a spectrogram, in bounded memory.

        Args:
            frames: pieces (80, t) of a log-mel spectrogram in [0, 1], float32 on the codec's device.

        Yields:
            float32 (N,) at 22 050 Hz, together 256 samples for every frame.
        """
        if self.vocoder is None:
            pieces = fade_pieces(frames, _griffin_lim)
        else:
            generator = self.vocoder
            pieces = vocode_pieces(frames, lambda mel: generator(mel[None])[0], generator.config.context_frames)
        for samples in pieces:
            yield samples.cpu().numpy()

    @cached_property
    def sampler(self) -> Transformer:
        """The network that continues sounds, loaded when it is first asked for, in the codec's precision.

        Raises WeightsError if the bundle has none, or a damaged one.
        """
        settings, name = self.bundle.sampler, self.bundle.name
        if settings is None:
            raise WeightsError(f"The bundle {name} has no sampler, which continues sounds: give weights that have one.")
        network = network_of(Transformer, TransformerConfig, settings, self.bundle, "sampler")
        if network.config.codebook_size != self.model.codebook_size:
            raise WeightsError(f"The sampler of {name} was trained with another codebook: get the bundle again.")
        for key, parameter in network.named_parameters():
            if not parameter.isfinite().all():
                raise WeightsError(f"{key} in the sampler of {name} is not finite: get the bundle again.")
        return with_precision(network.to(self.device), self.sampler_precision)

    def continue_codes(
        self,
        codes: Codes,
        seconds: float,
        top_k: int | None = None,
        temperature: float = 1.0,
        nucleus: float = 1.0,
        seed: int = 0,
        features: Features | None = None,
        label: str | int | None = None,
        progress: Progress | None = None,
    ) -> Codes:
        """Continue a sound with the bundle's sampler; `continuations` makes several at once.

        Args:
            codes: the beginning, at least one whole column (0.19 s). `codes.beginning(seconds)` takes less of a sound.
            seconds: how much longer the result is to be; any length.
            top_k: how many of the likeliest indices can be drawn; None for half of the codebook. See `Sampling`.
            temperature: above 1 for more diversity, below for less.
            nucleus: draw only from the likeliest indices that together have this probability.
            seed: of the random numbers: the same one gives the same sound.
            features: (T, D) of a video, for a sampler that takes such (see `load_features`).
            label: of a class, or its number, for a sampler that knows classes.
            progress: told after every column how many there are, and how many there will be.

        Returns:
            Codes that begin with every whole column of those given.

        Raises:
            WeightsError: the bundle has no sampler, or the codes belong to other weights.
            UsageError: an argument makes no sense.
        """
        sampling = Sampling(top_k, temperature, nucleus, seed)
        condition = condition_for(self.sampler.config, self.bundle.labels, features, label, self.device)
        return continuations(self, codes, seconds, 1, sampling, condition, progress)[0]

    def invent_codes(
        self,
        seconds: float,
        top_k: int | None = None,
        temperature: float = 1.0,
        nucleus: float = 1.0,
        seed: int = 0,
        features: Features | None = None,
        label: str | int | None = None,
        progress: Progress | None = None,
    ) -> Codes:
        """A new sound, made by the bundle's sampler; `inventions` makes several at once.

        `seconds` is its length, any one; the other arguments and the errors are those of `continue_codes`.
        """
        sampling = Sampling(top_k, temperature, nucleus, seed)
        condition = condition_for(self.sampler.config, self.bundle.labels, features, label, self.device)
        return inventions(self, seconds, 1, sampling, condition, progress)[0]

    def _loaded(self, codes: Any) -> Codes:
        if isinstance(codes, str | PathLike):
            return Codes.load(codes, self.bundle)
        if isinstance(codes, bytes):
            return Codes.from_bytes(codes, self.bundle)
        if not isinstance(codes, Codes):
            raise UsageError(f"decode takes Codes, the path of an .svq file, or its bytes, not {type(codes).__name__}.")
        return codes

    def check_length(self, stream: SoundStream, samples: int) -> None:
        """Raise UsageError if a file cannot hold so much of a sound, before hours go into it."""
        Header(Coding.FIXED, self.bundle.fingerprint[:4], stream.sample_rate, samples)

    def _stream(self, sound: Any, sample_rate: int | None) -> SoundStream:
        if isinstance(sound, SoundStream):
            return sound
        if isinstance(sound, str | PathLike) or hasattr(sound, "read"):
            if sample_rate is not None:
                raise UsageError("sample_rate is for samples; a file knows its own: leave it out.")
            return open_sound(sound)
        return array_stream(sound, self.sample_rate if sample_rate is None else sample_rate)

    def check(self, codes: Codes) -> None:
        """Raise WeightsError if codes belong to other weights, and UsageError if they are none."""
        if codes.fingerprint != self.bundle.fingerprint:
            raise WeightsError(
                f"The codes were made with the weights {codes.fingerprint.hex()[:8]}, and this codec has "
                f"{self.bundle.fingerprint.hex()[:8]} ({self.bundle.name}): load the weights they were made with."
            )
        checked_indices(codes.indices, self.model.codebook_size)
        columns = Header(Coding.FIXED, codes.fingerprint[:4], codes.sample_rate, codes.num_samples).columns
        if len(codes.indices) != columns:
            raise UsageError(f"The codes have {len(codes.indices)} columns, and a sound of this length has {columns}.")

    def _encode_window(self, mel: Tensor) -> Tensor:
        return self.autoencoder.encode(mel[None, None] * 2.0 - 1.0)[0]  # (5, columns)

    def _latents_of_window(self, mel: Tensor) -> Tensor:
        return self.autoencoder.latents(mel[None, None] * 2.0 - 1.0)[0].movedim(0, -1)  # (5, columns, D)

    def _decode_window(self, grid: Tensor) -> Tensor:
        return (self.autoencoder.decode(grid[None])[0, 0].clamp(-1.0, 1.0) + 1.0) / 2.0  # (80, 16 columns)

    def _frames(self, codes: Codes) -> Iterator[Tensor]:
        """Spectrogram (80, t) pieces in [0, 1]; lost columns are silent."""
        grid = torch.from_numpy(np.ascontiguousarray(codes.indices.T)).to(self.device, torch.int64)  # (5, T)
        position = 0
        for frames in decode_windows(grid, self._decode_window):
            for first, end in codes.lost:
                gone = [max(0, column * COLUMN_FRAMES - position) for column in (first, end)]
                frames[:, gone[0] : gone[1]] = 0.0
            position += frames.shape[1]
            yield frames


def _griffin_lim(mel: Tensor, before: Tensor | None) -> Tensor:
    return spec.griffin_lim(mel[None], before)[0].clamp(-1.0, 1.0)


def _silenced(blocks: Iterable[Samples], lost: Sequence[tuple[int, int]]) -> Iterator[Samples]:
    """Silence in the place of lost columns, whatever a vocoder makes of a silent spectrogram."""
    position = 0
    for block in blocks:
        for first, end in lost:
            block[max(0, first * COLUMN_SAMPLES - position) : max(0, end * COLUMN_SAMPLES - position)] = 0.0
        position += len(block)
        yield block


def output_length(codes: Codes, rate: int) -> int:
    """Samples of the decoded sound at a rate: exactly the original's at its own rate."""
    if rate == codes.sample_rate:
        return codes.num_samples
    return resampled_length(codes.num_samples, codes.sample_rate, rate)
