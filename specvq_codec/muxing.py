"""Video clips out: the pictures of a clip as they are, with another sound."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .bitstream.errors import SpecVQError, UsageError
from .files import output_file
from .video import import_av, open_video, reason_of

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

__all__ = ["check_video_suffix", "replace_sound"]

# Suffix -> FFmpeg's format, the codec of the sound, and the rate that this codec needs, in Hz; 0: any.
_FORMATS = {
    ".mp4": ("mp4", "aac", 0),
    ".m4v": ("mp4", "aac", 0),
    ".mov": ("mov", "aac", 0),
    ".mkv": ("matroska", "aac", 0),
    ".webm": ("webm", "libopus", 48_000),
}
_BLOCK = 4096  # samples encoded at a time


def check_video_suffix(path: str | PathLike[str]) -> None:
    """Raise UsageError if the suffix stands for no format that can be written."""
    if Path(path).suffix.lower() not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise UsageError(f"{fspath(path)} does not end in the suffix of a video that can be written: use {known}.")


def replace_sound(
    video: str | PathLike[str],
    out: str | PathLike[str],
    samples: npt.NDArray[np.float32],
    sample_rate: int,
    force: bool = False,
) -> None:
    """Write a clip's first video stream, not encoded anew, and a sound, which begins with the first picture.

    Args:
        video: the clip; all else that is in it is left out.
        out: file to write, whose suffix chooses the format: .mp4, .m4v, .mov, .mkv (with AAC) or .webm (with Opus).
        samples: (N,), full scale being [-1, 1].
        sample_rate: in Hz.
        force: whether a file that exists may be overwritten.

    Raises:
        UsageError: the suffix is another, the format cannot hold the clip's pictures, or `out` cannot be written to.
        SpecVQError: the clip cannot be read, or is damaged.
    """
    av = import_av()
    check_video_suffix(out)
    container_format, codec, rate = _FORMATS[Path(out).suffix.lower()]
    with ExitStack() as stack:
        source, stream = stack.enter_context(open_video(video))
        temporary = stack.enter_context(output_file(out, force))
        target = stack.enter_context(av.open(f"file:{temporary}", "w", format=container_format))
        try:
            pictures = target.add_stream_from_template(stream)
            sound = target.add_stream(codec, rate=rate or sample_rate, layout="mono")
            target.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            raise UsageError(
                f"{fspath(out)} cannot hold the pictures of {fspath(video)}, which are {stream.codec_context.name} "
                f"({reason_of(error)}): use .mkv."
            ) from error
        try:
            _mux(target, _copied(source, stream, pictures), _encoded(sound, samples, sample_rate))
        except av.error.FFmpegError as error:
            raise SpecVQError(f"{fspath(video)} could not be copied ({reason_of(error)}).") from error


def _mux(target: OutputContainer, *streams: Iterable[Packet[Any]]) -> None:
    """Write packets in the order of their times, so that a player need not look far."""
    for packet in heapq.merge(*streams, key=_time):
        target.mux(packet)


def _time(packet: Packet[Any]) -> Fraction:
    time = packet.dts if packet.dts is not None else packet.pts
    return Fraction(0) if time is None or packet.time_base is None else time * packet.time_base


def _copied(source: InputContainer, stream: VideoStream, to: VideoStream) -> Iterator[Packet[Any]]:
    """The packets of a stream, for another container; the first picture comes at 0."""
    first = stream.start_time or 0
    for packet in source.demux(stream):
        if packet.size == 0:
            continue  # the end
        if packet.pts is not None:
            packet.pts -= first
        if packet.dts is not None:
            packet.dts -= first
        packet.stream = to
        yield packet


def _encoded(stream: AudioStream, samples: npt.NDArray[np.float32], sample_rate: int) -> Iterator[Packet[Any]]:
    import av

    for start in range(0, len(samples), _BLOCK):
        block = np.ascontiguousarray(samples[None, start : start + _BLOCK].clip(-1.0, 1.0), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)
