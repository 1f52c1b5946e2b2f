"""How close decoded sound is to the original, for codecs side by side.

The convention. A recording's distances are means over the recording; those of a domain are means over its recordings,
weighted by their length. Whole recordings count, silence included, and nothing is cropped. "Spectrogram L1" compares
log-mel spectrograms in [0, 1] before any vocoder, in all frames whose centre lies in the recording; the spectrogram is
that of the recording followed by silence up to a whole column, as the encoder sees it, and decoded values are clamped
to [0, 1]. It is the number to compare codebooks with. "Log-mel L1", "STFT" and "STOI" compare waveforms.

Sharpness is the energy of the spectrogram's gradient in all recordings of a domain, divided by the originals' (see
`metrics.gradient_energy`), before any vocoder and of the final waveforms. STOI is measured where the domain is speech;
in the section over all domains it is that of the speech. Speeds are the recordings' duration by the time that went by:
of everything from waveform to bytes, and from bytes to waveform, with loaded networks. They depend on what else the
machine does, and so take no part in comparisons of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .. import spectrogram as spec
from ..training.data import Clip
from ..windows import COLUMN_SAMPLES, STEP, mel_chunks
from .metrics import gradient_energy, normalised_entropy, stft_distance, stoi, usage, waveform_mel
from .systems import Decoded, System

ALL = "all"  # the name of the section over all domains
SPEECH = "speech"  # the domain in which intelligibility is measured


@dataclass(frozen=True)
class Row:
    """Measures of one way to store or to vocode sound; None where there is nothing to measure.

    Attributes:
        name: what was measured.
        bits_per_second: of whole files; of fixed-length indices, or of packets alone, where there is no file format.
        spectrogram_l1: decoded against original log-mel spectrogram, in [0, 1] units.
        spectrogram_sharpness: gradient energy of the decoded spectrogram by the original's.
        log_mel_l1: as `spectrogram_l1`, of the final waveforms.
        sharpness: as `spectrogram_sharpness`, of the final waveforms.
        stft: multi-resolution STFT distance of the waveforms.
        stoi: intelligibility of speech, 1 for the original.
        usage: share of the codebook that occurs.
        entropy: order-0 entropy of the indices by log2 K.
        encode_speed: seconds of sound encoded in a second.
        decode_speed: seconds of sound decoded in a second.
    """

    name: str
    bits_per_second: float | None
    spectrogram_l1: float | None
    spectrogram_sharpness: float | None
    log_mel_l1: float | None
    sharpness: float | None
    stft: float | None
    stoi: float | None
    usage: float | None
    entropy: float | None
    encode_speed: float | None = field(compare=False)
    decode_speed: float | None = field(compare=False)


@dataclass(frozen=True)
class Section:
    """The rows of one domain, or of all recordings."""

    domain: str
    recordings: int
    seconds: float
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _Measured:
    """One recording in one row; distances and gradient energies (decoded, original) by the names of their columns."""

    clip: Clip
    decoded: Decoded  # without its waveform and its spectrogram, which take memory
    distances: dict[str, float]
    energies: dict[str, tuple[float, float]]


def evaluate(
    systems: Sequence[System], recordings: Iterable[tuple[Clip, Tensor]], with_stoi: bool = False
) -> list[Section]:
    """Measure codecs on recordings.

    Args:
        systems: what to compare.
        recordings: of one split; waveforms (N,) at 22 050 Hz in [-1, 1]. Their order does not matter.
        with_stoi: measure the intelligibility of speech, which needs pystoi.

    Returns:
        A section for all recordings, then one for each domain.
    """
    measured: dict[str, list[_Measured]] = {}
    for clip, waveform in recordings:
        original = _Original(clip, waveform, with_stoi and clip.domain == SPEECH)
        for system in systems:
            for name, decoded in system.decode(waveform, original.spectrogram):
                measured.setdefault(name, []).append(original.measure(decoded))
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
    frames = frames_within(samples)
    return float((estimate[:, :frames] - target[:, :frames]).abs().mean())


def frames_within(samples: int) -> int:
    """The number of frames whose centre is in so many samples."""
    return -(-samples // spec.HOP_LENGTH)


class _Original:
    """A recording that decoded ones are compared with; what is computed of it is computed once."""

    def __init__(self, clip: Clip, waveform: Tensor, with_stoi: bool) -> None:
        self.clip, self.waveform, self.with_stoi = clip, waveform, with_stoi
        self.spectrogram = spectrogram_of(waveform)  # (80, 16 columns)
        self.frames = frames_within(len(waveform))
        self.mel = waveform_mel(waveform)  # (80, 1 + N // 256)

    @torch.inference_mode()
    def measure(self, decoded: Decoded) -> _Measured:
        """The measures of what a row has of this recording."""
        distances: dict[str, float] = {}
        energies: dict[str, tuple[float, float]] = {}
        if decoded.spectrogram is not None:
            before, target = decoded.spectrogram[:, : self.frames], self.spectrogram[:, : self.frames]
            distances["spectrogram_l1"] = spectrogram_l1(before, target, len(self.waveform))
            energies["spectrogram_sharpness"] = float(gradient_energy(before)), float(gradient_energy(target))
        if decoded.waveform is not None:
            mel = waveform_mel(decoded.waveform)
            distances["log_mel_l1"] = float((mel - self.mel).abs().mean())
            energies["sharpness"] = float(gradient_energy(mel)), float(gradient_energy(self.mel))
            distances["stft"] = stft_distance(decoded.waveform, self.waveform)
            intelligible = stoi(decoded.waveform, self.waveform) if self.with_stoi else None
            if intelligible is not None:
                distances["stoi"] = intelligible
        return _Measured(self.clip, replace(decoded, waveform=None, spectrogram=None), distances, energies)


def _section(domain: str, measured: list[tuple[str, list[_Measured]]]) -> Section:
    clips = [result.clip for result in measured[0][1]]
    seconds = sum(clip.length for clip in clips) / spec.SAMPLE_RATE
    return Section(domain, len(clips), seconds, tuple(_row(name, results, seconds) for name, results in measured))


def _row(name: str, results: list[_Measured], seconds: float) -> Row:
    # fsum rounds once, so that the order of the recordings does not matter
    def mean(column: str) -> float | None:
        found = [(r.clip.length, r.distances[column]) for r in results if column in r.distances]
        return math.fsum(length * value for length, value in found) / sum(n for n, _ in found) if found else None

    def ratio(column: str) -> float | None:
        found = [result.energies[column] for result in results if column in result.energies]
        original = math.fsum(energy for _, energy in found)
        return math.fsum(energy for energy, _ in found) / original if original else None

    def speed(times: list[float | None]) -> float | None:
        total = math.fsum(value for value in times if value is not None)
        return seconds / total if total else None

    bits = [result.decoded.bits for result in results if result.decoded.bits is not None]
    counts = [result.decoded.counts for result in results if result.decoded.counts is not None]
    total = torch.stack(counts).sum(0) if counts else None
    return Row(
        name=name,
        bits_per_second=math.fsum(bits) / seconds if bits else None,
        spectrogram_l1=mean("spectrogram_l1"),
        spectrogram_sharpness=ratio("spectrogram_sharpness"),
        log_mel_l1=mean("log_mel_l1"),
        sharpness=ratio("sharpness"),
        stft=mean("stft"),
        stoi=mean("stoi"),
        usage=None if total is None else usage(total),
        entropy=None if total is None else normalised_entropy(total),
        encode_speed=speed([result.decoded.encode_seconds for result in results]),
        decode_speed=speed([result.decoded.decode_seconds for result in results]),
    )
