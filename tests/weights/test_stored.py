"""Tensors in fewer bits: what comes back, how near it is, and damage that is noticed."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load_file, save_file
from sampler_cases import FEATURES, TINY, tiny

from specvq_codec import Codec, UsageError, WeightsError
from specvq_codec.models.int8 import is_available, to_int8
from specvq_codec.models.transformer import TransformerConfig
from specvq_codec.weights import add_sampler, load_bundle
from specvq_codec.weights.stored import checked_precision, reduced, restored

NUMBERS = st.floats(-1e6, 1e6, width=32)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=3), elements=NUMBERS))
def test_rows_come_back_but_for_half_a_step(weight):
    stored = reduced({"a.weight": weight}, "int8")
    assert stored["a.weight"].dtype == np.int8 and stored["a.weight.scale"].shape == weight.shape[:1]
    back = restored(stored)["a.weight"]
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    assert back.dtype == np.float32 and back.shape == weight.shape
    assert (np.abs(back - weight) <= largest / 127 * 0.5001 + 1e-36).all()


def network_tensors() -> dict[str, np.ndarray]:
    network = tiny(TransformerConfig(**TINY, **FEATURES, num_classes=5, optional=True))
    return {key: tensor.numpy() for key, tensor in network.state_dict().items()}


def test_what_has_rows_is_rounded_and_the_rest_is_halved():
    tensors = network_tensors()
    stored = reduced(tensors, "int8")
    rounded = {key for key, tensor in stored.items() if tensor.dtype == np.int8}
    assert {"head.weight", "tok_emb.weight", "feat_embedder.weight", "blocks.2.mlp.0.weight"} < rounded
    kinds = {str(stored[key].dtype) for key in tensors.keys() - rounded}
    assert kinds == {"float16"} and "pos_emb" not in rounded and "ln_f.weight" not in rounded
    assert restored(stored).keys() == tensors.keys()
    for precision in ("float32", "float16"):
        plain = reduced(tensors, precision)
        assert plain.keys() == tensors.keys() and {str(one.dtype) for one in plain.values()} == {precision}
        assert all(restored(plain)[key] is plain[key] for key in plain)


def test_a_large_matrix_takes_a_quarter():
    tensors = {"a.weight": np.random.default_rng(0).standard_normal((64, 1024), dtype=np.float32)}
    sizes = {name: sum(one.nbytes for one in reduced(tensors, name).values()) for name in ("float32", "int8")}
    assert sizes["int8"] == sizes["float32"] // 4 + 4 * 64


def test_storing_again_changes_nothing():
    stored = reduced(network_tensors(), "int8")
    again = reduced({key: tensor.astype(np.float32) for key, tensor in restored(stored).items()}, "int8")
    assert stored.keys() == again.keys()
    for key, tensor in stored.items():
        if tensor.dtype == np.float32:
            np.testing.assert_allclose(again[key], tensor, rtol=2e-7)
        else:
            assert np.array_equal(again[key], tensor)


@pytest.mark.skipif(not is_available(), reason="this processor has no product of 8-bit integers")
@torch.inference_mode()
def test_computing_in_8_bits_rounds_nothing_that_was_stored_in_8_bits():
    network, tokens = tiny(TransformerConfig(**TINY)), torch.arange(30)[None]
    stored = reduced({key: tensor.numpy() for key, tensor in network.state_dict().items()}, "int8")
    back = {key: torch.from_numpy(tensor).float() for key, tensor in restored(stored).items()}
    network.load_state_dict(back)
    exact = network(tokens)
    assert (to_int8(network)(tokens) - exact).abs().max() < 5e-3 * exact.abs().max()


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize(("key", "value"), [("a.bias", 1e6), ("a.bias", np.nan), ("a.weight", np.inf)])
def test_numbers_that_cannot_be_stored_are_named(precision, key, value):
    tensors = {"a.weight": np.ones((2, 2), np.float32), "a.bias": np.ones(2, np.float32)}
    tensors[key].flat[0] = value
    with pytest.raises(WeightsError, match=f"Too large for {precision} are {key}"):
        reduced(tensors, precision)


def test_precisions_have_names():
    assert checked_precision("int8") == "int8"
    with pytest.raises(UsageError, match="float32, float16, int8, not in 'int4'"):
        checked_precision("int4")


@pytest.fixture
def copy(sampler_bundle, tmp_path):
    bundle = load_bundle(shutil.copytree(sampler_bundle.path, tmp_path / "copy"))
    return add_sampler(bundle, bundle.sampler, reduced(bundle.tensors("sampler"), "int8"))


def test_a_bundle_holds_a_sampler_of_int8(copy, sampler_bundle):
    exact, codec = Codec(sampler_bundle, "cpu"), Codec(copy, "cpu")
    size = (copy.path / "sampler.safetensors").stat().st_size
    assert size < (sampler_bundle.path / "sampler.safetensors").stat().st_size / 2  # rows of 16 numbers, each a scale
    tokens = torch.arange(30)[None]
    with torch.inference_mode():
        expected, found = (one.sampler(tokens).log_softmax(-1) for one in (exact, codec))
    assert 1e-6 < (expected.exp() * (expected - found)).sum(-1).mean() < 1e-2


KEY = "blocks.1.mlp.2.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{KEY}.scale": None}, f"is damaged .{KEY} has no scales"),
        ({f"{KEY}.scale": np.ones(15, np.float32)}, f"is damaged .{KEY} has no scales, or not one for each row"),
        ({f"{KEY}.scale": np.ones((16, 1), np.float32)}, "is damaged"),
        ({f"{KEY}.scale": np.ones(16, np.int32)}, "is damaged"),
        ({f"{KEY}.scale": np.full(16, np.nan, np.float32)}, f"{KEY} in the sampler of .* is not finite"),
        ({KEY: None}, f"{KEY}.* is missing, unknown or of the wrong shape"),
        ({KEY: np.ones((16, 64), np.float32)}, f"{KEY}.scale .* is missing, unknown or of the wrong shape"),
        ({KEY: np.ones((16, 63), np.int8)}, f"{KEY} .* of the wrong shape"),
        ({KEY: np.array(1, np.int8)}, "is damaged"),
        ({"pos_emb": np.ones((1, 31, 16), np.int8)}, "is damaged .pos_emb has no scales"),
    ],
    ids=str,
)
def test_damage_is_named(copy, change, message):
    path = copy.path / "sampler.safetensors"
    tensors = load_file(path) | change
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, path)
    with pytest.raises(WeightsError, match=message):
        _ = Codec(copy, "cpu").sampler
