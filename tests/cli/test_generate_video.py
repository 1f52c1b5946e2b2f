"""specvq generate --video."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from sampler_cases import add_tiny_sampler
from videos import grey, moving, write_video

from specvq_codec.features import pixels
from specvq_codec.models.resnet50 import ResNet50
from specvq_codec.video import read_frames
from specvq_codec.weights import load_bundle


@pytest.fixture
def place(specvq, tiny_bundle):
    """A folder with two clips of 1.2 s, and a bundle whose sampler takes 4 features of the kind "pixels"."""
    for name, frames in (("clip.mp4", moving(30)), ("still.mp4", [grey(128)] * 30)):
        write_video(name, frames, codec="mpeg4")
    bundle = load_bundle(shutil.copytree(tiny_bundle.path, Path("seeing")))
    add_tiny_sampler(bundle, "pixels", feature_frames=4, feature_depth=512)
    return specvq


COMMAND = ["generate", "--weights", "seeing", "--video"]


def test_a_sound_as_long_as_the_video(place):
    assert "out.wav: 1.21 s, sampled in" in place(*COMMAND, "clip.mp4", "out.wav").err  # 26 pictures
    samples, _ = soundfile.read("out.wav")
    assert len(samples) == round(26 / 21.5 * 22_050)
    place(*COMMAND, "clip.mp4", "moving.svq", "--seconds", 2)
    place(*COMMAND, "still.mp4", "still.svq", "--seconds", 2)
    assert Path("moving.svq").read_bytes() != Path("still.svq").read_bytes()
    np.savez("clip.npz", features=pixels(read_frames("clip.mp4")))
    place("generate", "--weights", "seeing", "--features", "clip.npz", "from-features.svq", "--seconds", 2)
    assert Path("from-features.svq").read_bytes() == Path("moving.svq").read_bytes()


def test_variants_and_videos_with_their_sound(place):
    done = place(*COMMAND, "clip.mp4", "out.wav", "-n", 2, "--mux", "new.mp4", "--json")
    about = json.loads(done.out)
    assert about["outputs"] == ["out-1.wav", "out-2.wav"] and about["videos"] == ["new-1.mp4", "new-2.mp4"]
    for number in (1, 2):
        with av.open(f"new-{number}.mp4") as container:
            assert len(container.streams.audio) == len(container.streams.video) == 1
            blocks = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        heard, (written, _) = np.concatenate(blocks), soundfile.read(f"out-{number}.wav")
        count = min(len(heard), len(written))
        assert np.corrcoef(heard[:count], written[:count])[0, 1] > 0.7
    assert soundfile.read("out-1.wav")[0].tolist() != soundfile.read("out-2.wav")[0].tolist()


def test_bad_videos(place):
    Path("text.mp4").write_text("no video")
    soundfile.write("sound.wav", np.zeros(22_050), 22_050)
    write_video("none.mkv", [], sound=np.zeros(4096))
    write_video("short.mkv", moving(3))
    for name, message in {
        "absent.mp4": "cannot be read",
        "text.mp4": "is no video, or it is damaged",
        "sound.wav": "has no video stream",
        "none.mkv": "has a video stream without pictures",
        "short.mkv": "lasts 0.14 s",
    }.items():
        assert message in place(*COMMAND, name, "out.wav", "--mux", "out.mp4", code=3).err
    assert not Path("out.wav").exists() and not Path("out.mp4").exists()


def test_no_sound_is_lost_for_a_video_that_cannot_be_written(place):
    """Neither before anything is made, nor when a clip turns out to be damaged where its pictures are copied."""
    told = place(*COMMAND, "clip.mp4", "out.wav", "-n", 2, "--mux", "new.webm", code=2).err
    assert "new-1.webm cannot hold the pictures of clip.mp4" in told and not Path("out-1.wav").exists()
    write_video("raw.h264", moving(60), codec="libx264")  # its packets have no times
    assert "could not be copied" in place(*COMMAND, "raw.h264", "out.wav", "-n", 2, "--mux", "new.mp4", code=3).err
    assert [len(soundfile.read(f"out-{number}.wav")[0]) > 22_050 for number in (1, 2)] == [True, True]
    assert not Path("new-1.mp4").exists()


def test_opus_is_written_at_a_rate_that_it_has(place):
    place(*COMMAND, "clip.mp4", "out.opus")
    assert soundfile.info("out.opus").samplerate == 24_000


def test_bad_arguments(place, sampler_bundle):
    weights = ["--weights", sampler_bundle.path]
    told = place("generate", "out.wav", "--video", "clip.mp4", *weights, code=2).err
    assert "sampling has no sampler that takes features of video" in told
    np.save("wide.npy", np.zeros((215, 2048), np.float32))
    told = place("generate", "out.wav", "--features", "wide.npy", "--weights", "seeing", code=2).err
    assert "features have 2048 numbers a frame, and the sampler takes 512" in told
    assert "give one of them" in place(*COMMAND, "clip.mp4", "out.wav", "--features", "wide.npy", code=2).err
    assert "give --video, too" in place("generate", "out.wav", "--mux", "new.mp4", code=2).err
    assert "use .mp4, .m4v" in place(*COMMAND, "clip.mp4", "out.wav", "--mux", "new.avi", code=2).err
    assert "use -f" in place(*COMMAND, "clip.mp4", "out.wav", "--mux", "still.mp4", code=2).err
    assert "over what is read" in place(*COMMAND, "clip.mp4", "out.wav", "--mux", "clip.mp4", "-f", code=2).err
    assert not Path("out.wav").exists()


def test_a_sampler_that_wants_resnet50_needs_its_weights(place, tiny_bundle):
    bundle = load_bundle(shutil.copytree(tiny_bundle.path, Path("resnet")))
    add_tiny_sampler(bundle, feature_frames=1, feature_depth=2048)
    command = ["generate", "--weights", "resnet", "--video", "clip.mp4", "out.svq"]
    assert "need the weights of ResNet-50" in place(*command, code=4).err
    assert "needs the file's checksum" in place(*command, "--video-weights", "https://a.org/a.pth", code=4).err
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(ResNet50().state_dict(), "resnet50.pth")
    place(*command, "--video-weights", "resnet50.pth")
    assert Path("out.svq").exists()
