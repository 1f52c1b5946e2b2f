"""Sounds for the tests of reading them."""

import io

import numpy as np
import soundfile


def tone(num_samples: int, rate: int, channels: int = 1) -> np.ndarray:
    """A mixture of tones below 3 kHz and a little noise, of shape (num_samples, channels)."""
    time = np.arange(num_samples)[:, None] / rate
    noise = 0.01 * np.random.default_rng(num_samples).standard_normal((num_samples, channels))
    return (
        0.3 * np.sin(2 * np.pi * 440 * time * (1 + np.arange(channels))) + 0.1 * np.sin(2 * np.pi * 2900 * time) + noise
    )


def whole(stream) -> np.ndarray:
    return np.concatenate(list(stream))


def wav_bytes(samples, rate=44100, **options) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **({"format": "WAV"} | options))
    return buffer.getvalue()
