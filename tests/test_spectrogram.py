"""The front end equals the reference's; Griffin-Lim gives a sound whose spectrogram is the given one."""

import numpy as np
import pytest
import torch
from parity import arrays, largest_difference, made, numbers

from specvq_codec import spectrogram
from specvq_codec.spectrogram import HOP_LENGTH, griffin_lim, log_mel, log_mel_frames, mel_filters, mel_magnitudes

GIVEN = numbers("mel")
CLIP = 220_500  # samples of the reference's clips: 10 s
KEPT = 860  # and the frames it keeps


def golden_wave(name: str) -> torch.Tensor:
    """A waveform as the reference prepares it: zeros after its end up to 10 s."""
    wave = made(GIVEN[name]["waveform"])
    return torch.nn.functional.pad(wave, (0, CLIP - wave.shape[0]))


def test_constants():
    given = GIVEN["parameters"]
    assert given["sample_rate"] == spectrogram.SAMPLE_RATE
    assert given["n_fft"] == spectrogram.N_FFT
    assert given["hop"] == HOP_LENGTH
    assert log_mel(torch.zeros(CLIP)).shape == (80, given["frames_before_trim"])


def test_mel_filters():
    assert largest_difference(mel_filters(), arrays("mel")["mel_basis"]) < 1e-8  # the largest entry is 0.025


@pytest.mark.parametrize("name", ["long", "short"])
# The reference transforms in float64. In float32 the transform's error, 1e-7 of the loudest bin, shows in quiet bins.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 5e-7), (torch.float32, 2e-5)])
def test_spectrograms(name, dtype, tolerance):
    given, stored = GIVEN[name], arrays("mel")[f"spec.{name}"]
    wave = golden_wave(name)
    np.testing.assert_allclose(
        wave[: len(given["waveform_every_5000th"]) * 5000 : 5000], given["waveform_every_5000th"], atol=1e-6
    )
    mel = log_mel(wave.to(dtype))[:, :KEPT]
    assert mel.dtype == dtype and list(mel.shape) == given["shape"]
    assert largest_difference(mel[:, : given["stored_columns"]], stored) < tolerance
    assert (mel[:, given["stored_columns"] :] == given["columns_beyond_are"]).all()
    assert mel.mean().item() == pytest.approx(given["mean"], abs=1e-6)
    assert mel.min().item() == pytest.approx(given["min"], abs=1e-5)
    assert mel.max().item() == pytest.approx(given["max"], abs=1e-6)


@pytest.mark.parametrize("name", ["long", "short"])
def test_the_reference_does_not_pad_with_zeros(name):
    """Constant padding, which newer librosa has as its default, gives other first frames: the tests can tell."""
    wave = golden_wave(name)
    padded_with_zeros = log_mel_frames(torch.nn.functional.pad(wave, (512, 512)))
    stored = arrays("mel")[f"spec.{name}.constant_pad_first3"]
    assert largest_difference(padded_with_zeros[:, :3], stored) < 2e-5
    difference = (log_mel(wave)[:, :2] - padded_with_zeros[:, :2]).abs().max().item()
    assert difference == pytest.approx(GIVEN[name]["new_librosa_default_pad_max_diff_first2"], abs=2e-5)


def test_batches_equal_single_waveforms():
    waves = torch.stack([golden_wave("long")[:5000], golden_wave("short")[:5000]])
    together = log_mel(waves[:, None])
    assert together.shape == (2, 1, 80, 1 + 5000 // HOP_LENGTH)
    assert torch.allclose(together[1, 0], log_mel(waves[1]), rtol=0, atol=1e-6)


def test_frames_within_the_waveform_are_those_of_the_whole():
    wave = golden_wave("long")[:20_000]
    inside = log_mel_frames(wave)
    assert inside.shape == (80, (20_000 - 1024) // HOP_LENGTH + 1)
    assert torch.allclose(inside, log_mel(wave)[:, 2 : 2 + inside.shape[1]], rtol=0, atol=1e-6)


def test_range_and_its_inverse():
    silence, roar = (
        log_mel(torch.zeros(2000)),
        log_mel(1e9 * torch.randn(2000, generator=torch.Generator().manual_seed(0))),
    )
    assert (silence == 0).all() and (roar <= 1).all() and roar.max() == 1
    assert torch.allclose(mel_magnitudes(torch.tensor([0.0, 0.8, 1.0])), torch.tensor([1e-4, 1.0, 10.0]))


def chirp(samples: int) -> torch.Tensor:
    time = torch.arange(samples, dtype=torch.float64) / spectrogram.SAMPLE_RATE
    length = samples / spectrogram.SAMPLE_RATE
    return (0.5 * torch.sin(2 * torch.pi * (200 * time + 2000 / length * time**2))).float()


def test_griffin_lim_gives_the_spectrogram_back():
    mel = log_mel(chirp(256 * 127))[None]  # (1, 80, 128)
    wave = griffin_lim(mel)
    assert wave.shape == (1, 256 * 128)
    assert torch.equal(wave, griffin_lim(mel))
    again = log_mel(wave)[..., :128]
    loud = mel > mel.amax(1, keepdim=True) - 0.3  # within 30 dB of the loudest band of each frame
    assert (again - mel)[loud].abs().mean() < 0.03  # 3 dB
    assert (again - mel)[..., 4:-4].abs().mean() < 0.05
    unguided = griffin_lim(mel, iterations=0)
    assert (log_mel(unguided)[..., :128] - mel)[loud].abs().mean() > 2 * (again - mel)[loud].abs().mean()


def test_griffin_lim_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    griffin_lim(torch.rand(1, 80, 2, generator=torch.Generator().manual_seed(0)), iterations=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 17])
def test_griffin_lim_of_short_spectrograms(frames):
    mel = torch.rand(2, 80, frames, generator=torch.Generator().manual_seed(0))
    wave = griffin_lim(mel, iterations=4)
    assert wave.shape == (2, 256 * frames)
    assert torch.isfinite(wave).all() and wave.abs().max() > 0


def test_griffin_lim_of_silence_is_quiet():
    assert griffin_lim(torch.zeros(1, 80, 20)).abs().max() < 1e-2


def test_griffin_lim_begins_like_what_came_before() -> None:
    """Pieces fit together: with the samples before, the overlap is near them; without, only magnitudes are alike."""
    time = torch.arange(22_050 * 4) / 22_050
    sound = 0.3 * torch.sin(2 * torch.pi * 440.0 * time)
    mel = spectrogram.log_mel(sound)[None, :, :320]
    first = spectrogram.griffin_lim(mel[..., :200])
    before = first[:, 168 * 256 :]  # the last 32 frames
    distance = {
        name: float((spectrogram.griffin_lim(mel[..., 168:], start)[:, : 28 * 256] - before[:, : 28 * 256]).norm())
        for name, start in (("with", before), ("without", None))
    }
    assert distance["with"] < 0.35 * distance["without"]


def test_own_inverse_equals_that_of_torch() -> None:
    spectrum = torch.complex(*torch.randn(2, 2, 41, 513, generator=torch.Generator().manual_seed(1)))
    ours = spectrogram._centred_istft(spectrum)
    theirs = torch.istft(spectrum.mT, 1024, 256, window=torch.hann_window(1024), length=40 * 256)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_gradients_pass_after_inference():
    mel_filters.cache_clear()
    with torch.inference_mode():
        log_mel(torch.ones(2000))
    waveform = torch.linspace(-1, 1, 2000).requires_grad_()
    log_mel(waveform).sum().backward()
    assert waveform.grad is not None and waveform.grad.abs().max() > 0
