"""The sampler's network equals the reference on the golden cases, with a cache and without.

Tolerances are multiples of `float32_vs_float64`, the rounding error that the reference itself has.
"""

import numpy as np
import pytest
import torch
from parity import arrays, fill, largest_difference, made, summary
from sampler_cases import CASES, FEATURES, TINY, TWO_STAGE, condition_of, config_of, first_stage, small, tiny, two_stage
from torch.nn import functional as F

from specvq_codec.models.autoencoder import to_grid, to_sequence
from specvq_codec.models.transformer import Condition, Transformer, TransformerConfig
from specvq_codec.sampling import Sampling, probabilities

SMALL = [name for name in CASES if name.startswith("small.")]
FULL = [name for name in CASES if name.startswith("full.")]


def check_logits(name: str, logits: torch.Tensor) -> None:
    case = CASES[name]
    bound = 4 * case["float32_vs_float64"]
    assert list(logits.shape) == case["logits"]["shape"]
    assert largest_difference(logits[0, -5:], arrays("transformer")[f"{name}.logits_last5"]) < bound
    assert logits[0, -5:].argmax(1).tolist() == case["argmax_of_last_5"]
    for key, value in summary(logits).items():
        assert value == pytest.approx(case["logits"][key], rel=1e-6, abs=bound), key


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_logits_equal_the_reference(name):
    model, case = small(name), CASES[name]
    logits = model(made(case["tokens"]), condition_of(case))
    check_logits(name, logits)
    golden = arrays("transformer")[f"{name}.logits_every_16th"]
    assert largest_difference(logits[0, ::16], golden) < 4 * case["float32_vs_float64"]


@torch.inference_mode()
def test_the_full_size_network_equals_the_reference():
    """24 layers, 300 million weights, filled once: the two cases differ in their conditions and positions."""
    kept: dict[str, torch.Tensor] = {}
    for name in FULL:
        case = CASES[name]
        with torch.device("meta"):
            model = Transformer(config_of(case))
        for key, tensor in model.state_dict().items():
            if key not in kept or kept[key].shape != tensor.shape:
                kept[key] = torch.from_numpy(fill.fill(key, tuple(tensor.shape), 0))
        model.load_state_dict({key: kept[key] for key in model.state_dict()}, assign=True)
        check_logits(name, model.eval()(made(case["tokens"]), condition_of(case)))


@pytest.mark.parametrize("prefix", [0, 1, 7])
@torch.inference_mode()
def test_short_sequences_equal_the_reference(prefix):
    case = CASES["small.feats5"]
    golden = arrays("transformer")[f"small.feats5.prefix{prefix}.last_logits"]
    model, tokens = small("small.feats5"), made(case["tokens"])[:, :prefix]
    logits = model(tokens, condition_of(case))
    assert largest_difference(logits[0, -1], golden) < 4 * case["float32_vs_float64"]
    cache, logits = model.begin(condition_of(case), 1)
    if prefix:
        logits = model.step(tokens, cache)
    assert largest_difference(logits[0], golden) < 4 * case["float32_vs_float64"]


def test_the_two_stages_equal_the_reference():
    """Sound to tokens to loss to gradients."""
    golden = arrays("transformer")
    with torch.inference_mode():
        indices = first_stage().encode(made(TWO_STAGE["batch"]["image"])[:, None])
    tokens = to_sequence(indices).clone()
    assert np.array_equal(tokens.numpy(), golden["e2e.tokens"])
    assert torch.equal(to_sequence(to_grid(tokens)), tokens)
    model, condition = two_stage()
    logits = model(tokens[:, :-1], condition)[:, 4:]
    assert list(logits.shape) == TWO_STAGE["logits_shape"]
    assert largest_difference(logits[0, ::16], golden["e2e.logits_every_16th"]) < 1e-5
    loss = model.loss(tokens, condition)
    assert loss.item() == pytest.approx(TWO_STAGE["cross_entropy"], rel=1e-6)
    loss.backward()
    found = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    assert found.keys() == TWO_STAGE["gradient_l2"].keys()
    for name, value in TWO_STAGE["gradient_l2"].items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


@torch.inference_mode()
def test_top_k_probabilities_equal_the_reference():
    given = TWO_STAGE["top_k_probabilities"]
    model, condition = two_stage()
    tokens = torch.from_numpy(arrays("transformer")["e2e.tokens"][:, : given["prefix"]].astype(np.int64))
    found = probabilities(model(tokens, condition)[:, -1], Sampling(given["top_k"], given["temperature"]))
    golden = arrays("transformer")["e2e.top_k_probabilities"]
    assert np.array_equal(found[0].numpy() > 0, golden > 0)
    assert largest_difference(found[0], golden) < 1e-6


