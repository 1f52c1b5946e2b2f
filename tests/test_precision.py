"""What a sampler computes in: what is asked for, or what pays."""

import pytest
import torch
from sampler_cases import TINY, tiny

from specvq_codec import Codec, UsageError
from specvq_codec.models.int8 import Int8Linear, is_available
from specvq_codec.models.transformer import TransformerConfig
from specvq_codec.precision import check_precision, with_precision
from specvq_codec.sampling import Sampling, generate

CPU, GPU = torch.device("cpu"), torch.device("cuda")
with_int8 = pytest.mark.skipif(not is_available(), reason="this processor has no product of 8-bit integers")


def network():
    return tiny(TransformerConfig(**TINY))


def is_int8(sampler) -> bool:
    return any(isinstance(module, Int8Linear) for module in sampler.modules())


@with_int8
def test_large_networks_take_8_bits_where_they_can(monkeypatch):
    assert not is_int8(with_precision(network(), "auto"))
    monkeypatch.setattr("specvq_codec.precision._LARGE", 1000)
    assert is_int8(with_precision(network(), "auto"))
    assert not is_int8(with_precision(network(), "float32"))
    monkeypatch.setattr("specvq_codec.precision.is_available", lambda: False)
    assert not is_int8(with_precision(network(), "auto"))


@with_int8
def test_a_codec_samples_in_its_precision(sampler_bundle):
    codecs = {name: Codec(sampler_bundle, "cpu", sampler_precision=name) for name in ("auto", "float32", "int8")}
    assert [is_int8(codec.sampler) for codec in codecs.values()] == [False, False, True]
    sounds = {name: codec.invent_codes(10.0, temperature=4.0).indices.tobytes() for name, codec in codecs.items()}
    assert sounds["auto"] == sounds["float32"] != sounds["int8"]


def test_bfloat16_samples_much_the_same():
    exact, half = network(), with_precision(network(), "bfloat16")
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    tokens = torch.arange(30)[None]
    with torch.inference_mode():
        expected, found = (one(tokens).float().log_softmax(-1) for one in (exact, half))
    assert 1e-6 < (expected.exp() * (expected - found)).sum(-1).mean() < 2e-2
    three = generate(half, tokens[:, :5].expand(3, -1), 40, Sampling(seed=1))
    assert three.shape == (3, 40) and torch.equal(generate(half, tokens[:, :5], 40, Sampling(seed=1)), three[:1])


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("int4", CPU, "no precision 'int4': use auto, float32, int8, bfloat16"),
        ("int8", GPU, "int8 is for the CPU, and the device is cuda"),
    ],
)
def test_what_there_is_not_is_refused(name, device, message):
    with pytest.raises(UsageError, match=message):
        check_precision(name, device)


def test_processors_without_8_bits_say_so(monkeypatch, sampler_bundle):
    monkeypatch.setattr("specvq_codec.precision.is_available", lambda: False)
    with pytest.raises(UsageError, match="cannot be used with this processor"):
        Codec(sampler_bundle, "cpu", sampler_precision="int8")
