import math

import pytest
import torch

from specvq_codec.training.losses import RESOLUTIONS, multi_resolution_stft, stft_magnitudes
from specvq_codec.training.patches import assign, k_means, patches_of, principal_patches


def test_equal_waveforms_have_no_distance():
    waveform = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    assert multi_resolution_stft(waveform, waveform.clone()) == 0
    assert multi_resolution_stft(waveform, 0.9 * waveform) > 0.05


def test_half_the_amplitude_by_hand():
    """Convergence is |y - y/2| / |y| = 1/2, and all logarithms differ by log 2, so the sum is 1/2 + log 2."""
    target = 0.3 * torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0))
    assert multi_resolution_stft(target / 2, target).item() == pytest.approx(0.5 + math.log(2), abs=2e-3)


@pytest.mark.parametrize(("size", "hop"), RESOLUTIONS)
def test_a_full_scale_sinusoid_has_a_quarter_of_the_size(size, hop):
    waveform = torch.sin(2 * torch.pi * 32 / size * torch.arange(8 * size))[None]
    magnitudes = stft_magnitudes(waveform, size, hop)
    assert magnitudes.shape == (1, size // 2 + 1, 8 * size // hop + 1)
    assert magnitudes[0, 32, 8:-8].mean().item() == pytest.approx(size / 4, rel=1e-3)


def test_silence_has_a_finite_distance_and_gradient():
    estimate = torch.zeros(1, 4000, requires_grad=True)
    loss = multi_resolution_stft(estimate, torch.zeros(1, 4000))
    loss.backward()
    assert loss == 0
    assert torch.isfinite(estimate.grad).all()


def test_principal_patches_restore_what_they_span():
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(500, 5, generator=generator) @ torch.randn(5, 256, generator=generator)
    basis, scale = principal_patches(patches, 5)
    assert torch.allclose(basis @ basis.mT, torch.eye(5), atol=1e-4)
    coefficients = patches @ basis.mT
    assert torch.allclose(coefficients @ basis, patches, atol=1e-3)
    assert coefficients.square().mean().sqrt().item() == pytest.approx(scale, rel=1e-5)


def test_patches_are_cut_row_by_row():
    mel = torch.arange(80 * 32.0).reshape(1, 1, 80, 32)
    patches = patches_of(mel)
    assert patches.shape == (10, 256)
    assert torch.equal(patches[3].reshape(16, 16), mel[0, 0, 16:32, 16:])


def test_k_means_finds_clusters_apart():
    generator = torch.Generator().manual_seed(1)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = centres.repeat(50, 1) + 0.1 * torch.randn(150, 2, generator=generator)
    found = k_means(points, 3, 10, generator)
    nearest = assign(centres, found)
    assert sorted(nearest.tolist()) == [0, 1, 2]
    assert torch.allclose(found[nearest], centres, atol=0.1)
