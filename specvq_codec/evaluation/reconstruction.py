"""How close decoded sound is to the original: the codec beside its limits and a peer without a network.

The convention. A recording's measures are means over the recording; those of a domain are means over its recordings,
weighted by their length. Whole recordings count, silence included, and nothing is cropped. "Spectrogram L1" compares
log-mel spectrograms in [0, 1] before any vocoder, in all frames whose centre lies in the recording; the spectrogram is
that of the recording followed by silence up to a whole column, as the encoder sees it, and decoded values are clamped
to [0, 1]. It is the number to compare codebooks with. "Log-mel L1" and "STFT" compare waveforms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .. import spectrogram as spec
from ..bitstream import UsageError
from ..bitstream.entropy import symbol_width
from ..codec import Codec
from ..training.data import Clip, Pack
from ..windows import COLUMN_SAMPLES, STEP, mel_chunks
from .kmeans import PatchCodec, fit_patches, sample_columns
from .metrics import log_mel_l1, normalised_entropy, stft_distance, usage

ALL = "all"  # the name of the section over all domains


@dataclass(frozen=True)
class Row:
    """Measures of one way to store or to vocode sound; None where there is nothing to measure.

    Attributes:
        name: what was measured.
        bits_per_second: of whole files; of fixed-length indices where there is no file format.
        spectrogram_l1: decoded against original log-mel spectrogram, in [0, 1] units.
        log_mel_l1: the same of the final waveforms.
        stft: multi-resolution STFT distance of the waveforms.
        usage: share of the codebook that occurs.
        entropy: order-0 entropy of the indices by log2 K.
    """

    name: str
    bits_per_second: float | None
    spectrogram_l1: float | None
    log_mel_l1: float
    stft: float
    usage: float | None
    entropy: float | None


@dataclass(frozen=True)
class Section:
    """The rows of one domain, or of all recordings."""

    domain: str
    recordings: int
    seconds: float
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _Measured:
    """One recording in one row; counts of indices (R, K)."""

    clip: Clip
    log_mel_l1: float
    stft: float
    spectrogram_l1: float | None = None
    bits: float | None = None
    counts: Tensor | None = None


def fit_peers(pack: Pack, codebook_size: int) -> dict[str, PatchCodec]:
    """The k-means peers by the names of their rows, fitted to the recordings of a pack.

    Raises:
        UsageError: there is too little sound for that many codewords.
    """
    columns = sample_columns(pack)
    if len(columns) < codebook_size:
        raise UsageError(
            f"The train split has {len(columns)} columns of 0.19 s, too few to fit {codebook_size} codewords to: "
            "pack more sound."
        )
    return {
        "k-means patches, one codebook": fit_patches(columns, codebook_size, per_row=False),
        "k-means patches, a codebook per mel row": fit_patches(columns, codebook_size, per_row=True),
    }


def evaluate(
    codecs: dict[str, Codec], peers: dict[str, PatchCodec], recordings: Iterable[tuple[Clip, Tensor]]
) -> list[Section]:
    """Measure a bundle and what it is to be compared with.

    Args:
        codecs: codecs of one bundle by the names of their vocoders; the first one's vocoder also serves the peers.
        peers: from `fit_peers`.
        recordings: of one split; waveforms (N,) at 22 050 Hz in [-1, 1]. Their order does not matter.

    Returns:
        A section for all recordings, then one for each domain.
    """
    measured: dict[str, list[_Measured]] = {}
    for clip, waveform in recordings:
        for name, result in _measure(codecs, peers, clip, waveform).items():
            measured.setdefault(name, []).append(result)
    domains = sorted({result.clip.domain for results in measured.values() for result in results})
    sections = [_section(ALL, list(measured.items()))]
    for domain in domains:
        chosen = [(name, [r for r in results if r.clip.domain == domain]) for name, results in measured.items()]
        sections.append(_section(domain, chosen))
    return sections


def spread(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    """At most `limit` of the clips, evenly spread over them so that all domains are there."""
    count = len(clips) if limit is None else min(limit, len(clips))
    return [clips[i * len(clips) // count] for i in range(count)]


def spectrogram_of(waveform: Tensor) -> Tensor:
    """Log-mel spectrogram (80, 16 columns) of a waveform (N,) followed by silence, as the encoder sees it."""
    return torch.cat(list(mel_chunks(waveform.split(STEP * COLUMN_SAMPLES))), dim=1)


def spectrogram_l1(estimate: Tensor, target: Tensor, samples: int) -> float:
    """Mean absolute difference of spectrograms (80, T) over the frames whose centre is in the recording's samples."""
    frames = -(-samples // spec.HOP_LENGTH)
    return float((estimate[:, :frames] - target[:, :frames]).abs().mean())


@torch.inference_mode()
def _measure(
    codecs: dict[str, Codec], peers: dict[str, PatchCodec], clip: Clip, waveform: Tensor
) -> dict[str, _Measured]:
    original = spectrogram_of(waveform)
    codec = next(iter(codecs.values()))
    size = codec.model.codebook_size

    def vocoded(vocoder: Codec, mel: Tensor) -> tuple[float, float]:
        blocks = list(vocoder.vocode([mel.to(vocoder.device)]))
        sound = torch.from_numpy(np.concatenate(blocks)[: len(waveform)])
        return log_mel_l1(sound, waveform), stft_distance(sound, waveform)

    codes = codec.encode(waveform, codec.sample_rate)
    bits = 8.0 * len(codes.to_bytes())
    decoded = torch.from_numpy(codec.spectrogram(codes))
    distance = spectrogram_l1(decoded, original, len(waveform))
    counts = torch.bincount(torch.from_numpy(codes.indices).flatten().long(), minlength=size)[None]
    found: dict[str, _Measured] = {}
    for name, vocoder in codecs.items():
        found[f"codec, {name}"] = _Measured(clip, *vocoded(vocoder, decoded), distance, bits, counts)
    for name, vocoder in codecs.items():
        found[f"{name} on the original spectrogram"] = _Measured(clip, *vocoded(vocoder, original))
    for name, peer in peers.items():
        indices = peer.encode(original)  # (5, T)
        decoded = peer.decode(indices)
        distance = spectrogram_l1(decoded, original, len(waveform))
        bits = float(indices.numel() * symbol_width(size))
        books = indices if len(peer.codewords) > 1 else indices.flatten()[None]
        counts = torch.stack([torch.bincount(book, minlength=size) for book in books])
        found[name] = _Measured(clip, *vocoded(codec, decoded), distance, bits, counts)
    return found


def _section(domain: str, measured: list[tuple[str, list[_Measured]]]) -> Section:
    clips = [result.clip for result in measured[0][1]]
    seconds = sum(clip.length for clip in clips) / spec.SAMPLE_RATE
    return Section(domain, len(clips), seconds, tuple(_row(name, results, seconds) for name, results in measured))


def _row(name: str, results: list[_Measured], seconds: float) -> Row:
    lengths = [result.clip.length for result in results]

    def mean(values: list[float]) -> float:
        # fsum rounds once, so that the order of the recordings does not matter
        return math.fsum(length * value for length, value in zip(lengths, values, strict=True)) / sum(lengths)

    bits = [result.bits for result in results if result.bits is not None]
    distances = [result.spectrogram_l1 for result in results if result.spectrogram_l1 is not None]
    counts = [result.counts for result in results if result.counts is not None]
    total = torch.stack(counts).sum(0) if counts else None
    return Row(
        name=name,
        bits_per_second=math.fsum(bits) / seconds if bits else None,
        spectrogram_l1=mean(distances) if distances else None,
        log_mel_l1=mean([result.log_mel_l1 for result in results]),
        stft=mean([result.stft for result in results]),
        usage=None if total is None else usage(total),
        entropy=None if total is None else normalised_entropy(total),
    )
