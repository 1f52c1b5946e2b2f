"""The quantiser: nearest vectors, loss and gradients as in the reference, and the straight-through estimate."""

import numpy as np
import pytest
import torch
from parity import arrays, filled, largest_difference, made, numbers

from specvq_codec.models.quantizer import VectorQuantizer

GIVEN = numbers("autoencoder")["cases"]["small"]["quantiser_gradients"]


@pytest.fixture
def quantizer() -> VectorQuantizer:
    model = VectorQuantizer(128, 64)
    vectors = filled({"quantize.embedding.weight": (128, 64)})
    model.load_state_dict({"embedding.weight": vectors["quantize.embedding.weight"]})
    return model


@pytest.fixture
def latents() -> torch.Tensor:
    return made(GIVEN["input"]).requires_grad_()


def test_loss_and_gradients(quantizer, latents):
    result = quantizer(latents, beta=GIVEN["beta"])
    assert np.array_equal(result.indices, arrays("autoencoder")["quantiser.indices"])
    assert result.loss.item() == pytest.approx(GIVEN["loss"], rel=1e-6)
    vectors = quantizer.lookup(result.indices).detach()
    squared_error = (vectors - latents).square().mean().item()
    assert squared_error == pytest.approx(GIVEN["mean_squared_error"], rel=1e-6)
    assert result.loss.item() / squared_error == pytest.approx(GIVEN["loss_over_mse"], rel=1e-6)

    result.loss.backward()
    stored = arrays("autoencoder")
    assert latents.grad is not None and quantizer.embedding.weight.grad is not None
    assert largest_difference(latents.grad[:, ::4], stored["quantiser.grad_z"]) < 1e-9  # gradients are about 2e-3
    norms = quantizer.embedding.weight.grad.norm(dim=1)
    assert largest_difference(norms, stored["quantiser.grad_codebook_norms"]) < 1e-8  # norms are up to 2e-3
    assert latents.grad.norm().item() == pytest.approx(GIVEN["grad_z_l2"], rel=1e-5)
    assert quantizer.embedding.weight.grad.norm().item() == pytest.approx(GIVEN["grad_codebook_l2"], rel=1e-5)
    # beta scales the codebook's term, and the latents' gradient is that of the plain commitment term
    expected = 2 * (latents - vectors) / latents.numel()
    assert torch.allclose(latents.grad, expected, rtol=0, atol=1e-9)


def test_gradients_pass_straight_through(quantizer, latents):
    result = quantizer(latents)
    weight = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    (result.straight * weight).sum().backward()
    assert torch.equal(latents.grad, weight)
    assert quantizer.embedding.weight.grad is None
    assert torch.allclose(result.straight, quantizer.lookup(result.indices), rtol=0, atol=1e-5)


def test_nearest_equals_an_exhaustive_search(quantizer, latents):
    distances = torch.cdist(latents.movedim(1, -1).double(), quantizer.embedding.weight.double())
    assert torch.equal(quantizer.nearest(latents), distances.argmin(-1))


def test_indices_to_vectors_to_indices(quantizer):
    indices = torch.arange(128).reshape(1, 4, 32)
    vectors = quantizer.lookup(indices)
    assert vectors.shape == (1, 64, 4, 32)
    assert torch.equal(quantizer.nearest(vectors), indices)


def test_stays_in_float32_under_autocast(quantizer, latents):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = quantizer(latents)
    assert result.straight.dtype == result.loss.dtype == torch.float32
    assert torch.equal(result.indices, quantizer(latents).indices)
