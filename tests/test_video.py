"""Pictures of video clips: which of them stand for which instant, and what is told of files that have none."""

import struct
import sys
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from videos import SIZE, grey, moving, write_video

from specvq_codec import SpecVQError, UsageError
from specvq_codec.video import read_frames

LEVELS = [10, 60, 110, 160, 210]


def levels(path, limit=None):
    """The grey level of each picture."""
    found = list(read_frames(path, limit))
    assert all(frame.shape == (*SIZE, 3) and frame.dtype == np.uint8 for frame in found)
    assert all(frame.min() == frame.max() for frame in found)
    return [int(frame[0, 0, 0]) for frame in found]


def shown(times, end):
    """By the rule, one instant after the other: the last picture whose time is rounded to this instant or one before.

    Halves are rounded up.
    """
    places = [int(time * 21.5 + 0.5) for time in times]
    return [
        [level for place, level in zip(places, LEVELS, strict=True) if place <= instant][-1] for instant in range(end)
    ]


@pytest.mark.parametrize(
    ("times", "end"),
    [
        ([0, 0.04, 0.08, 0.12, 0.16], 4),
        ([0, 0.1, 0.15, 1.0, 1.2], 27),  # 1.24 s
        ([0, 0.01, 0.02, 0.2, 0.21], 5),  # 0.25 s; of several at one instant the last
        ([0, 0.5, 1.0, 1.5, 2.0], 44),
    ],
)
def test_every_instant_shows_the_picture_of_its_time(tmp_path, times, end):
    path = write_video(tmp_path / "clip.mkv", map(grey, LEVELS), times)
    assert levels(path) == shown(times, end)
    late = write_video(tmp_path / "late.mkv", map(grey, LEVELS), [time + 2.5 for time in times])
    assert levels(late) == levels(path)


def test_a_container_that_does_not_tell_when_pictures_are_shown(tmp_path):
    """In AVI the times of H.264 with B-frames are those of decoding, and FFmpeg's guess goes back again and again."""
    generator = np.random.default_rng(0)
    pictures = [np.kron(generator.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(75)]
    known = list(read_frames(write_video(tmp_path / "a.mp4", pictures, codec="libx264")))
    guessed = list(read_frames(write_video(tmp_path / "a.avi", pictures, codec="libx264", tick=Fraction(1, 25))))
    differ = [np.abs(one.astype(int) - other).mean() > 20 for one, other in zip(known, guessed, strict=True)]
    assert len(known) == 65 and not any(differ[4:])  # the first four are shown before the guess has gone back


def test_a_stream_that_appears_in_a_damaged_file(tmp_path):
    """A packet of a transport stream with a changed number makes FFmpeg add a stream, which PyAV does not know."""
    damaged = bytearray(write_video(tmp_path / "a.ts", moving(60), codec="libx264").read_bytes())
    damaged[188 * 70 + 1 : 188 * 70 + 3] = b"\x02\x00"
    (tmp_path / "a.ts").write_bytes(damaged)
    assert 45 < len(list(read_frames(tmp_path / "a.ts"))) < 55


def test_ten_seconds_have_215_pictures(tmp_path):
    path = write_video(tmp_path / "clip.mkv", (grey(number % 250) for number in range(250)))
    assert len(levels(path)) == 215
    assert levels(path, 7) == levels(path)[:7]


def test_a_picture_that_was_taken_upright_is_upright(tmp_path):
    """The frames of a phone's video lie on their side; a matrix in the header tells how to turn them."""
    frame = grey(0)
    frame[:8, :8] = 255  # the top left, which comes to the top right by a quarter turn clockwise
    path = write_video(tmp_path / "clip.mp4", [frame] * 5, codec="mpeg4")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", data[matrix : matrix + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, SIZE[0] << 16, 0, 1 << 30)
    path.write_bytes(data)
    (turned, *_) = read_frames(path)
    assert turned.shape == (64, 48, 3)
    assert turned[:8, -8:].min() > 200 and turned[:8, :-16].max() < 50 and turned[16:].max() < 50


def test_files_without_pictures(tmp_path):
    soundfile.write(tmp_path / "sound.wav", np.zeros(1000), 22_050)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    write_video(tmp_path / "none.mkv", [], sound=np.zeros(4096))
    good = write_video(tmp_path / "good.mp4", moving(20), codec="mpeg4")
    data = bytearray(good.read_bytes())
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    start = data.index(b"mdat") + 4
    data[start : start + 800] = b"\xff" * 800
    (tmp_path / "flipped.mp4").write_bytes(data)
    for name, message in {
        "absent.mp4": "absent.mp4 cannot be read (no such file or directory): give a video",
        ".": "cannot be read (is a directory)",
        "sound.wav": "has no video stream",
        "text.mp4": "is no video, or it is damaged",
        "empty.mp4": "is no video, or it is damaged",
        "cut.mp4": "or it is damaged",
        "flipped.mp4": "is damaged",
        "none.mkv": "has a video stream without pictures",
    }.items():
        with pytest.raises(SpecVQError) as told:
            list(read_frames(tmp_path / name))
        assert message in str(told.value) and told.value.exit_code == 3, name


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mkv", moving(3))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'specvq-codec\[video\]'"):
        next(read_frames(path))
