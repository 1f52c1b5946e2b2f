"""Every measure on the example sound: itself is best, more noise is worse, and codecs are in between."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from specvq_codec import Codec
from specvq_codec.classifiers import default_classifier
from specvq_codec.evaluation.distributions import divergences, frechet_distance, kernel_distance
from specvq_codec.evaluation.external import external_codec
from specvq_codec.evaluation.folder import read_sound
from specvq_codec.evaluation.metrics import log_mel_l1, pesq, pesq_is_there, stft_distance, stoi, waveform_mel
from specvq_codec.evaluation.relevance import Verdict, verdict

EXAMPLE = Path(__file__).parents[2] / "examples" / "example.flac"
WINDOW = 86  # frames, a second
NOISY = {f"noise at {decibels} dB": 10 ** (decibels / 20) for decibels in (-40, -30, -20)}  # of the sound's level


@pytest.fixture(scope="module")
def original() -> torch.Tensor:
    return read_sound(EXAMPLE, 220_500)


@pytest.fixture(scope="module")
def sounds(original) -> dict[str, torch.Tensor]:
    """What became of it, by what did it; Opus where it is installed."""
    level, generator = original.std(), torch.Generator().manual_seed(0)
    noise = torch.randn(2, len(original), generator=generator)
    made = {"original": original} | {name: original + gain * level * noise[0] for name, gain in NOISY.items()}
    made["nothing but noise"] = level * noise[1]
    codec = Codec.from_pretrained(device="cpu")
    made["ours"] = torch.from_numpy(codec.decode(codec.encode(original.numpy())))
    if shutil.which("opusenc") and shutil.which("opusdec"):
        made["opus"] = torch.from_numpy(external_codec("opus-6k").round_trip(original.numpy()).sound)
    return made


@pytest.fixture(scope="module")
def verdicts(sounds) -> dict[str, Verdict]:
    def windows(sound: torch.Tensor) -> list[torch.Tensor]:
        return list(waveform_mel(sound).unfold(1, WINDOW, WINDOW // 2).movedim(1, 0))

    classifier = default_classifier()
    return {name: verdict(classifier, windows(sound)) for name, sound in sounds.items()}


def mkl(made: Verdict, real: Verdict) -> float:
    return float(divergences(real.probabilities, made.probabilities).mean())


DISTANCES = {
    "log-mel L1": log_mel_l1,
    "STFT": stft_distance,
    "-STOI": lambda made, real: -stoi(made, real),
    "FID": lambda made, real: frechet_distance(real.hidden, made.hidden),
    "KID": lambda made, real: kernel_distance(real.hidden, made.hidden)[0],
    "MKL": mkl,
}
JUDGED = ("FID", "KID", "MKL")


@pytest.fixture(scope="module", params=DISTANCES)
def distances(request, sounds, verdicts) -> tuple[str, dict[str, float]]:
    """The name of a measure, and how far every sound is from the original by it."""
    things = verdicts if request.param in JUDGED else sounds
    measure = DISTANCES[request.param]
    return request.param, {name: measure(thing, things["original"]) for name, thing in things.items()}


def test_more_noise_is_worse(distances):
    _, found = distances
    order = ["original", *NOISY, "nothing but noise"]
    assert sorted(order, key=found.__getitem__) == order and len({found[name] for name in order}) == len(order)


def test_codecs_are_between_the_original_and_noise(distances):
    """Whether Opus at 6 kbps or ours is nearer depends on what is asked.

    At that rate Opus keeps nothing above some kHz, which is a great distance between spectrograms, and to a classifier.
    What is intelligible is what lies below.
    """
    name, found = distances
    codecs = [codec for codec in ("opus", "ours") if codec in found]
    assert all(found["noise at -40 dB"] < found[codec] < found["nothing but noise"] for codec in codecs)
    nearest = codecs if name == "-STOI" else codecs[::-1]
    assert sorted(codecs, key=found.__getitem__) == nearest


def test_a_set_and_itself(verdicts):
    one = verdicts["original"]
    assert frechet_distance(one.hidden, one.hidden) == pytest.approx(0.0, abs=1e-9)
    assert -1e-6 * one.logits.shape[1] < mkl(one, one) <= 0.0  # for the 1e-6 that is added to what was made
    # unbiased: the mean kernel of a sound and another one is below that of a sound and itself
    kernel = (one.hidden.double() @ one.hidden.double().mT / one.hidden.shape[1] + 1) ** 3
    constant = 2 * (kernel.mean() - kernel.diagonal().mean()) / (len(kernel) - 1)
    assert kernel_distance(one.hidden, one.hidden) == (pytest.approx(float(constant)), None)


@pytest.mark.skipif(not pesq_is_there(), reason="pesq is not installed, which needs a C compiler")
def test_quality_of_speech_falls_with_noise(sounds, original):
    scores = [pesq(sounds[name], original) for name in ("original", *NOISY)]
    assert scores == sorted(scores, reverse=True) and len(set(np.round(scores, 2))) == len(scores)
    assert all(pesq(sounds[codec], original) < scores[1] for codec in ("opus", "ours") if codec in sounds)
