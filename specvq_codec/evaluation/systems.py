"""What is compared: bundles with their vocoders, vocoders alone, codecs of others, folders of sound that something else
decoded, and k-means without a network.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio import SAMPLE_RATE
from ..bitstream import AudioError, UsageError
from ..bitstream.entropy import symbol_width
from ..codec import Codec
from ..codes import Codes
from ..devices import pick_device
from ..training.data import Pack
from ..weights import Bundle
from .external import ExternalCodec, external_codec
from .folder import absent, counterpart, read_sound
from .kmeans import PatchCodec, fit_patches, sample_columns
from .labels import labels_of
from .neural_codecs import NEURAL_CODECS, neural_codec

GRIFFIN_LIM = "griffin-lim"
MISSING = SAMPLE_RATE // 2  # samples by which decoded sound may end too early, if half is there: coders work in frames


@dataclass(frozen=True)
class Recording:
    """An original.

    Attributes:
        path: relative to its folder.
        waveform: float32 (N,) in [-1, 1] at 22 050 Hz.
        mel: its log-mel spectrogram (80, T) in [0, 1], as the encoder sees it: T is whole columns.
    """

    path: str
    waveform: Tensor
    mel: Tensor


@dataclass(frozen=True)
class Decoded:
    """What one row of the table has of one recording; None where there is no such thing.

    Attributes:
        waveform: float32 (N,) at 22 050 Hz, as long as the original, on the CPU.
        spectrogram: log-mel (80, T) in [0, 1] before any vocoder, as long as the original's, on the CPU.
        bits: of the file; of fixed-length indices, or of the packets alone, where there is no file format.
        counts: how often each index occurs, (R, K), one row for each of R codebooks.
        encode_seconds: time from the waveform to the bits.
        decode_seconds: time from the bits, or from the spectrogram, to the waveform.
    """

    waveform: Tensor | None = None
    spectrogram: Tensor | None = None
    bits: float | None = None
    counts: Tensor | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None


class System(Protocol):
    """Something that is compared; it makes one row of the table, or several that share work."""

    @property
    def names(self) -> list[str]:
        """What its rows are called."""

    def decode(self, recording: Recording) -> Iterator[tuple[str, Decoded]]:
        """The names of all rows, in their order, and what they have of one recording.

        Raises SpecVQError if this recording cannot be coded, or what was decoded cannot be read.
        """


@dataclass(frozen=True)
class BundleSystem:
    """A bundle: what its autoencoder gives, through each of its vocoders.

    Attributes:
        label: what its rows begin with.
        codecs: of the same bundle, by the names of their vocoders.
    """

    label: str
    codecs: dict[str, Codec]

    @property
    def names(self) -> list[str]:
        """One for each vocoder."""
        return [f"{self.label}, {name}" for name in self.codecs]

    def decode(self, recording: Recording) -> Iterator[tuple[str, Decoded]]:
        """A row for each vocoder; see `System`."""
        codec = next(iter(self.codecs.values()))
        start = time.perf_counter()
        data = codec.encode(recording.waveform, codec.sample_rate).to_bytes()
        encoded = time.perf_counter()
        codes = Codes.from_bytes(data, codec.bundle)
        spectrogram = torch.from_numpy(codec.spectrogram(codes))
        decode_seconds = time.perf_counter() - encoded
        indices = torch.from_numpy(codes.indices).flatten().long()
        counts = torch.bincount(indices, minlength=codec.model.codebook_size)[None]
        for name, vocoder in zip(self.names, self.codecs.values(), strict=True):
            sound, seconds = _vocoded(vocoder, spectrogram, len(recording.waveform))
            times = (encoded - start, decode_seconds + seconds)
            yield name, Decoded(sound, spectrogram, 8.0 * len(data), counts, *times)


@dataclass(frozen=True)
class VocoderSystem:
    """A vocoder on the original spectrogram: the most that a codec in front of it can reach."""

    label: str
    codec: Codec

    @property
    def names(self) -> list[str]:
        """The one."""
        return [f"{self.label} on the original spectrogram"]

    def decode(self, recording: Recording) -> Iterator[tuple[str, Decoded]]:
        """One row; see `System`."""
        sound, seconds = _vocoded(self.codec, recording.mel, len(recording.waveform))
        yield self.names[0], Decoded(sound, decode_seconds=seconds)


@dataclass(frozen=True)
class ExternalSystem:
    """A codec that others made."""

    codec: ExternalCodec

    @property
    def names(self) -> list[str]:
        """The one."""
        return [self.codec.name]

    def decode(self, recording: Recording) -> Iterator[tuple[str, Decoded]]:
        """One row; see `System`."""
        trip = self.codec.round_trip(recording.waveform.numpy())
        times = (trip.encode_seconds, trip.decode_seconds)
        yield self.codec.name, Decoded(torch.from_numpy(trip.sound), None, float(trip.bits), None, *times)


@dataclass(frozen=True)
class DecodedSystem:
    """Sound that something else decoded: a folder of files with the recordings' relative paths; see `counterpart`.

    Attributes:
        label: what its row is called.
        folder: of the files, of any rate; channels are averaged.
        bits_per_second: at which they were coded, or None if that is not known.
    """

    label: str
    folder: Path
    bits_per_second: float | None = None

    @property
    def names(self) -> list[str]:
        """The one."""
        return [self.label]

    def lacks(self, paths: Iterable[str]) -> set[str]:
        """The recordings that have no file; UsageError where it is not clear which file belongs to which."""
        return absent(self.folder, paths)

    def decode(self, recording: Recording) -> Iterator[tuple[str, Decoded]]:
        """One row; see `System`."""
        file, length = counterpart(self.folder, recording.path), len(recording.waveform)
        if file is None:
            raise AudioError(f"{self.label} has no such file in {self.folder}: decode it, too.")
        sound = read_sound(file, length)
        if len(sound) < length - min(MISSING, length // 2):
            seconds = f"{len(sound) / SAMPLE_RATE:.2f} s, and the original {length / SAMPLE_RATE:.2f} s"
            raise AudioError(f"{file} lasts {seconds}: decode all of it.")
        bits = None if self.bits_per_second is None else self.bits_per_second * length / SAMPLE_RATE
        yield self.label, Decoded(F.pad(sound, (0, length - len(sound))), bits=bits)


@dataclass(frozen=True)
class PatchSystem:
    """Quantised spectrogram patches. They are compared as spectrograms: a vocoder would tell nothing more of them."""

    label: str
    codec: PatchCodec

    @property
    def names(self) -> list[str]:
        """The one."""
        return [self.label]

    def decode(self, recording: Recording) -> Iterator[tuple[str, Decoded]]:
        """One row; see `System`."""
        size = self.codec.codewords.shape[1]
        indices = self.codec.encode(recording.mel)  # (5, T)
        books = indices if len(self.codec.codewords) > 1 else indices.flatten()[None]
        counts = torch.stack([torch.bincount(book, minlength=size) for book in books])
        bits = float(indices.numel() * symbol_width(size))
        yield self.label, Decoded(None, self.codec.decode(indices), bits, counts)


def bundle_systems(bundles: Sequence[Bundle], device: str, vocoder: str | None = None) -> list[System]:
    """Bundles with their vocoders, then the vocoders alone; Griffin-Lim, which is the same for all, once.

    Args:
        bundles: the bundles; those with the same name are told apart by `labels_of`.
        device: as for `Codec`.
        vocoder: "melgan", "griffin-lim" or "auto", as for `Codec`, or None for all that a bundle has.

    Raises:
        WeightsError: a bundle is damaged, or has no such vocoder.
        UsageError: there is no such device or vocoder.
    """
    systems: list[System] = []
    vocoders: dict[str, Codec] = {}
    for bundle, label in zip(bundles, labels_of(bundles), strict=True):
        chosen = _vocoder_names(bundle) if vocoder is None else [vocoder]
        codecs = [Codec(bundle, device, name) for name in chosen]
        named = {GRIFFIN_LIM if codec.vocoder is None else "melgan": codec for codec in codecs}
        systems.append(BundleSystem(label, named))
        for name, codec in named.items():
            vocoders.setdefault(name if name == GRIFFIN_LIM else f"{label}, {name}", codec)
    return systems + [VocoderSystem(name, codec) for name, codec in vocoders.items()]


def peer_system(name: str, device: str) -> ExternalSystem:
    """The codec of others with that name.

    Raises:
        UsageError: there is none, or what it needs is not installed.
    """
    if name in NEURAL_CODECS:
        return ExternalSystem(neural_codec(name, pick_device(device)))
    return ExternalSystem(external_codec(name))


def fit_patch_systems(pack: Pack, codebook_size: int) -> list[System]:
    """Quantisers of spectrogram patches with that many codewords, fitted to the recordings of a pack.

    Raises:
        UsageError: there is too little sound for that many codewords.
    """
    columns = sample_columns(pack)
    if len(columns) < codebook_size:
        raise UsageError(
            f"The train split has {len(columns)} columns of 0.19 s, too few to fit {codebook_size} codewords to: "
            "pack more sound."
        )
    return [
        PatchSystem("k-means patches, one codebook", fit_patches(columns, codebook_size, per_row=False)),
        PatchSystem("k-means patches, a codebook per mel row", fit_patches(columns, codebook_size, per_row=True)),
    ]


def _vocoder_names(bundle: Bundle) -> list[str]:
    """All that a bundle has; the one that users hear comes first."""
    names = [GRIFFIN_LIM] if bundle.melgan is None else ["melgan", GRIFFIN_LIM]
    return sorted(names, key=lambda name: name != bundle.default_vocoder)


def _vocoded(codec: Codec, mel: Tensor, samples: int) -> tuple[Tensor, float]:
    """The waveform of a spectrogram (80, T), cut to so many samples, and the seconds that took."""
    start = time.perf_counter()
    blocks = list(codec.vocode([mel.to(codec.device)]))
    return torch.from_numpy(np.concatenate(blocks)[:samples]), time.perf_counter() - start
