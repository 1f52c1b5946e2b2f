"""From videos and their sounds to a bundle that looks at videos, by commands alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny import sound
from videos import moving, write_video

from specvq_codec.conditions import kind_of_features, load_features
from specvq_codec.features import pixels
from specvq_codec.video import read_frames
from specvq_codec.weights import load_bundle

CONFIG = """
batch_size = 2
[model]
n_layer = 1
n_head = 2
n_embd = 16
feature_frames = 5
feature_depth = 512
[loop]
steps = 2
log_every = 1
decayed = "linear"
"""


@pytest.fixture
def clips(specvq):
    """Folders of four videos and of their sounds."""
    for name in ("videos/inner", "sounds/inner"):
        Path(name).mkdir(parents=True)
    rows = ["path,split"]
    for number, split in enumerate(["train", "train", "valid", "valid"]):
        write_video(f"videos/inner/{number}.mp4", moving(30 + number), codec="mpeg4")
        soundfile.write(f"sounds/inner/{number}.wav", sound(1.2, seed=number), 22_050)
        rows.append(f"inner/{number}.wav,{split}")
    Path("sounds/manifest.csv").write_text("\n".join(rows))
    return specvq


def test_a_bundle_that_looks_at_videos(clips, tiny_bundle):
    assert "features of 4 videos; 0 could" in clips("data", "features", "videos", "seen", "--kind", "pixels").err
    path = Path("seen/inner/2.npz")
    assert kind_of_features(path) == "pixels"
    assert np.array_equal(load_features(path), pixels(read_frames("videos/inner/2.mp4")))
    assert "4 recordings" in clips("data", "pack", "sounds", "pack", "--features", "seen").err
    clips("data", "tokenize", "pack")
    Path("tiny.toml").write_text(CONFIG)
    clips("train", "sampler", "tiny.toml", "--data", "pack", "--out", "run")
    shutil.copytree(tiny_bundle.path, "mine")
    clips("weights", "add-sampler", "mine", "run")
    assert load_bundle(Path("mine")).features == "pixels"
    clips("generate", "out.svq", "--weights", "mine", "--video", "videos/inner/3.mp4", "--seconds", 1)
    assert Path("out.svq").exists()


def test_one_video_and_bad_ones(clips):
    clips("data", "features", "videos/inner/0.mp4", "one", "--kind", "pixels")
    before = Path("one/0.npz").read_bytes()
    assert "use -f" in clips("data", "features", "videos/inner/0.mp4", "one", "--kind", "pixels", code=2).err
    Path("videos/text.mp4").write_text("no video")
    told = clips("data", "features", "videos", "seen", "--kind", "pixels", code=3).err
    assert "text.mp4: videos/text.mp4 is no video" in told and "features of 4 videos; 1 could not be done" in told
    assert not Path("seen/text.npz").exists() and Path("one/0.npz").read_bytes() == before
    command = ["data", "features", "videos", "other", "--kind"]
    assert "There are no features 'flow'" in clips(*command, "flow", code=2).err
    assert "need the weights of ResNet-50" in clips(*command, "resnet50", code=4).err
    assert "There is no" in clips("data", "features", "sounds", "other", "--kind", "pixels", code=3).err
    assert not Path("other").exists()
