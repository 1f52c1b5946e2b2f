"""Video clips out: the pictures of a clip as they are, with another sound."""

from __future__ import annotations

import heapq
import io
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
from .video import import_av, open_video, packets, reason_of

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

__all__ = ["check_pictures", "replace_sound"]

# Suffix -> FFmpeg's format, the codec of the sound, and the rate that this codec needs, in Hz; 0: any.
_FORMATS = {
    ".mp4": ("mp4", "aac", 0),
    ".m4v": ("mp4", "aac", 0),
    ".mov": ("mov", "aac", 0),
    ".mkv": ("matroska", "aac", 0),
    ".webm": ("webm", "libopus", 48_000),
}
_REORDERED = ("h264", "hevc")  # whose times FFmpeg does not find out where a container, AVI, does not tell them
_ANY_RATE = 48_000  # Hz, that every codec of sound takes
_BLOCK = 4096  # samples encoded at a time


def _check_suffix(path: str | PathLike[str]) -> None:
    """Raise UsageError if the suffix stands for no format that can be written."""
    if Path(path).suffix.lower() not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise UsageError(f"{fspath(path)} does not end in the suffix of a video that can be written: use {known}.")


def check_pictures(video: str | PathLike[str], out: str | PathLike[str]) -> None:
    """Raise what `replace_sound` would, if a clip's pictures cannot go into a file; for sound that takes long to make.

    What is told only by the whole clip, such as damage, is not found out.
    """
    _check_suffix(out)
    with open_video(video) as (source, stream), _new_container(io.BytesIO(), out) as target:
        _begun(target, source, stream, video, out, _ANY_RATE)


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
        UsageError: the suffix is another, the format cannot hold the clip's pictures, the clip does not tell when
            they are shown, or `out` cannot be written to.
        SpecVQError: the clip cannot be read, or is damaged.
    """
    av = import_av()
    _check_suffix(out)
    with ExitStack() as stack:
        source, stream = stack.enter_context(open_video(video))
        temporary = stack.enter_context(output_file(out, force))
        target = stack.enter_context(_new_container(f"file:{temporary}", out))
        pictures, sound = _begun(target, source, stream, video, out, sample_rate)
        try:
            _mux(target, _copied(source, stream, pictures), _encoded(sound, samples, sample_rate))
        except av.error.FFmpegError as error:
            raise SpecVQError(
                f"{fspath(video)} could not be copied ({reason_of(error)}): convert it to .mp4 first."
            ) from error


def _new_container(file: str | io.BytesIO, out: str | PathLike[str]) -> OutputContainer:
    """A container of the format that the suffix of `out` stands for, which is written to `file`."""
    container: OutputContainer = import_av().open(file, "w", format=_FORMATS[Path(out).suffix.lower()][0])
    return container


def _begun(
    target: OutputContainer,
    source: InputContainer,
    stream: VideoStream,
    video: str | PathLike[str],
    out: str | PathLike[str],
    sample_rate: int,
) -> tuple[VideoStream, AudioStream]:
    """The streams of pictures and sound of a container whose beginning is written."""
    av = import_av()
    codec = stream.codec_context
    if source.format.name == "avi" and codec.name in _REORDERED and codec.has_b_frames:
        raise UsageError(
            f"{fspath(video)} does not tell when its pictures are shown ({codec.name} with B-frames in AVI): "
            "convert it to .mp4 first."
        )
    _, sound_codec, rate = _FORMATS[Path(out).suffix.lower()]
    try:
        pictures = target.add_stream_from_template(stream)
        sound: Any = target.add_stream(sound_codec, rate=rate or sample_rate, layout="mono")
        target.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        raise UsageError(
            f"{fspath(out)} cannot hold the pictures of {fspath(video)}, which are {codec.name} "
            f"({reason_of(error)}): use .mkv, or convert the clip to .mp4 first."
        ) from error
    return pictures, sound


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
    for packet in packets(source, stream):
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
