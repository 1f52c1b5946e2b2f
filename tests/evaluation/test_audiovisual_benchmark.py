"""benchmarks/audiovisual.py on a tiny set, with a random codec and samplers that have hardly learnt anything."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scripts import load_example
from tiny import write_tiny_bundle

from specvq_codec.features import features_of_video, make_extractor, save_features
from specvq_codec.models.transformer import TransformerConfig
from specvq_codec.models.vggishish import VGGishConfig
from specvq_codec.training.classifier import ClassifierConfig, train_classifier
from specvq_codec.training.loop import LoopConfig
from specvq_codec.training.packing import pack
from specvq_codec.training.sampler import SamplerConfig, train_sampler
from specvq_codec.training.tokens import tokenize

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "audiovisual.py"
CPU = torch.device("cpu")
LOOP = LoopConfig(2, save_every=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A set of eight clips a split, its pack with tokens, and the runs."""
    folder = tmp_path_factory.mktemp("audiovisual")
    bundle = write_tiny_bundle(folder / "tiny")
    (folder / "seen").mkdir()
    load_example("make_audiovisual").make_set(folder / "set", {"train": 2, "valid": 2, "test": 4}, seed=0)
    for video in (folder / "set").glob("*.mp4"):
        seen = features_of_video(video, make_extractor("pixels"))
        save_features(folder / "seen" / f"{video.stem}.npz", seen, "pixels")
    pack(folder / "set", folder / "pack", [str(folder / "seen")])
    tokenize(folder / "pack", bundle, CPU)
    longer = LoopConfig(20, 1e-2, 1, save_every=20)
    classifier = ClassifierConfig(VGGishConfig((4, 4), (1, 1), hidden=4, pooled=(2, 2)), longer, 2, 848)
    train_classifier(classifier, folder / "pack", folder / "runs" / "classifier", CPU)
    for name, frames in {"212": 212, "5": 5, "1": 1, "none": 0}.items():
        model = TransformerConfig(
            n_layer=1, n_head=2, n_embd=16, feature_frames=frames, feature_depth=512 if frames else 0
        )
        train_sampler(SamplerConfig(model, LOOP, 2), folder / "pack", folder / "runs" / name, CPU, bundle.path)
    return folder


@pytest.fixture(scope="module")
def rows(place):
    """The printed table: cells by the first one."""
    parts = [str(place / name) for name in ("set", "pack", "runs")]
    options = [
        "--weights",
        str(place / "tiny"),
        "--samples",
        "2",
        "--vocoded",
        "1",
        "--picture",
        str(place / "clip.png"),
    ]
    done = subprocess.run([sys.executable, SCRIPT, *parts, *options], capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def number(cell):
    return float(cell.split()[0].rstrip("%"))


def test_there_is_a_row_for_what_each_sampler_sees(rows):
    samplers = ["212 frames", "5 frames", "1 frame", "nothing"]
    assert list(rows) == ["original sound", "encoded and decoded", *samplers, "sound of another clip"]
    assert [rows[name]["event in it"] for name in ("212 frames", "nothing")] == ["100%", "0%"]
    for name in samplers:
        assert 5.5 < number(rows[name]["bits"]) < 6.5  # of 64 codes, after two steps
        assert number(rows[name]["FID"]) > 0
        assert rows[name]["vocoded"]


def test_originals_are_the_ceiling(rows):
    original, other = rows["original sound"], rows["sound of another clip"]
    assert number(original["MKL"]) == number(original["FID"]) == number(other["FID"]) == 0
    assert number(original["onset F1, 0.1 s"]) > 0.8 > 0.3 > number(original["by chance"])
    assert number(other["onset F1, 0.1 s"]) < 0.5


def test_the_picture_shows_a_clip(place, rows):
    from PIL import Image

    width, height = Image.open(place / "clip.png").size
    assert width == 900 and height > 1000
