"""Excerpts of some recordings, original and decoded, for people to see and hear."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import soundfile
from torch import Tensor

from .. import spectrogram as spec
from ..training.data import Clip
from .metrics import waveform_mel
from .pictures import examples
from .systems import Decoded, Recording

SECONDS = 8  # of an excerpt, from a recording's beginning
MOST = 6  # recordings, so that a report stays a few megabytes large

_SAMPLES = SECONDS * spec.SAMPLE_RATE
_FRAMES = _SAMPLES // spec.HOP_LENGTH


@dataclass(frozen=True)
class Excerpt:
    """What is seen and heard of one row, or of the original.

    Attributes:
        name: of the row.
        mel: log-mel spectrogram (80, T) in [0, 1]: of the sound, or where there is none, what was decoded.
        flac: the sound as a FLAC file of 16 bits, or None.
        bits_per_second: of the whole recording.
    """

    name: str
    mel: Tensor
    flac: bytes | None
    bits_per_second: float | None


@dataclass(frozen=True)
class Exhibit:
    """An original, which comes first, and what became of it in every row."""

    path: str
    domain: str
    excerpts: tuple[Excerpt, ...]


class Exhibits:
    """Keeps excerpts of the recordings that are measured; see `reconstruction.Audience`.

    Attributes:
        shown: those that were kept.
    """

    def __init__(self, clips: Sequence[Clip], per_domain: int) -> None:
        """Choose recordings of every domain, the same ones every time, but no more than there is room for.

        Args:
            clips: in the order in which they are measured.
            per_domain: how many to choose of each domain.
        """
        chosen = list(examples(clips, per_domain).values())
        count = min(MOST, len(chosen))
        paths = {chosen[i * len(chosen) // count].path for i in range(count)}
        due: Counter[str] = Counter()
        self._due: dict[str, int] = {}  # by path: how many of its domain are to be shown up to there
        for clip in clips:
            due[clip.domain] += clip.path in paths
            self._due[clip.path] = due[clip.domain]
        self.shown: list[Exhibit] = []

    def wants(self, clip: Clip) -> bool:
        """Whether a recording is one of the chosen, or follows one in its domain that could not be shown."""
        return sum(exhibit.domain == clip.domain for exhibit in self.shown) < self._due[clip.path]

    def show(self, clip: Clip, recording: Recording, rows: Sequence[tuple[str, Decoded]]) -> None:
        """Keep what was decoded of it, shortened."""
        seconds = len(recording.waveform) / spec.SAMPLE_RATE
        excerpts = [_excerpt("original", Decoded(recording.waveform), seconds)]
        excerpts += [_excerpt(name, decoded, seconds) for name, decoded in rows]
        self.shown.append(Exhibit(clip.path, clip.domain, tuple(excerpts)))


def _excerpt(name: str, decoded: Decoded, seconds: float) -> Excerpt:
    rate = None if decoded.bits is None else decoded.bits / seconds
    if decoded.waveform is None:
        assert decoded.spectrogram is not None  # a row has at least one of them
        return Excerpt(name, decoded.spectrogram[:, :_FRAMES].clone(), None, rate)
    sound = decoded.waveform[:_SAMPLES]
    return Excerpt(name, waveform_mel(sound)[:, :_FRAMES], _flac(sound), rate)


def _flac(sound: Tensor) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound.clamp(-1.0, 1.0).numpy(), spec.SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
