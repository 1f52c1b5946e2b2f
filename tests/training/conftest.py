import dataclasses
import json
import shutil

import numpy as np
import pytest
from tiny import sound
from training_cases import CODEBOOK, CPU, VOCODER

from specvq_codec.training.codebook import train_codebook
from specvq_codec.training.data import Clip
from specvq_codec.training.vocoder import train_vocoder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A pack of synthetic sound, written by hand."""
    folder = tmp_path_factory.mktemp("pack")
    sounds = [sound(seconds, seed=seed) for seed, seconds in enumerate((4.0, 3.0, 1.5, 1.0))]
    clips, start = [], 0
    for number, (samples, split) in enumerate(zip(sounds, ("train", "train", "valid", "test"), strict=True)):
        clips.append(Clip(f"{number}.wav", split, "sound", start, len(samples)))
        start += len(samples)
    (np.concatenate(sounds) * 32767).astype("<i2").tofile(folder / "samples.i16")
    (folder / "index.json").write_text(json.dumps({"clips": [dataclasses.asdict(clip) for clip in clips]}))
    return folder


@pytest.fixture
def change_pack(data, tmp_path):
    """Makes the pack again with other values in the entry of its first recording."""

    def change(**values):
        folder = shutil.copytree(data, tmp_path / "changed")
        index = json.loads((folder / "index.json").read_text())
        index["clips"][0] |= values
        (folder / "index.json").write_text(json.dumps(index))
        return folder

    return change


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """The folder of two runs, "codebook" and "vocoder"."""
    runs = tmp_path_factory.mktemp("runs")
    train_codebook(CODEBOOK, data, runs / "codebook", CPU)
    train_vocoder(VOCODER, data, runs / "vocoder", CPU)
    return runs
