"""The command that trains vocoders."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from tiny import MELGAN, sound

from specvq_codec.training.data import Clip
from specvq_codec.training.vocoder import load_generator

CONFIG = f"""
batch_size = 2
frames = 16
codec_frames = 32
decoded_share = 0.5
adversarial_weight = 1.0
[model]
channels = {list(MELGAN.channels)}
num_res_layers = {MELGAN.num_res_layers}
[judge]
channels = 4
layers = 2
max_channels = 16
[loop]
steps = 1
learning_rate = 1e-9
"""


def test_train_vocoder(specvq, tiny_bundle):
    """From a bundle's vocoder, and with the default bundle as the codec."""
    Path("pack").mkdir()
    samples = np.concatenate([sound(1.0), sound(1.0)])
    clips = [Clip(f"{i}.wav", split, "sound", i * 22_050, 22_050) for i, split in enumerate(("train", "valid"))]
    (samples * 32767).astype("<i2").tofile("pack/samples.i16")
    Path("pack/index.json").write_text(json.dumps({"clips": [dataclasses.asdict(clip) for clip in clips]}))
    Path("tiny.toml").write_text(CONFIG)
    args = ("train", "vocoder", "tiny.toml", "--data", "pack", "--out", "run", "--device", "cpu")
    done = specvq(*args, "--start", tiny_bundle.path)
    assert "valid_decoded_stft" in done.err and done.err.endswith(
        "run: done up to step 1 (docs/training.md tells what can be made of it)\n"
    )
    again = specvq(*args)
    assert again.err.splitlines()[-1] == done.err.splitlines()[-1]
    begun, ended = load_generator(MELGAN, tiny_bundle.path), load_generator(MELGAN, Path("run"))
    for key, tensor in begun.state_dict().items():
        assert torch.allclose(tensor, ended.state_dict()[key], atol=1e-6)
    specvq(*args[:5], "--out", "named", "--start", "tiny", "--device", "cpu")  # the default bundle, by its name
    named = load_generator(MELGAN, Path("named")).state_dict()
    assert all(torch.equal(tensor, named[key]) for key, tensor in ended.state_dict().items())
    for nothing in ("pack", "nothing"):
        failed = specvq(*args[:5], "--out", "other", "--start", nothing, code=2)
        assert f"{nothing} is neither a weight bundle nor a training run" in failed.err
