"""Synthesise the example sound, ten varied seconds: `python examples/make_example.py [OUT]`.

It needs numpy to compute and soundfile to write, is the same each time, and is nobody's recording.
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

RATE = 44_100  # Hz
SECONDS = 10
PEAK = 10 ** (-3 / 20)  # -3 dB below full scale

Samples = npt.NDArray[np.float64]


def clock(seconds: float) -> Samples:
    """Times of the samples in seconds, from 0."""
    return np.arange(round(seconds * RATE)) / RATE


def noise(rng: np.random.Generator, seconds: float, low: float, high: float) -> Samples:
    """Noise in a band from `low` to `high` Hz with soft edges, of standard deviation 1."""
    white = rng.uniform(-1, 1, round(seconds * RATE))
    frequency = np.fft.rfftfreq(len(white), 1 / RATE)
    shape = 1 / (1 + (low / np.maximum(frequency, 1)) ** 4) / (1 + (frequency / high) ** 4)
    shaped = np.fft.irfft(np.fft.rfft(white) * shape, len(white))
    return shaped / shaped.std()


def faded(sound: Samples, attack: float, release: float) -> Samples:
    """The sound with raised-cosine ramps of the given seconds at its ends."""
    for ramp, part in ((attack, slice(None)), (release, slice(None, None, -1))):
        length = round(ramp * RATE)
        sound[part][:length] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)
    return sound


def footsteps(rng: np.random.Generator) -> Samples:
    """Four steps on gravel: a thump, and a crunch of a few short grains."""
    sound = np.zeros(round(1.9 * RATE))
    for step in range(4):
        start = round((0.05 + 0.46 * step) * RATE)
        time = clock(0.3)
        thump = np.sin(2 * np.pi * 75 * time) * np.exp(-35 * time)
        crunch = (
            noise(rng, 0.3, 900, 5000)
            * np.exp(-14 * time)
            * (rng.uniform(0, 1, len(time) // 441 + 1) ** 3)[np.arange(len(time)) // 441]
        )
        sound[start : start + len(time)] += 0.7 * thump + 0.22 * crunch
    return sound


def bell() -> Samples:
    """A church bell: inharmonic partials that beat in pairs and die away, the high ones first."""
    time = clock(3.4)
    partials = ((0.5, 0.5), (1, 0.9), (1.19, 0.6), (1.5, 0.35), (2, 0.7), (2.74, 0.35), (3.76, 0.25), (5.4, 0.15))
    sound = np.zeros_like(time)
    for ratio, loudness in partials:
        pair = np.sin(2 * np.pi * 415 * ratio * time) + 0.6 * np.sin(2 * np.pi * (415 * ratio + 1.3) * time)
        sound += loudness * pair * np.exp(-time * (0.7 + 0.5 * ratio))
    return faded(sound, 0.002, 0.3)


def bird() -> Samples:
    """Three phrases of chirps that fall and rise between 2.5 and 7 kHz."""
    sound = np.zeros(round(1.8 * RATE))
    chirps = [(0.0, 3500, 6500), (0.12, 3500, 6500), (0.24, 3500, 6500), (0.6, 6800, 2600), (0.85, 6800, 2600)]
    chirps += [(1.2 + 0.055 * i, 4200 + 150 * i, 5200 + 150 * i) for i in range(9)]
    for start, first, last in chirps:
        time = clock(0.045 if start >= 1.2 else 0.1)
        frequency = first + (last - first) * (time / time[-1]) ** 2
        chirp = faded(np.sin(2 * np.pi * np.cumsum(frequency) / RATE), 0.01, 0.02)
        at = round(start * RATE)
        sound[at : at + len(chirp)] += chirp
    return sound


def guitar(rng: np.random.Generator) -> Samples:
    """A broken chord of plucked strings, each a delay line whose content is averaged with itself on every round."""
    sound = np.zeros(round(2.6 * RATE))
    for index, pitch in enumerate((110.0, 164.81, 220.0, 277.18, 329.63, 440.0)):
        line = rng.uniform(-1, 1, round(RATE / pitch))
        rounds = []
        for _ in range(int(2.6 * pitch)):
            rounds.append(line)
            line = 0.997 * (0.5 * line + 0.5 * np.roll(line, 1))
        string = np.concatenate(rounds)
        at = round(0.19 * index * RATE)
        string = string[: len(sound) - at]
        sound[at : at + len(string)] += string
    return faded(sound, 0.002, 0.5)


def voice(rng: np.random.Generator) -> Samples:
    """Vowels that glide into each other, between an s and a t: harmonics of a falling pitch under moving formants."""
    time = clock(1.5)
    points = np.array([0, 0.3, 0.6, 0.9, 1.2, 1.5])
    formants = np.array(  # Hz, of a, i, u, e, o, a
        [[730, 1090, 2440], [300, 2300, 3010], [300, 870, 2240], [530, 1840, 2480], [570, 840, 2410], [730, 1090, 2440]]
    )
    tracks = [np.interp(time, points, formants[:, i]) for i in range(3)]
    pitch = 150 - 35 * time / 1.5 + 4 * np.sin(2 * np.pi * 5 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = np.zeros_like(time)
    for harmonic in range(1, 33):
        gain = sum(
            weight / (1 + ((harmonic * pitch - track) / width) ** 2)
            for track, width, weight in zip(tracks, (70, 90, 130), (1.0, 0.6, 0.35), strict=True)
        )
        sound += gain * np.sin(harmonic * phase)
    sound = faded(sound * (0.75 + 0.25 * np.cos(2 * np.pi * 3.3 * time)), 0.04, 0.1)
    hiss = faded(noise(rng, 0.22, 5000, 11_000), 0.06, 0.05)
    burst = noise(rng, 0.06, 2500, 9000) * np.exp(-clock(0.06) * 70)
    return np.concatenate([0.35 * hiss, sound, np.zeros(2000), 0.6 * burst])


def rain(rng: np.random.Generator) -> Samples:
    """A shower: a bed of hiss, a few hundred drops, and one roll of thunder."""
    seconds = 2.6
    time = clock(seconds)
    sound = 0.25 * noise(rng, seconds, 1500, 9000)
    for _ in range(220):
        drop = clock(0.02)
        at = int(rng.uniform(0, len(time) - len(drop)))
        frequency = rng.uniform(1500, 7000)
        sound[at : at + len(drop)] += rng.uniform(0.2, 1.2) * np.sin(2 * np.pi * frequency * drop) * np.exp(-350 * drop)
    thunder = noise(rng, seconds, 30, 160) * np.exp(-(((time - 1.1) / 0.5) ** 2))
    return faded(sound + 0.9 * thunder, 0.5, 0.4)


def engine(rng: np.random.Generator) -> Samples:
    """An engine that revs up and falls back: uneven firing pulses, and a whine that follows them."""
    time = clock(2.2)
    speed = 28 + 62 * np.exp(-(((time - 1.1) / 0.5) ** 2))  # firings per second
    phase = np.cumsum(speed) / RATE
    pulses = sum(np.cos(2 * np.pi * k * phase + 0.7 * k * k) / k**0.8 for k in range(1, 40))
    uneven = 1 + 0.5 * np.cos(np.pi * phase)
    whine = 0.25 * np.sin(2 * np.pi * 17 * phase)
    return faded(0.5 * pulses * uneven + whine + 0.15 * noise(rng, 2.2, 300, 2500) * speed / 90, 0.15, 0.4)


def example() -> Samples:
    """The whole sound, of shape (441000,) in [-0.708, 0.708]."""
    rng = np.random.default_rng(20_211_017)
    parts = (  # start in seconds, peak, sound
        (0.0, 0.9, footsteps(rng)),
        (1.4, 0.7, bell()),
        (2.5, 0.45, bird()),
        (4.0, 0.7, guitar(rng)),
        (5.6, 0.8, voice(rng)),
        (6.7, 0.5, rain(rng)),
        (7.8, 0.85, engine(rng)),
    )
    mixed = 0.002 * noise(rng, SECONDS, 80, 6000)  # the air of a quiet place
    for start, peak, sound in parts:
        at = round(start * RATE)
        mixed[at : at + len(sound)] += peak * sound / np.abs(sound).max()
    return PEAK * mixed / np.abs(mixed).max()


def main() -> None:
    """Write the sound as 16-bit FLAC, or in the format that the suffix of the first argument stands for."""
    out = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("example.flac")
    soundfile.write(out, np.rint(example() * 2**15).astype(np.int16), RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