KINDS = {
    "nothing": (TransformerConfig(**TINY), None),
    "features": (TransformerConfig(**TINY, **FEATURES), Condition(features=torch.randn(1, 4, 7))),
    "class": (TransformerConfig(**TINY, num_classes=5), Condition(classes=torch.tensor([3]))),
    "both": (
        TransformerConfig(**TINY, **FEATURES, num_classes=5),
        Condition(torch.randn(3, 4, 7), torch.tensor([3, 0, 4])),
    ),
    "optional": (TransformerConfig(**TINY, **FEATURES, num_classes=5, optional=True), None),
}


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_cached_logits_equal_uncached_ones(kind):
    config, condition = KINDS[kind]
    model, tokens = tiny(config), torch.randint(32, (3, 30), generator=torch.Generator().manual_seed(1))
    whole = model(tokens, condition)[:, config.condition_length - 1 :]
    assert whole.shape == (3, 31, 32)
    cache, logits = model.begin(condition, 3)
    stepwise = [logits]
    for first, end in [(0, 1), (1, 2), (2, 9), (9, 10), (10, 30)]:
        logits = model.step(tokens[:, first:end], cache)
        stepwise.append(logits)
    assert cache.length == config.condition_length + 30
    for logits, place in zip(stepwise, [0, 1, 2, 9, 10, 30], strict=True):
        torch.testing.assert_close(logits, whole[:, place], rtol=1e-5, atol=1e-5)
    cache.length = config.condition_length  # another sequence after the same condition
    other = tokens.flip(1)[:, :8]
    expected = model(other, condition)[:, -1]
    torch.testing.assert_close(model.step(other, cache), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_later_indices_do_not_matter_and_every_parameter_does(kind):
    config, condition = KINDS[kind]
    model, tokens = tiny(config), torch.arange(30).repeat(3, 1)
    changed = tokens.clone()
    changed[:, 20] += 1
    logits, others = model(tokens, condition), model(changed, condition)
    assert torch.equal(logits[:, : config.condition_length + 20], others[:, : config.condition_length + 20])
    assert not torch.equal(logits[:, config.condition_length + 20 :], others[:, config.condition_length + 20 :])
    F.cross_entropy(logits.flatten(0, 1), torch.zeros(logits.shape[0] * logits.shape[1], dtype=torch.int64)).backward()
    unused = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    absent = {"feat_embedder.weight", "feat_embedder.bias", "cls_embedder.weight"} if kind == "optional" else set()
    assert unused == absent


@torch.inference_mode()
def test_each_condition_matters_where_it_is_given():
    model, tokens = tiny(KINDS["optional"][0]), torch.zeros(2, 3, dtype=torch.int64)
    features, classes = torch.randn(1, 4, 7), torch.tensor([1, 2])
    given = [None, Condition(features), Condition(None, classes), Condition(features, classes)]
    logits = [model(tokens, condition)[:, -1] for condition in given]
    for i, one in enumerate(logits):
        assert all(not torch.allclose(one, other) for other in logits[:i])
    assert torch.equal(logits[1][0], logits[1][1]) and not torch.allclose(logits[2][0], logits[2][1])


def test_conditions_are_left_out_of_single_samples():
    model, tokens = tiny(KINDS["optional"][0]), torch.arange(12).reshape(4, 3)
    features, classes = torch.randn(4, 4, 7), torch.tensor([1, 2, 3, 4])
    has_features, has_classes = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    mixed = model(tokens, Condition(features, classes, has_features, has_classes))
    for sample, (one, other) in enumerate(zip(has_features, has_classes, strict=True)):
        row = slice(sample, sample + 1)
        alone = Condition(features[row] if one else None, classes[row] if other else None)
        torch.testing.assert_close(mixed[row], model(tokens[row], alone), rtol=1e-5, atol=1e-5)
    mixed.square().mean().backward()  # all parameters take part, as training by several processes needs
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_dropout_is_for_training_alone():
    config = TransformerConfig(**TINY, dropout=0.3)
    model, plain, tokens = tiny(config), tiny(KINDS["nothing"][0]), torch.zeros(2, 9, dtype=torch.int64)
    assert torch.equal(model(tokens), plain(tokens))
    one, other = model.train()(tokens), model(tokens)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("kind", "condition", "message"),
    [
        ("nothing", Condition(features=torch.zeros(1, 4, 7)), "takes no features"),
        ("nothing", Condition(classes=torch.zeros(1, dtype=torch.int64)), "takes no class"),
        ("features", None, "needs features"),
        ("both", Condition(features=torch.zeros(1, 4, 7)), "needs class"),
        ("class", Condition(None, torch.zeros(1, dtype=torch.int64), None, torch.tensor([False])), "needs class"),
        ("features", Condition(features=torch.zeros(1, 5, 7)), r"must have the shape \(B, 4, 7\)"),
        ("class", Condition(classes=torch.zeros(1, 1, dtype=torch.int64)), r"must have the shape \(B, \)"),
    ],
)
def test_a_wrong_condition_is_refused(kind, condition, message):
    with pytest.raises(ValueError, match=message):
        tiny(KINDS[kind][0])(torch.zeros(1, 3, dtype=torch.int64), condition)


def test_a_sequence_that_is_too_long_is_refused():
    model = tiny(KINDS["nothing"][0])
    with pytest.raises(ValueError, match="longer than the window"):
        model(torch.zeros(1, 31, dtype=torch.int64))


@pytest.mark.parametrize(
    "change", [{"n_head": 3}, {"n_layer": 0}, {"feature_frames": 5}, {"num_classes": -1}, {"dropout": 1.0}]
)
def test_impossible_shapes_are_refused(change):
    with pytest.raises(ValueError, match=r"must be|need both"):
        TransformerConfig(**TINY | change)
