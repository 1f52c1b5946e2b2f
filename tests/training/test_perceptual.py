"""LPAPS equals the reference on the golden case, gradient included."""

import pytest
import torch
from parity import arrays, filled, largest_difference, made, numbers, summary

from specvq_codec.models.vggishish import VGGish, VGGishConfig
from specvq_codec.training.perceptual import LPAPS

GOLDEN = numbers("classifiers")["perceptual"]
SMALL = VGGishConfig(channels=(4, 8, 12, 8, 8), convs=(1, 1, 1, 1, 1), hidden=8, num_classes=5)


def golden_distance() -> LPAPS:
    """The reference's network, without linear layers, which play no part."""
    shapes = {name: shape for name, shape in GOLDEN["keys"].items() if not name.startswith("scaling_layer.")}
    tensors = filled(shapes, GOLDEN["overrides"])
    network = VGGish(VGGishConfig(hidden=1, num_classes=1))
    slices = {name: tensor for name, tensor in tensors.items() if name.startswith("net.slice")}
    network.features.load_state_dict({name.split(".", 2)[2]: tensor for name, tensor in slices.items()})
    weights = [tensors[f"lin{level}.model.1.weight"].flatten() for level in range(5)]
    assert len(slices) + len(weights) == len(shapes)
    means, stds = (torch.from_numpy(arrays("classifiers")[f"train_{name}"]) for name in ("means", "stds"))
    return LPAPS(network, means, stds, weights)


@pytest.fixture(scope="module")
def ran():
    """Distances at each level of the golden inputs, their sum, and the gradient by the second input.

    In memory layout NCHW, as the reference ran: rounding decides between equal maxima, and so the gradient.
    """
    distance = golden_distance()
    for parameter in distance.features.parameters():
        parameter.data = parameter.data.contiguous()
    x, y = (made(recipe) for recipe in GOLDEN["inputs"])
    y.requires_grad_()
    total = distance(x, y)
    total.sum().backward()
    with torch.no_grad():
        return (
            distance.per_level(x, y),
            total.detach(),
            y.grad,
            distance.features.taps((x - distance.mean) / distance.std),
        )


def test_distances(ran):
    levels, total, _, _ = ran
    assert list(total.shape) == GOLDEN["output_shape"]
    assert largest_difference(levels, arrays("classifiers")["perceptual.per_layer"]) < 1e-6
    assert largest_difference(total.flatten(), arrays("classifiers")["perceptual.distance"]) < 1e-6
    assert total.flatten().tolist() == pytest.approx(GOLDEN["distance"], rel=1e-5)


def test_taps(ran):
    for tap, (name, given) in zip(ran[3], GOLDEN["taps_of_first_input"].items(), strict=True):
        assert list(tap.shape) == given["shape"], name
        for key, value in summary(tap).items():
            assert value == pytest.approx(given[key], rel=1e-5), (name, key)


def test_gradient(ran):
    """In float64, since processors round differently, and rounding decides between nearly equal maxima.

    Where it decided otherwise for the reference, which ran in float32, a few numbers are others.
    """
    golden = torch.from_numpy(arrays("classifiers")["perceptual.grad_second_input_every_8th"]).double()
    distance = golden_distance().double()
    x, y = (made(recipe).double() for recipe in GOLDEN["inputs"])
    distance(x, y.requires_grad_()).sum().backward()
    difference = (y.grad[:, 0, ::8, ::8] - golden).abs()
    assert (difference < 1e-5 * golden.abs().max()).double().mean() > 0.96
    assert difference.norm() < 1e-3 * golden.norm()
    torch.testing.assert_close(ran[2].norm(), y.grad.norm().float(), rtol=1e-3, atol=0)
    assert (ran[2] - y.grad).norm() < 0.01 * y.grad.norm()


def test_layout_that_is_trained_with(ran):
    distance = golden_distance()
    x, y = (made(recipe) for recipe in GOLDEN["inputs"])
    y.requires_grad_()
    total = distance(x, y)
    total.sum().backward()
    torch.testing.assert_close(total.detach(), ran[1], rtol=1e-5, atol=0)
    assert (y.grad - ran[2]).norm() < 0.01 * ran[2].norm()


def test_distance_to_itself_is_zero():
    distance, x = small(), spectrograms()
    assert distance(x, x).tolist() == [[[[0.0]]]] * 3
    assert (distance(x, x.flip(0)) >= 0).all()


def small() -> LPAPS:
    torch.manual_seed(0)
    return LPAPS(VGGish(SMALL), torch.full((80,), 0.5), torch.full((80,), 0.1))


def spectrograms() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(3, 1, 80, 48) * 2 - 1


def test_grows_with_the_difference():
    distance, x = small(), spectrograms()
    noise = torch.randn_like(x)
    values = torch.stack([distance(x, x + level * noise).flatten() for level in (0.01, 0.05, 0.2)])
    assert (values.diff(dim=0) > 0).all()


def test_it_is_frozen_and_always_in_eval_mode():
    distance = small()
    assert not any(parameter.requires_grad for parameter in distance.parameters())
    outer = torch.nn.ModuleList([distance]).train()
    assert outer.training and not any(module.training for module in distance.modules())
    assert not any(key.startswith("classifier") for key in distance.state_dict())


def test_no_result_depends_on_the_batch():
    distance, x = small(), spectrograms()
    y = x.flip(0)
    alone = torch.cat([distance(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(distance(x, y), alone, rtol=1e-5, atol=1e-7)


def test_silence_has_a_gradient():
    """Where no feature is active, a root of a sum of squares would have none, and training would stop with a NaN."""
    distance = small()
    with torch.no_grad():
        for parameter in distance.features.parameters():
            parameter.mul_(0)
    x = spectrograms().requires_grad_()
    distance(x, torch.zeros_like(x)).sum().backward()
    assert x.grad.isfinite().all()


def test_distance_stays_precise_under_autocast():
    distance, x = small(), spectrograms()
    with torch.autocast("cpu", torch.bfloat16):
        rough = distance(x, x.flip(0))
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, distance(x, x.flip(0)), rtol=0.05, atol=1e-3)
