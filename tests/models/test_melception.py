"""Melception equals the reference at every tap of the golden case; its other configurations are sound."""

import pytest
import torch
from parity import arrays, fill, largest_difference, made, numbers, summary
from torch import nn

from specvq_codec.models.melception import Melception, MelceptionConfig

GOLDEN = numbers("classifiers")["inception"]
KEYS = {key: shape for key, shape in GOLDEN["keys"].items() if not key.startswith("AuxLogits.")}
TINY = MelceptionConfig(num_classes=5, width=1 / 16, max_pools=True)
UNPOOLED = MelceptionConfig(num_classes=5, width=1 / 16)


@pytest.fixture(scope="module")
def ran():
    """Taps and both kinds of logits of the full-size network."""
    with torch.device("meta"):
        model = Melception(MelceptionConfig())
    filled = {}
    for name, shape in KEYS.items():
        values = fill.fill(name, tuple(shape), 0, GOLDEN["overrides"])
        filled[name] = torch.tensor(0) if values is None else torch.from_numpy(values)
    model.load_state_dict(filled, assign=True)  # also proves that names are the reference's
    statistics = {name: arrays("classifiers")[name] for name in ("train_means", "train_stds")}
    x = made(GOLDEN["input"], **statistics)[None]
    with torch.inference_mode():
        taps = model.eval().taps(x)
        found = {str(depth): tap[0] for depth, tap in taps.items()}
        found["logits"] = model.logits(taps[2048])[0]
        found["logits_unbiased"] = model.unbiased_logits(taps[2048])[0]
    return found


def test_names_and_shapes_are_the_reference_s():
    with torch.device("meta"):
        model = Melception(MelceptionConfig())
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == KEYS


def test_all_taps_and_logits_equal_the_reference(ran):
    assert set(ran) == set(GOLDEN["taps"])
    for name, given in GOLDEN["taps"].items():
        assert largest_difference(ran[name], arrays("classifiers")[f"inception.{name}"]) < (
            4 * given["float32_vs_float64"]
        ), name
        for key, value in summary(ran[name]).items():
            assert value == pytest.approx(given[key], rel=1e-5, abs=1e-5), (name, key)


@pytest.mark.parametrize("config", [TINY, UNPOOLED], ids=["pooled", "unpooled"])
def test_shapes(config):
    torch.manual_seed(0)
    model = Melception(config).eval()
    x = torch.randn(2, 1, 80, config.min_frames)
    taps = model.taps(x)
    assert {depth: tuple(tap.shape) for depth, tap in taps.items()} == {
        depth: (2, depth // 16) for depth in (64, 192, 768, 2048)
    }
    assert all((tap >= 0).all() for tap in taps.values())
    hidden = model.hidden(x)
    assert torch.equal(hidden, taps[2048])
    assert torch.equal(model(x), model.logits(hidden))
    torch.testing.assert_close(model.logits(hidden) - model.unbiased_logits(hidden), model.fc.bias.expand(2, -1))
    with pytest.raises(RuntimeError):
        model(x[..., :-1])


def test_max_pools_alone_change_neither_names_nor_shapes():
    one, other = (Melception(config).state_dict() for config in (TINY, UNPOOLED))
    assert {key: tensor.shape for key, tensor in one.items()} == {key: tensor.shape for key, tensor in other.items()}


def test_a_spectrogram_s_verdict_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    model = Melception(TINY).eval()
    x = torch.randn(3, 1, 80, 100)
    torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]), rtol=1e-5, atol=1e-6)


def test_it_learns_everywhere():
    """Every weight has a gradient: no branch is left out."""
    torch.manual_seed(0)
    model = Melception(TINY)
    model(torch.randn(4, 1, 80, 120)).square().sum().backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []
    assert not any(isinstance(layer, nn.Dropout) for layer in model.modules())  # none has a name in the state dict


def test_dropout_is_for_training_alone():
    torch.manual_seed(0)
    model = Melception(TINY)
    hidden = torch.rand(1, 128)
    assert not torch.equal(model.logits(hidden), model.logits(hidden))
    model.eval()
    assert torch.equal(model.logits(hidden), model.logits(hidden))


@pytest.mark.parametrize("settings", [{"width": 0.0}, {"width": 0.01}, {"width": 5.0}, {"num_classes": 0}], ids=str)
def test_impossible_configurations(settings):
    with pytest.raises(ValueError):
        MelceptionConfig(**settings)
