"""Small packs of synthetic sound for the tests of this folder."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tiny import sound

from specvq_codec.training.data import Pack

CLIPS = (  # split, domain, seconds
    ("train", "sound", 7.5),
    ("train", "music", 6.5),
    ("test", "sound", 1.3),
    ("test", "music", 0.7),
    ("test", "sound", 0.01),
    ("test", "speech", 1.1),
    ("test", "speech", 0.3),
)
LABELLED = (  # and a label; the tiny sampler knows all but "unheard"
    ("test", "music", 2.5, "bell"),
    ("test", "music", 0.9, "bell"),
    ("test", "sound", 1.7, "dog"),
    ("test", "sound", 0.5, "unheard"),
)


def write_pack(folder: Path, recordings: Sequence[tuple] = CLIPS) -> Path:
    """Write the pack and return its folder."""
    folder.mkdir()
    clips, parts, start = [], [], 0
    for number, (split, domain, seconds, *label) in enumerate(recordings):
        samples = sound(seconds, seed=number)
        name = f"{number}.wav"
        clips.append({"path": name, "split": split, "domain": domain, "start": start, "length": len(samples)})
        clips[-1]["label"] = "".join(label)
        parts.append(np.round(samples * 32768).astype("<i2"))
        start += len(samples)
    (folder / "samples.i16").write_bytes(np.concatenate(parts).tobytes())
    (folder / "index.json").write_text(json.dumps({"sample_rate": 22_050, "clips": clips}))
    return folder


def add_features(folder: Path, width: int) -> None:
    """Give a pack's recordings features of video, at random."""
    about = json.loads((folder / "index.json").read_text())
    features = np.random.default_rng(0).standard_normal((len(about["clips"]), 215, width))
    (folder / "features.f16").write_bytes(features.astype("<f2").tobytes())
    (folder / "index.json").write_text(json.dumps(about | {"feature_width": width}))


def write_mel_pack(folder: Path, pack: Pack) -> Path:
    """Write the spectrograms of a pack's recordings as a pack and return its folder."""
    folder.mkdir()
    mels = [pack.mel(clip) for clip in pack.clips]
    starts = np.cumsum([0, *(mel.shape[1] for mel in mels)]).tolist()
    clips = [
        vars(clip) | {"start": start, "length": mel.shape[1]}
        for clip, start, mel in zip(pack.clips, starts, mels, strict=False)
    ]
    (folder / "mels.f16").write_bytes(np.concatenate([mel.mT.numpy() for mel in mels]).tobytes())
    (folder / "index.json").write_text(json.dumps({"kind": "mels", "clips": clips}))
    return folder
