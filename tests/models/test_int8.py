"""8-bit weights: products are as exact as the weights, a row's do not depend on other rows, and logits stay near."""

import pytest
import torch
from parity import made
from sampler_cases import CASES, FEATURES, TINY, condition_of, small, tiny
from torch import nn

from specvq_codec.models.int8 import Int8Linear, is_available, to_int8
from specvq_codec.models.transformer import Condition, TransformerConfig
from specvq_codec.sampling import Sampling, generate

pytestmark = pytest.mark.skipif(not is_available(), reason="this processor has no product of 8-bit integers")

SMALL = [name for name in CASES if name.startswith("small.")]


def layer_of(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """What 8 bits leave of a matrix."""
    scale = weight.double().abs().amax(1, keepdim=True) / 127
    return (weight / scale).round() * scale


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 5), (64, 96), (1024, 33), (4096, 16)])
@torch.inference_mode()
def test_a_product_is_that_of_the_rounded_weights(inputs, outputs):
    random = torch.Generator().manual_seed(inputs)
    weight = torch.randn(outputs, inputs, generator=random) * torch.rand(outputs, 1, generator=random)
    bias = torch.randn(outputs, generator=random)
    x = torch.randn(2, 3, inputs, generator=random) * torch.tensor([1e-4, 1.0, 300.0])[:, None]
    found = Int8Linear(layer_of(weight, bias))(x)
    kept = rounded(weight)
    expected = x.double() @ kept.mT + bias
    half_a_step = x.abs().amax(2, keepdim=True).double() / 8192 / 2
    assert found.shape == (2, 3, outputs) and found.dtype == torch.float32
    assert ((found - expected).abs() <= half_a_step * kept.abs().sum(1) * (1 + 1e-4) + 1e-6 * expected.abs()).all()


@pytest.mark.parametrize("sign", [1, -1])
@torch.inference_mode()
def test_the_largest_sums_are_exact(sign):
    """Where processors add products in 16 bits, digits or weights of one more bit would saturate."""
    weight = torch.ones(4, 4096)
    weight[1::2] = -1
    for value in (1.0, 8191 / 8192, 4097 / 8192):
        x = torch.full((1, 4096), sign * value)
        x[0, 0] = sign
        expected = x.double() @ weight.double().mT
        torch.testing.assert_close(Int8Linear(layer_of(weight))(x).double(), expected, rtol=1e-6, atol=0)


@torch.inference_mode()
def test_zeros_have_products_too():
    bias = torch.tensor([1.0, -2.0])
    assert torch.equal(Int8Linear(layer_of(torch.randn(2, 3), bias))(torch.zeros(1, 3)), bias[None])
    assert torch.equal(Int8Linear(layer_of(torch.zeros(2, 3), bias))(torch.randn(1, 3)), bias[None])


@torch.inference_mode()
def test_a_row_does_not_depend_on_the_others():
    random = torch.Generator().manual_seed(0)
    layer = Int8Linear(*(layer_of(torch.randn(192, 256, generator=random)) for _ in range(3)))
    x = torch.randn(70, 256, generator=random) * torch.logspace(-3, 3, 70)[:, None]
    together = layer(x)
    for first, count in [(0, 1), (69, 1), (3, 2), (10, 7), (20, 33)]:
        assert torch.equal(layer(x[first : first + count]), together[first : first + count])


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_logits_stay_near_those_of_float32(name):
    tokens, condition = made(CASES[name]["tokens"]), condition_of(CASES[name])
    network = small(name)
    expected = network(tokens, condition).log_softmax(-1)
    found = to_int8(network)(tokens, condition).log_softmax(-1)
    divergence = (expected.exp() * (expected - found)).sum(-1)  # nats, of every index
    assert 1e-6 < divergence.mean() < 1e-4  # 7 bits would give four times as much as 8


KINDS = {
    "nothing": (TransformerConfig(**TINY), None),
    "both": (TransformerConfig(**TINY, **FEATURES, num_classes=5), Condition(torch.randn(1, 4, 7), torch.tensor([3]))),
}


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_cached_logits_equal_uncached_ones(kind):
    config, condition = KINDS[kind]
    network, tokens = to_int8(tiny(config)), torch.arange(60).reshape(2, 30) * 7 % 32
    whole = network(tokens, condition)[:, config.condition_length - 1 :]
    cache, logits = network.begin(condition, 2)
    pieces = [(0, 1), (1, 9), (9, 10), (10, 30)]
    stepwise = [logits, *(network.step(tokens[:, first:end], cache) for first, end in pieces)]
    for logits, place in zip(stepwise, [0, 1, 9, 10, 30], strict=True):
        # rounding of float32 can move an input to the next of its integers
        torch.testing.assert_close(logits, whole[:, place], rtol=1e-4, atol=5e-3)


def test_a_sample_depends_on_the_seed_and_its_number_alone():
    network = to_int8(tiny(TransformerConfig(**TINY)))
    five = generate(network, torch.arange(4).expand(5, -1), 42, Sampling(16, seed=3))
    for count in (1, 2, 3):
        assert torch.equal(generate(network, torch.arange(4).expand(count, -1), 42, Sampling(16, seed=3)), five[:count])
    assert len({tuple(row) for row in five.tolist()}) == 5
