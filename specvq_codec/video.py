"""Video clips in: their pictures at an even rate, in bounded memory. PyAV (the extra `video`) decodes them.

The rule for which picture stands for which instant is that of ffmpeg's filter `fps`, with which the reference prepares
its clips: the time stamp of a picture, counted from the first one, is rounded to the nearest multiple of 1 / 21.5 s;
of several that fall on one multiple the last is taken, and a picture stays until the next one comes. So clips of any
rate, also of a variable one, last as long as they did, and one that begins late in its file begins at 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .bitstream.errors import SpecVQError, UsageError

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["FRAME_RATE", "VIDEO_SUFFIXES", "Frame", "import_av", "open_video", "packets", "read_frames", "reason_of"]

Frame = npt.NDArray[np.uint8]  # (height, width, 3), red, green, blue

FRAME_RATE = Fraction(43, 2)  # pictures a second: 215 in ten seconds, four for each column of indices
# In a folder; what a single file is, is found out from its content.
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv", ".wmv", ".ogv"}
    | {".3gp", ".gif"}
)
_MAX_FRAMES = int(12 * 3600 * FRAME_RATE)  # damaged time stamps must not keep us busy for ever
_MAX_PIXELS = 1 << 26  # in a picture; twice as many as 8K has


def import_av() -> Any:
    """PyAV. UsageError if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UsageError(
            "Video needs one more package: pip install 'specvq-codec[video]', or '.[video]' in a checkout."
        ) from error
    return av


def reason_of(error: Exception) -> str:
    """The cause in a few words, without the number and the path that PyAV puts around it."""
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".").lower() or type(error).__name__


@contextmanager
def open_video(path: str | PathLike[str]) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and its first video stream; pictures that are attached to a sound do not count as one.

    Raises:
        UsageError: PyAV is not installed.
        SpecVQError: the file cannot be read, or there is no video in it.
    """
    av = import_av()
    name = fspath(path)
    try:
        with Path(name).open("rb"):
            pass  # for its own sentence if there is no such file
        # "file:" and the option: neither a strange name nor what is in the file makes FFmpeg look anywhere else
        container = av.open(f"file:{name}", options={"protocol_whitelist": "file"}, metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise SpecVQError(f"{name} is no video, or it is damaged ({reason_of(error)}): give another file.") from error
    except OSError as error:
        raise SpecVQError(f"{name} cannot be read ({reason_of(error)}): give a video.") from error
    with container:
        attached = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & attached]
        if not streams:
            raise SpecVQError(f"{name} has no video stream, or it is damaged: give a file with pictures that move.")
        if streams[0].codec_context is None:
            raise SpecVQError(f"{name} has a video stream that PyAV cannot decode: convert it first.")
        yield container, streams[0]


def read_frames(path: str | PathLike[str], limit: int | None = None) -> Iterator[Frame]:
    """The pictures of a clip, 21.5 a second, upright.

    Args:
        path: of anything that FFmpeg decodes.
        limit: so many at most; the rest of the file is not read.

    Yields:
        uint8 (height, width, 3), at least one. A picture that stays on is the same array again: do not write to it.

    Raises:
        UsageError: PyAV is not installed.
        SpecVQError: the file cannot be read, is damaged, or has no video stream or no pictures in it.
    """
    av = import_av()
    limit = _MAX_FRAMES if limit is None else limit
    with open_video(path) as (container, stream):
        waiting: VideoFrame | None = None  # decoded, and converted only if it is shown
        count = 0
        try:
            for place, frame in _placed(container, stream):
                if place > _MAX_FRAMES:
                    raise SpecVQError(f"{path} is longer than 12 hours, or its time stamps are damaged: cut it first.")
                for _ in range(count, min(place, limit)):
                    if waiting is not None:
                        shown, waiting = _upright(waiting, path), None
                    yield shown
                    count += 1
                if count == limit:
                    return
                waiting = frame or waiting
        except av.error.FFmpegError as error:
            raise SpecVQError(f"{path} is damaged ({reason_of(error)}): get it again, or convert it first.") from error
    if count == 0:
        raise SpecVQError(f"{path} has a video stream without pictures: give another file.")


def _placed(container: InputContainer, stream: VideoStream) -> Iterator[tuple[int, VideoFrame | None]]:
    """Decoded pictures with their places on the grid of 21.5 a second; then the place where the last one ends."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    start: Fraction | None = None
    following = Fraction(0)  # when the picture after this one comes, if it does not say so itself
    for time, frame in _timed(container, stream):
        time = following if time is None else time
        start = time if start is None else start
        duration = frame.duration * frame.time_base if frame.duration and frame.time_base else 1 / rate
        following = time + duration
        yield _nearest(time - start), frame
    if start is not None:
        yield max(1, _nearest(following - start)), None


def _timed(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Fraction | None, VideoFrame]]:
    """Decoded pictures with the times, in seconds, at which they are to be shown, as far as they are known.

    Pictures come in the order in which they are shown. Some containers, such as AVI, know only when each is to be
    decoded, and FFmpeg's guess of the other then goes back: from there on the times of decoding count, by the time of
    the first picture.
    """
    shift: Fraction | None = None  # from times of decoding, once they count
    first: tuple[int, int] | None = None  # both times of the first picture
    last: int | None = None
    for frame in _decoded(container, stream):
        pts, dts, base = frame.pts, frame.dts, frame.time_base
        if base is None:
            yield None, frame
            continue
        if first is None and pts is not None and dts is not None:
            first = pts, dts
        if shift is None and first and pts is not None and last is not None and pts < last:
            shift = (first[0] - first[1]) * base
        if shift is None:
            yield None if pts is None else pts * base, frame
            last = last if pts is None else pts
        else:
            yield None if dts is None else dts * base + shift, frame


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    for packet in packets(container, stream):
        yield from packet.decode()
    yield from stream.decode(None)


def packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[Any]]:
    """The packets of a stream that hold something."""
    for packet in container.demux(stream):
        if packet.size:
            yield packet
        elif packet.dts is None:
            return  # the end; to ask PyAV for more is an error where damage made FFmpeg find further streams


def _nearest(time: Fraction) -> int:
    """The multiple of a picture's duration that a time, in seconds, is nearest to."""
    return math.floor(time * FRAME_RATE + Fraction(1, 2))


def _upright(frame: VideoFrame, path: str | PathLike[str]) -> Frame:
    """The pixels of a picture, turned as players turn it."""
    if frame.width * frame.height > _MAX_PIXELS:
        raise SpecVQError(f"{path} has pictures of {frame.width} x {frame.height}: make them smaller first.")
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))  # both count counter-clockwise
