"""Draw and synthesise short videos in which one sees what sounds: `python examples/make_audiovisual.py OUT`.

Each clip lasts ten seconds and is grey and silent but for one to four events of one kind: a ball bounces, a lamp
flashes, a hammer hits an anvil, a drop falls into water, a drum is struck, a string is plucked, a horn is blown, an
engine turns faster. When an event comes, how high and how strong it sounds can be heard and seen; between events
nothing tells the kind, so that a single frame of a clip often shows nothing. A clip follows from the seed and its
number alone. OUT gets, for each clip,

    SPLIT-NUMBER.mp4    64 x 64 pixels, 25 frames a second, with sound (needs PyAV)
    SPLIT-NUMBER.flac   the same sound, 22 050 Hz, as it was before the video's coding

and manifest.csv, which `specvq data pack` understands: path of the sound, split, label (the kind), and the events'
times in seconds, pitches and strengths, both in [0, 1], with spaces between them.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

RATE = 22_050  # Hz
SECONDS = 10.0
FRAME_RATE = 25
SIZE = 64  # pixels of a side
GAP = 1.5  # seconds between events, at least
FIRST, LAST = 0.7, 8.6  # when events may come, seconds
BEFORE, AFTER = 0.5, 1.1  # seconds around an event in which something of it is visible

Array = npt.NDArray[np.float64]

_Y, _X = ((np.mgrid[0:SIZE, 0:SIZE] + 0.5) / SIZE)[:, None]  # (1, SIZE, SIZE) each, from 0 at the top left to 1


class Event(NamedTuple):
    """Something that happens: when (s), and how high and how strong, both in [0, 1]."""

    time: float
    pitch: float
    strength: float


class Clip(NamedTuple):
    """What happens in a clip, its picture (frames, SIZE, SIZE), uint8, and its sound (samples,), int16."""

    label: str
    events: tuple[Event, ...]
    frames: npt.NDArray[np.uint8]
    samples: npt.NDArray[np.int16]


class Kind(NamedTuple):
    """A kind of event.

    Attributes:
        picture: seconds since the event (T, 1, 1), pitch and strength -> brightness (T, SIZE, SIZE), 0 to 1.
        sound: random numbers, pitch and strength -> samples from the event on.
    """

    picture: Callable[[Array, float, float], Array]
    sound: Callable[[np.random.Generator, float, float], Array]


def disc(x: Array | float, y: Array | float, radius: Array | float) -> Array:
    """A filled circle with an edge one pixel soft."""
    return ((radius - np.hypot(_X - x, _Y - y)) * SIZE + 0.5).clip(0, 1)


def ring(x: float, y: float, radius: Array, flatness: float = 1.0) -> Array:
    """A circle, or an ellipse that is `flatness` times as high as wide, three pixels thick."""
    return (2.0 - np.abs(radius - np.hypot(_X - x, (_Y - y) / flatness)) * SIZE).clip(0, 1)


def box(left: Array | float, right: Array | float, top: Array | float, bottom: Array | float) -> Array:
    """A filled rectangle with edges one pixel soft."""
    inside = np.minimum(np.minimum(_X - left, right - _X), np.minimum(_Y - top, bottom - _Y))
    return (inside * SIZE + 0.5).clip(0, 1)


def shown(time: Array, before: float, after: float) -> Array:
    """1 from `before` seconds before the event to `after` seconds after it, else 0."""
    return ((time >= -before) & (time < after)).astype(np.float64)


def octaves(low: float, pitch: float, span: float) -> float:
    """A frequency `span` octaves above `low` (Hz) at pitch 1."""
    return low * 2.0 ** (span * pitch)


def clock(seconds: float) -> Array:
    """Times of samples, from 0."""
    return np.arange(round(seconds * RATE)) / RATE


def loudness(strength: float) -> float:
    """Amplitude: 14 dB between the weakest and the strongest."""
    return 0.8 * 10.0 ** (-0.7 * (1.0 - strength))


def released(sound: Array, seconds: float = 0.03) -> Array:
    """The sound, whose last part fades out."""
    length = round(seconds * RATE)
    sound[-length:] *= np.linspace(1, 0, length)
    return sound


def ball_picture(time: Array, pitch: float, strength: float) -> Array:
    """Falls, the higher the stronger, and bounces; large balls sound low."""
    radius, floor = 0.19 - 0.11 * pitch, 0.92
    height = (0.25 + 0.5 * strength) * np.where(time < 0, 1 - (time / 0.5 + 1) ** 2, 0.7 * (1 - (time / 0.4 - 1) ** 2))
    brightness = np.where(time < 0, 1.0, 1 - time / 0.4)
    dust = 0.7 * box(0.05, 0.95, floor, 1.0) * strength * shown(time, 0, 0.12)
    return np.maximum(disc(0.5, floor - radius - height, radius) * brightness * shown(time, 0.5, 0.4), dust)


def ball_sound(rng: np.random.Generator, pitch: float, strength: float) -> Array:
    """A thump whose frequency falls."""
    time = clock(0.4)
    frequency = octaves(160, pitch, 1.6) * (0.75 + 0.25 * np.exp(-25 * time))
    return loudness(strength) * np.sin(2 * np.pi * np.cumsum(frequency) / RATE) * np.exp(-11 * time)


def lamp_picture(time: Array, pitch: float, strength: float) -> Array:
    """Flashes, the brighter the stronger; lamps further up sound higher."""
    return (0.3 + 0.7 * strength) * disc(0.5, 0.82 - 0.64 * pitch, 0.17) * shown(time, 0, 0.4)


def lamp_sound(rng: np.random.Generator, pitch: float, strength: float) -> Array:
    """A beep."""
    time = clock(0.4)
    return released(0.6 * loudness(strength) * np.sin(2 * np.pi * octaves(700, pitch, 2) * time))


def hammer_picture(time: Array, pitch: float, strength: float) -> Array:
    """Comes down on an anvil, wide ones sounding low, and strong blows strike more sparks."""
    half = 0.42 - 0.26 * pitch
    lift = 0.55 * np.where(time < 0, np.sin(-np.pi * time), 0.4 * np.sin(np.pi * time.clip(0, 0.5)))
    anvil = 0.35 * box(0.5 - half, 0.5 + half, 0.72, 0.95)
    head = 0.8 * box(0.38, 0.62, 0.52 - lift, 0.7 - lift)
    sparks = ring(0.5, 0.7, 0.08 + 1.2 * (0.4 + strength) * time.clip(0, None)) * shown(time, 0, 0.25)
    return np.maximum(np.maximum(anvil, head) * shown(time, 0.5, 0.6), sparks * (0.4 + 0.6 * strength))


def hammer_sound(rng: np.random.Generator, pitch: float, strength: float) -> Array:
    """A bar of metal: inharmonic partials, the high ones dying first."""
    time, low = clock(0.9), octaves(500, pitch, 1.3)
    partials = ((1.0, 1.0), (2.76, 0.8), (5.4, 0.5), (8.93, 0.25))
    ringing = sum(gain * np.sin(2 * np.pi * low * ratio * time) * np.exp(-4 * ratio**0.5 * time)
                  for ratio, gain in partials if low * ratio < RATE / 2)  # fmt: skip
    return released(0.4 * loudness(strength) * ringing)


def drop_picture(time: Array, pitch: float, strength: float) -> Array:
    """Falls onto water; large drops sound low, strong ones make wider rings."""
    surface = 0.3 * box(0.0, 1.0, 0.78, 0.81)
    fall = disc(0.5, 0.76 - 0.7 * (1 - (1 + time / 0.4).clip(0, 1) ** 2), 0.15 - 0.09 * pitch) * shown(time, 0.4, 0)
    rings = ring(0.5, 0.8, 0.05 + (0.3 + 0.9 * strength) * time.clip(0, None), 0.3) * shown(time, 0, 0.5)
    return np.maximum(np.maximum(surface * shown(time, 0.4, 0.5), fall), rings * (1 - time).clip(0, 1))


def drop_sound(rng: np.random.Generator, pitch: float, strength: float) -> Array:
    """A short tone that rises: a bubble that closes."""
    time = clock(0.18)
    frequency = octaves(900, pitch, 1.5) * (1 + 4 * time)
    return released(loudness(strength) * np.sin(2 * np.pi * np.cumsum(frequency) / RATE) * np.exp(-14 * time))


def drum_picture(time: Array, pitch: float, strength: float) -> Array:
    """A stick strikes a drum, wide ones sounding low; its head lights up the more, the stronger."""
    half = 0.45 - 0.25 * pitch
    body = 0.4 * box(0.5 - half, 0.5 + half, 0.55, 0.9)
    lift = (0.15 + 0.35 * strength) * (np.abs(time) / 0.3).clip(0, 1)
    stick = 0.8 * box(0.1, 0.7, 0.44 - lift, 0.5 - lift)
    head = (0.3 + 0.7 * strength) * box(0.5 - half, 0.5 + half, 0.5, 0.62) * np.exp(-6 * time.clip(0, None))
    return np.maximum(np.maximum(body, stick) * shown(time, 0.4, 0.5), head * shown(time, 0, 0.5))


def drum_sound(rng: np.random.Generator, pitch: float, strength: float) -> Array:
    """Noise that dies away over a short low tone."""
    time = clock(0.35)
    noise = np.convolve(rng.uniform(-1, 1, len(time)), np.hanning(round(12 - 8 * pitch)), "same")
    tone = np.sin(2 * np.pi * octaves(180, pitch, 1) * time)
    return released(loudness(strength) * (0.25 * noise * np.exp(-13 * time) + 0.4 * tone * np.exp(-20 * time)))


def string_picture(time: Array, pitch: float, strength: float) -> Array:
    """Is plucked, and swings the wider the stronger; short strings sound high."""
    half = 0.48 - 0.33 * pitch
    swing = (0.06 + 0.2 * strength) * np.exp(-3 * time.clip(0, None)) * shown(time, 0, 1.1)
    belly = swing * (1 - ((_X - 0.5) / half) ** 2).clip(0, None)
    line = ((belly + 0.025 - np.abs(_Y - 0.5)) * SIZE + 0.5).clip(0, 1) * box(0.5 - half, 0.5 + half, 0.0, 1.0)
    return (0.4 + 0.4 * shown(time, 0, 1.1)) * line * shown(time, 0.4, 1.1)


def string_sound(rng: np.random.Generator, pitch: float, strength: float) -> Array:
    """Harmonics that die the sooner the higher they are."""
    time, low = clock(1.0), octaves(220, pitch, 1.5)
    tones = sum(np.sin(2 * np.pi * low * n * time) * np.exp(-(1.5 + n) * time) / n**0.7 for n in range(1, 11))
    return released(0.35 * loudness(strength) * tones)


def horn_picture(time: Array, pitch: float, strength: float) -> Array:
    """A bar grows as long as the horn sounds; bars further up sound higher, and bright ones louder."""
    place = 0.8 - 0.6 * pitch
    return (0.3 + 0.7 * strength) * box(0.0, time / 0.9 + 0.1, place - 0.07, place + 0.07) * shown(time, 0, 0.9)


def horn_sound(rng: np.random.Generator, pitch: float, strength: float) -> Array:
    """A full harmonic tone."""
    time, low = clock(0.9), octaves(240, pitch, 1.2)
    tones = sum(np.sin(2 * np.pi * low * n * time) / n for n in range(1, 9))
    return released(0.4 * loudness(strength) * tones * (1 - np.exp(-60 * time)), 0.06)


def engine_picture(time: Array, pitch: float, strength: float) -> Array:
    """A wheel turns faster and faster; small ones sound high, bright ones loud."""
    radius, turned = 0.44 - 0.2 * pitch, 2 * np.pi * (0.5 * time + 1.2 * time**2)
    angle = np.arctan2(_Y - 0.5, _X - 0.5) - turned
    spokes = 0.5 + 0.5 * np.sign(np.sin(3 * angle))
    return (0.3 + 0.7 * strength) * disc(0.5, 0.5, radius) * spokes * shown(time, 0, 1.1)


def engine_sound(rng: np.random.Generator, pitch: float, strength: float) -> Array:
    """Noise in a low band that throbs faster and faster."""
    time = clock(1.1)
    strokes = 18 * (1 + 1.2 * time)  # a second
    beat = 0.65 + 0.35 * np.cos(2 * np.pi * np.cumsum(strokes) / RATE)
    rough = np.convolve(rng.uniform(-1, 1, len(time)), np.hanning(round(60 - 45 * pitch)), "same")
    return released(0.35 * loudness(strength) * beat * rough / rough.std(), 0.1)


KINDS = {
    "ball": Kind(ball_picture, ball_sound),
    "drop": Kind(drop_picture, drop_sound),
    "drum": Kind(drum_picture, drum_sound),
    "engine": Kind(engine_picture, engine_sound),
    "hammer": Kind(hammer_picture, hammer_sound),
    "horn": Kind(horn_picture, horn_sound),
    "lamp": Kind(lamp_picture, lamp_sound),
    "string": Kind(string_picture, string_sound),
}


def draw_events(rng: np.random.Generator) -> tuple[Event, ...]:
    """One to four events, at random times that are not too near to one another."""
    count = int(rng.integers(1, 5))
    times = FIRST + np.sort(rng.uniform(0, LAST - FIRST - (count - 1) * GAP, count)) + GAP * np.arange(count)
    return tuple(Event(float(time), *rng.uniform(0, 1, 2).tolist()) for time in times)


def make_clip(seed: int, number: int) -> Clip:
    """A clip; its kind goes round with its number."""
    label = list(KINDS)[number % len(KINDS)]
    rng = np.random.default_rng((seed, number))
    events = draw_events(rng)
    frames = np.zeros((round(SECONDS * FRAME_RATE), SIZE, SIZE))
    samples = np.zeros(round(SECONDS * RATE))
    clocks = np.arange(len(frames)) / FRAME_RATE
    for event in events:
        near = (clocks >= event.time - BEFORE) & (clocks < event.time + AFTER)
        time = (clocks[near] - event.time)[:, None, None]
        frames[near] = np.maximum(frames[near], KINDS[label].picture(time, event.pitch, event.strength))
        start = round(event.time * RATE)
        sound = KINDS[label].sound(rng, event.pitch, event.strength)[: len(samples) - start]
        samples[start : start + len(sound)] += sound
    return Clip(
        label,
        events,
        np.rint(127.5 * (1 + frames.clip(0, 1))).astype(np.uint8),
        np.rint(samples.clip(-1, 1) * 32767).astype(np.int16),
    )


def write_video(path: Path, clip: Clip) -> None:
    """Write picture and sound as an MP4 file."""
    import av

    with av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", FRAME_RATE, options={"crf": "18", "threads": "1"})
        picture.width, picture.height, picture.pix_fmt = SIZE, SIZE, "yuv420p"
        sound = file.add_stream("aac", RATE, layout="mono")
        for image in clip.frames:
            file.mux(picture.encode(av.VideoFrame.from_ndarray(image, "gray")))
        block = av.AudioFrame.from_ndarray(clip.samples[None], "s16", "mono")
        block.sample_rate = RATE
        file.mux(sound.encode(block))
        for stream in (picture, sound):
            file.mux(stream.encode(None))


def make_set(out: Path, counts: dict[str, int], seed: int) -> None:
    """Write so many clips of each split, and the manifest; clips that are there stay."""
    import soundfile

    out.mkdir(parents=True, exist_ok=True)
    rows = []
    number = 0
    for split, count in counts.items():
        for _ in range(count):
            path = out / f"{split}-{number:05d}.flac"
            clip = make_clip(seed, number)
            if not path.exists():
                write_video(path.with_suffix(".mp4"), clip)
                soundfile.write(path, clip.samples, RATE)
            columns = (" ".join(f"{value:.4f}" for value in values) for values in zip(*clip.events, strict=True))
            rows.append([path.name, split, clip.label, *columns])
            number += 1
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "label", "times", "pitches", "strengths"])
        writer.writerows(rows)


def main() -> None:
    """Make the set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the clips")
    parser.add_argument("--train", type=int, default=800, help="clips to train with")
    parser.add_argument("--valid", type=int, default=40)
    parser.add_argument("--test", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make_set(args.out, {split: getattr(args, split) for split in ("train", "valid", "test")}, args.seed)


if __name__ == "__main__":
    try:
        main()
    except ImportError as error:
        sys.exit(f"{error}: pip install -e '.[video]'")
