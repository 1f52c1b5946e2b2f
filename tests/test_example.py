"""The example sound in the repository is what its script makes."""

import runpy
from pathlib import Path

import numpy as np
import soundfile

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_script_reproduces_the_example():
    made = runpy.run_path(str(EXAMPLES / "make_example.py"))["example"]()
    committed, rate = soundfile.read(EXAMPLES / "example.flac", dtype="int16")
    assert rate == 44_100
    assert made.shape == committed.shape == (441_000,)
    # The last bit may differ between machines, whose sines differ in theirs.
    assert np.abs(np.rint(made * 2**15) - committed).max() <= 1
    assert np.abs(committed).max() == round(10 ** (-3 / 20) * 2**15)


def test_the_example_is_varied():
    """Neither its loudness nor its colour stays the same from one half second to the next."""
    samples, rate = soundfile.read(EXAMPLES / "example.flac")
    pieces = samples.reshape(20, rate // 2)
    power = np.abs(np.fft.rfft(pieces * np.hanning(rate // 2))) ** 2
    centroid = power @ np.fft.rfftfreq(rate // 2, 1 / rate) / power.sum(axis=1)
    level = 10 * np.log10((pieces**2).mean(axis=1))
    assert level.min() > -60
    assert np.ptp(level) > 10
    assert np.ptp(np.log2(centroid)) > 4  # octaves
