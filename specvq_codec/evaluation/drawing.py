"""New sounds for the conditions of recordings, and the recordings as the codec has them, all as spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bitstream.errors import UsageError
from ..codec import Codec
from ..codes import Codes
from ..continuation import inventions
from ..models.autoencoder import COLUMN_FRAMES
from ..sampling import Sampling
from ..spectrogram import SAMPLE_RATE
from ..training.data import Clip, Pack
from ..windows import COLUMN_SAMPLES, STEP, encode_windows
from .conditioning import Conditioning
from .reconstruction import spectrogram_of, spread

SHORTEST = 1.0  # seconds of an original


@dataclass(frozen=True)
class Setting:
    """One way to draw samples.

    Attributes:
        known: the codec with its sampler, and what its sampler can be told of the pack.
        names: of the conditions that it is told, one of the sets of `known.kinds()`.
        top_k: the number of likeliest indices that are drawn from.
    """

    known: Conditioning
    names: tuple[str, ...]
    top_k: int

    @property
    def features(self) -> int:
        """How many features of a video it is told."""
        return self.known.codec.sampler.config.feature_frames if "features" in self.names else 0

    @property
    def condition(self) -> str:
        """What it is told."""
        counted = {"features": f"{self.features} feature" + "s" * (self.features != 1)}
        return " and ".join(counted.get(name, name) for name in self.names) or "no condition"


@dataclass(frozen=True)
class Original:
    """A recording that sounds are made for, and how many of its columns count."""

    clip: Clip
    columns: int


def settings_of(
    known: Sequence[Conditioning],
    top_ks: Sequence[int],
    features: Sequence[int] | None = None,
    with_class: bool | None = None,
) -> list[Setting]:
    """All ways to draw that are asked for.

    Args:
        known: one for each bundle.
        top_ks: numbers of likeliest indices.
        features: numbers of features of a video that are told; None for all that the samplers take.
        with_class: whether the class is told; None for both.

    Raises:
        UsageError: no sampler can be told so.
    """
    every = [Setting(one, names, top_k) for one in known for names in one.kinds().values() for top_k in top_ks]
    chosen = [one for one in every if with_class is None or with_class == ("class" in one.names)]
    chosen = [one for one in chosen if features is None or one.features in features]
    if missing := sorted(set(features or ()) - {one.features for one in chosen}):
        raise UsageError(f"No sampler here can be told of {missing[0]} features: {_possible(every)}")
    if not chosen:
        raise UsageError(f"No sampler here can be told {'the class' if with_class else 'nothing'}: {_possible(every)}")
    return chosen


def _possible(settings: Sequence[Setting]) -> str:
    conditions = sorted({one.condition for one in settings})
    return f"with this pack, these weights can be told {', or '.join(conditions)}."


def originals_of(settings: Sequence[Setting], limit: int | None = None) -> list[Original]:
    """The recordings of the pack that are long enough, or some of them, evenly spread.

    Raises:
        UsageError: there are fewer than two.
    """
    pack = settings[0].known.pack
    window = min(one.known.codec.sampler.config.columns for one in settings)
    long = [clip for clip in pack.clips if pack.num_samples(clip) >= SHORTEST * SAMPLE_RATE]
    clips = spread(long, limit) if long else []
    if len(clips) < 2:
        raise UsageError(f"Two recordings of {SHORTEST:g} s are needed at least: choose another split or --limit.")
    return [Original(clip, min(window, pack.num_samples(clip) // COLUMN_SAMPLES)) for clip in clips]


def original_mel(pack: Pack, original: Original) -> Tensor:
    """The log-mel spectrogram of an original, float32 (80, 16 columns) in [0, 1]."""
    if pack.kind == "sound":
        return spectrogram_of(pack.waveform(original.clip)[: original.columns * COLUMN_SAMPLES].cpu())
    return pack.mel(original.clip)[:, : original.columns * COLUMN_FRAMES].float().cpu()


def encoded(codec: Codec, mel: Tensor) -> Codes:
    """The codes of a log-mel spectrogram (80, 16 T) in [0, 1]."""

    def window(piece: Tensor) -> Tensor:
        return codec.autoencoder.encode(piece[None, None] * 2.0 - 1.0)[0]

    chunks = mel.to(codec.device).split(STEP * COLUMN_FRAMES, dim=1)
    indices = torch.cat(list(encode_windows(iter(chunks), window)), dim=1).mT.to("cpu", torch.int16).numpy()
    return Codes(indices, SAMPLE_RATE, len(indices) * COLUMN_SAMPLES, codec.bundle.fingerprint, codec.model)


def draw(
    known: Conditioning, original: Original, names: tuple[str, ...], samples: int, sampling: Sampling
) -> list[Codes]:
    """New sounds for an original, as long as it is; `names` are the conditions that the sampler is told."""
    seconds = original.columns * COLUMN_SAMPLES / SAMPLE_RATE
    return inventions(known.codec, seconds, samples, sampling, known.condition(original.clip, names))


def decoded_mels(codec: Codec, codes: Sequence[Codes]) -> Tensor:
    """Decoded spectrograms (N, 80, 16 T) in [0, 1] of codes of one length."""
    return torch.from_numpy(np.stack([codec.spectrogram(one) for one in codes]))


def codecs_of(settings: Sequence[Setting]) -> list[Codec]:
    """The codecs that decode otherwise than one another: samplers may share one."""
    codecs: dict[bytes, Codec] = {}
    for setting in settings:
        codec = setting.known.codec
        codecs.setdefault(codec.bundle.fingerprint, codec)
    return list(codecs.values())
