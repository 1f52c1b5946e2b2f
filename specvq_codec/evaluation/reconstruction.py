"""How close decoded sound is to the original, for codecs side by side.

The convention. A recording's distances are means over the recording; those of a domain are means over its recordings,
weighted by their length, but for those of the classifier, which are of windows. Silence in recordings counts, and
nothing is cropped. "Spectrogram L1" compares log-mel spectrograms in [0, 1] before any vocoder, in all frames whose
centre lies in the recording; the spectrogram is that of the recording followed by silence up to a whole column, as the
encoder sees it, and decoded values are clamped to [0, 1]. It is the number to compare codebooks with. All the other
distances compare waveforms.

Sharpness is the energy of the spectrogram's gradient in all recordings of a domain, divided by the originals' (see
`metrics.gradient_energy`), before any vocoder and of the final waveforms. STOI and PESQ are measured where the domain
is speech; in the section over all domains they are those of the speech. FID, KID and MKL are what a classifier finds
different in the final waveforms (see `judge`). Speeds are the recordings' duration by the time that went by: of
everything from waveform to bytes, and from bytes to waveform, with loaded networks. They depend on what else the
machine does, and so take no part in comparisons of rows.

All rows are of the same recordings: one that a codec cannot code is left out of every row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from .. import spectrogram as spec
from ..bitstream.errors import AudioError, SpecVQError, UsageError
from ..classifiers import Classifier
from ..training.data import Clip
from ..windows import COLUMN_SAMPLES, STEP, mel_chunks
from .folder import NONE, LeftOut
from .judge import judge, relevance
from .labels import ALL, require_distinct, section_name
from .metrics import (
    gradient_energy,
    normalised_entropy,
    pesq,
    pesq_is_there,
    stft_distance,
    stoi,
    stoi_is_there,
    usage,
    waveform_mel,
)
from .relevance import Verdict
from .systems import Decoded, Recording, System

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
        pesq: perceived quality of speech, 4.64 for the original, 1 for the worst.
        fid: Fréchet distance of a classifier's features.
        kid: kernel distance of a classifier's features.
        mkl: mean divergence of a classifier's probabilities, in nats.
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
    pesq: float | None
    fid: float | None
    kid: float | None
    mkl: float | None
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


class Audience(Protocol):
    """Sees and hears some of the recordings, as for a report."""

    def wants(self, clip: Clip) -> bool:
        """Whether to be shown a recording."""

    def show(self, clip: Clip, recording: Recording, rows: Sequence[tuple[str, Decoded]]) -> None:
        """What became of it in every row."""


@dataclass(frozen=True)
class _Measured:
    """One recording in one row; distances and gradient energies (decoded, original) by the names of their columns."""

    clip: Clip
    decoded: Decoded  # without its waveform and its spectrogram, which take memory
    distances: dict[str, float]
    energies: dict[str, tuple[float, float]]
    verdicts: tuple[Verdict, Verdict] | None  # on the original and on what was decoded


def evaluate(
    systems: Sequence[System],
    recordings: Iterable[tuple[Clip, Tensor]],
    speech: Collection[str] = (),
    classifier: Classifier | None = None,
    left_out: list[LeftOut] | None = None,
    audience: Audience | None = None,
) -> list[Section]:
    """Measure codecs on recordings.

    Args:
        systems: what to compare.
        recordings: waveforms (N,) at 22 050 Hz in [-1, 1], each of another path. Their order does not matter.
        speech: the domains in which intelligibility and quality of speech are measured, if pystoi and pesq are there.
        classifier: that judges; without one there is no FID, KID and MKL.
        left_out: where recordings are listed that a system could not code.
        audience: is shown what it wants to see.

    Returns:
        A section for all recordings, then one for each domain, if there are several.

    Raises:
        UsageError: there is nothing that could be measured, or two rows have the same name.
    """
    require_distinct(name for system in systems for name in system.names)
    left_out = [] if left_out is None else left_out
    measured: dict[str, list[_Measured]] = {}
    for clip, waveform in recordings:
        original = _Original(clip, waveform, clip.domain in speech, classifier)
        rows: dict[str, _Measured] = {}
        seen: list[tuple[str, Decoded]] = []
        try:
            for name, decoded in (pair for system in systems for pair in system.decode(original.recording)):
                rows[name] = original.measure(name, decoded)
                if audience is not None and audience.wants(clip):
                    seen.append((name, decoded))
        except SpecVQError as error:
            left_out.append(LeftOut(clip.path, str(error)))
            continue
        for name, result in rows.items():
            measured.setdefault(name, []).append(result)
        if audience is not None and seen:
            audience.show(clip, original.recording, seen)
    if not measured:
        reason = f" ({left_out[0].path}: {left_out[0].reason})" if left_out else ""
        raise UsageError(f"No recording could be measured{reason}: give others.")
    # in one order, since the subsets of KID are drawn by it
    ordered = [(name, sorted(results, key=lambda one: one.clip.path)) for name, results in measured.items()]
    sections = [_section(ALL, ordered)]
    domains = {result.clip.domain for result in ordered[0][1]}
    for domain in sorted(domains - {NONE}) if len(domains) > 1 else ():
        chosen = [(name, [one for one in results if one.clip.domain == domain]) for name, results in ordered]
        sections.append(_section(section_name(domain), chosen))
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

    def __init__(self, clip: Clip, waveform: Tensor, is_speech: bool, classifier: Classifier | None) -> None:
        self.clip, self.classifier = clip, classifier
        self.of_speech = _measures_of_speech() if is_speech else {}
        self.recording = Recording(clip.path, waveform, spectrogram_of(waveform))
        self.frames = frames_within(len(waveform))
        self.mel = waveform_mel(waveform)  # (80, 1 + N // 256)
        self.verdict = None if classifier is None else judge(classifier, self.mel)

    @torch.inference_mode()
    def measure(self, name: str, decoded: Decoded) -> _Measured:
        """The measures of what a row has of this recording; AudioError if that is no sound."""
        original = self.recording.waveform
        distances: dict[str, float] = {}
        energies: dict[str, tuple[float, float]] = {}
        verdicts = None
        if decoded.spectrogram is not None:
            before, target = decoded.spectrogram[:, : self.frames], self.recording.mel[:, : self.frames]
            distances["spectrogram_l1"] = spectrogram_l1(before, target, len(original))
            energies["spectrogram_sharpness"] = float(gradient_energy(before)), float(gradient_energy(target))
        if decoded.waveform is not None:
            if not bool(decoded.waveform.isfinite().all()):
                raise AudioError(f"{name} decoded it to samples that are not finite: leave {name} out.")
            mel = waveform_mel(decoded.waveform)
            distances["log_mel_l1"] = float((mel - self.mel).abs().mean())
            energies["sharpness"] = float(gradient_energy(mel)), float(gradient_energy(self.mel))
            distances["stft"] = stft_distance(decoded.waveform, original)
            for column, measure in self.of_speech.items():
                value = measure(decoded.waveform, original)
                if value is not None:
                    distances[column] = value
            if self.classifier is not None and self.verdict is not None:
                made = judge(self.classifier, mel)
                verdicts = None if made is None else (self.verdict, made)
        return _Measured(self.clip, replace(decoded, waveform=None, spectrogram=None), distances, energies, verdicts)


def _measures_of_speech() -> dict[str, Callable[[Tensor, Tensor], float | None]]:
    """Those that can be computed with what is installed, by their columns."""
    measures = {"stoi": (stoi, stoi_is_there()), "pesq": (pesq, pesq_is_there())}
    return {column: measure for column, (measure, is_there) in measures.items() if is_there}


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
    verdicts = [result.verdicts for result in results if result.verdicts is not None]
    judged = relevance([original for original, _ in verdicts], [made for _, made in verdicts])
    return Row(
        name=name,
        bits_per_second=math.fsum(bits) / seconds if bits else None,
        spectrogram_l1=mean("spectrogram_l1"),
        spectrogram_sharpness=ratio("spectrogram_sharpness"),
        log_mel_l1=mean("log_mel_l1"),
        sharpness=ratio("sharpness"),
        stft=mean("stft"),
        stoi=mean("stoi"),
        pesq=mean("pesq"),
        fid=judged.fid,
        kid=judged.kid,
        mkl=judged.mkl,
        usage=None if total is None else usage(total),
        entropy=None if total is None else normalised_entropy(total),
        encode_speed=speed([result.decoded.encode_seconds for result in results]),
        decode_speed=speed([result.decoded.decode_seconds for result in results]),
    )
