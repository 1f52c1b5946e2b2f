"""A clip's pictures, untouched, with another sound."""

from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from videos import grey, moving, write_video

from specvq_codec import SpecVQError, UsageError
from specvq_codec.muxing import check_pictures, replace_sound
from specvq_codec.video import read_frames

RATE = 22_050


def clicks(seconds: float) -> np.ndarray:
    """Silence but for a burst of 20 ms at a third of its length."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    start = len(samples) // 3
    samples[start : start + 441] = 0.5 * np.sin(0.3 * np.arange(441))
    return samples


def packets(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def heard(path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)]), stream.rate


@pytest.mark.parametrize(
    ("source", "codec", "out"),
    [
        ("in.mp4", "mpeg4", "out.mp4"),
        ("in.mp4", "libx264", "out.mov"),  # whose pictures are not in the order of their times
        ("in.mkv", "ffv1", "out.mkv"),
        ("in.webm", "libvpx-vp9", "out.webm"),
    ],
)
def test_the_pictures_are_copied_and_the_sound_is_new(tmp_path, source, codec, out):
    frames = moving(50)
    times = [1.5 + number / 25 for number in range(50)]
    video = write_video(tmp_path / source, frames, times, codec, sound=None)
    replace_sound(video, tmp_path / out, clicks(2.0), RATE)
    assert packets(tmp_path / out) == packets(video)
    before, after = list(read_frames(video)), list(read_frames(tmp_path / out))
    assert len(before) == 43 and np.array_equal(before, after)
    with av.open(str(tmp_path / out)) as container:
        assert abs(float(container.streams.video[0].start_time * container.streams.video[0].time_base)) < 0.05
    samples, rate = heard(tmp_path / out)
    assert abs(len(samples) / rate - 2.0) < 0.1
    assert abs(np.abs(samples).argmax() / rate - 2 / 3) < 0.03


def test_the_sound_that_was_there_goes(tmp_path):
    video = write_video(tmp_path / "in.mp4", moving(25), codec="mpeg4", sound=clicks(1.0))
    replace_sound(video, tmp_path / "out.mp4", np.zeros(RATE, np.float32), RATE)
    assert np.abs(heard(video)[0]).max() > 0.3 and np.abs(heard(tmp_path / "out.mp4")[0]).max() < 1e-3


def test_pictures_whose_times_are_not_known_are_not_copied(tmp_path):
    video = write_video(tmp_path / "in.avi", moving(50), codec="libx264")
    for attempt in (check_pictures, partial(replace_sound, samples=clicks(2.0), sample_rate=RATE)):
        with pytest.raises(UsageError, match=r"in\.avi does not tell when its pictures are shown .h264 with B-frames"):
            attempt(video, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.avi"]


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    video = write_video(tmp_path / "in.mkv", [grey(0)] * 25)
    silence = np.zeros(RATE, np.float32)
    with pytest.raises(UsageError, match=r"use \.mp4, \.m4v, \.mov, \.mkv, \.webm"):
        replace_sound(video, tmp_path / "out.avi", silence, RATE)
    with pytest.raises(UsageError, match=r"out\.webm cannot hold the pictures of .*in\.mkv, which are ffv1"):
        replace_sound(video, tmp_path / "out.webm", silence, RATE)
    with pytest.raises(UsageError, match=r"cannot hold the pictures .*: use \.mkv, or convert the clip to \.mp4 first"):
        check_pictures(video, tmp_path / "out.webm")
    check_pictures(video, tmp_path / "out.mkv")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SpecVQError, match="is no video"):
        replace_sound(tmp_path / "text.mp4", tmp_path / "out.mp4", silence, RATE)
    Path(tmp_path / "there.mkv").write_bytes(b"kept")
    with pytest.raises(UsageError, match="use -f"):
        replace_sound(video, tmp_path / "there.mkv", silence, RATE)
    assert (tmp_path / "there.mkv").read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "text.mp4", "there.mkv"]
    replace_sound(video, tmp_path / "there.mkv", silence, RATE, force=True)
    assert packets(tmp_path / "there.mkv") == packets(video)
