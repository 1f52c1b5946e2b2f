"""Small videos, made with PyAV."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (48, 64)  # height and width


def grey(level: int) -> np.ndarray:
    """A picture (48, 64, 3) of one grey level."""
    return np.full((*SIZE, 3), level, np.uint8)


def write_video(
    path: Path | str,
    frames: Iterable[np.ndarray],
    times: Iterable[float] | None = None,
    codec: str = "ffv1",
    sound: np.ndarray | None = None,
    tick: Fraction = Fraction(1, 16_000),
) -> Path:
    """Write pictures (48, 64, 3) at their times in seconds, 25 a second if not given, and a sound at 22 050 Hz.

    ffv1 keeps every grey level as it is; mpeg4 and libx264 go into .mp4.
    """
    frames = list(frames)
    times = [number / 25 for number in range(len(frames))] if times is None else list(times)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        stream.codec_context.time_base = tick
        heard = None if sound is None else container.add_stream("pcm_s16le" if codec == "ffv1" else "aac", rate=22_050)
        for pixels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None) if frames else [])
        if heard is not None:
            samples = (sound * 32767).astype(np.int16)[None]
            block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            block.sample_rate = 22_050
            container.mux(heard.encode(block))
            container.mux(heard.encode(None))
    return Path(path)


def moving(count: int) -> list[np.ndarray]:
    """Pictures of a white bar that moves to the right."""
    frames = [grey(0) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame[:, 4 * number % 64 : 4 * number % 64 + 8] = 255
    return frames
