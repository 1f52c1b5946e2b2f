"""The classifier equals the reference on the golden case; its other configurations are sound.

Tolerances are multiples of `float32_vs_float64`, the rounding error that the reference itself has.
"""

import numpy as np
import pytest
import torch
from parity import arrays, fill, largest_difference, made, numbers, observe, summary

from specvq_codec.models.vggishish import VGGish, VGGishConfig, fold_batch_norm

GOLDEN = numbers("classifiers")["vggish"]
SMALL = VGGishConfig(channels=(4, 8, 12), convs=(1, 2, 1), hidden=16, num_classes=5, pooled=(2, 3))
NORMED = VGGishConfig((4, 8, 12), (1, 2, 1), 16, 5, (2, 3), batch_norm=True, dropout=0.3)


@pytest.fixture(scope="module")
def ran():
    """Taps and logits of the full-size network, which is forgotten afterwards: it has 135 million weights."""
    with torch.device("meta"):
        model = VGGish(VGGishConfig())
    filled = {}
    for name, shape in GOLDEN["keys"].items():
        filled[name] = torch.from_numpy(fill.fill(name, tuple(shape), 0, GOLDEN["overrides"]))
    model.load_state_dict(filled, assign=True)  # also proves that names and shapes are the reference's
    statistics = {name: arrays("classifiers")[name] for name in ("train_means", "train_stds")}
    x = made(GOLDEN["input"], **statistics)[None]
    with (
        torch.inference_mode(),
        observe(model.eval(), list(GOLDEN["taps"]), lambda tap: (tap.shape, summary(tap))) as seen,
    ):
        logits = model(x)
    with torch.inference_mode():
        taps = [(tap.shape, summary(tap)) for tap in model.taps(x)]
    return seen, taps, logits


def test_logits_equal_the_reference(ran):
    _, _, logits = ran
    assert largest_difference(logits[0], arrays("classifiers")["vggish.logits"]) < 4 * GOLDEN["float32_vs_float64"]
    for key, value in summary(logits).items():
        assert value == pytest.approx(GOLDEN["logits"][key], rel=1e-5, abs=4e-5), key


def test_taps_equal_the_reference(ran):
    seen, taps, _ = ran
    assert len(taps) == len(GOLDEN["taps"]) == 5
    for tap, (name, given) in zip(taps, GOLDEN["taps"].items(), strict=True):
        for shape, found in (tap, seen[name]):
            assert list(shape) == given["shape"], name
            for key, value in found.items():
                assert value == pytest.approx(given[key], rel=1e-5, abs=1e-5), (name, key)


@pytest.mark.parametrize("config", [SMALL, NORMED], ids=["plain", "normed"])
@pytest.mark.parametrize("frames", [16, 37, 100])
def test_shapes(config, frames):
    torch.manual_seed(0)
    model, x = VGGish(config).eval(), torch.randn(2, 1, 80, frames)
    taps = model.taps(x)
    assert [tap.shape for tap in taps] == [(2, c, 80 // 2**i, frames // 2**i) for i, c in enumerate(config.channels)]
    assert all((tap >= 0).all() for tap in taps)
    assert torch.equal(taps[-1], model.features(x))
    assert model(x).shape == (2, 5)


def test_folded_batch_norm_computes_the_same():
    torch.manual_seed(0)
    model = VGGish(NORMED)
    for _ in range(3):
        model(torch.randn(4, 1, 80, 32) + 0.5)  # running averages move
    x = torch.randn(2, 1, 80, 48)
    model.eval()
    folded = fold_batch_norm(model)
    assert not folded.config.batch_norm
    assert set(folded.state_dict()) == set(VGGish(SMALL).state_dict())
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-5)
    for one, other in zip(folded.taps(x), model.taps(x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert fold_batch_norm(folded) is folded


def test_dropout_is_for_training_alone():
    torch.manual_seed(0)
    model, x = VGGish(NORMED).eval(), torch.randn(1, 1, 80, 32)
    assert torch.equal(model(x), model(x))
    model.classifier.train()
    model.training = True
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    "settings",
    [{"convs": (2, 2)}, {"convs": (2, 2, 0, 3, 3)}, {"dropout": 1.0}, {"channels": (), "convs": ()}],
    ids=str,
)
def test_impossible_configurations(settings):
    with pytest.raises(ValueError):
        VGGishConfig(**settings)


def test_summary_of_the_input():
    """The recipe with the statistics gives a standardised input: a mistake in it would hide in loose tolerances."""
    statistics = {name: arrays("classifiers")[name] for name in ("train_means", "train_stds")}
    x = made(GOLDEN["input"], **statistics)
    assert x.shape == (1, 80, 848)
    assert x.dtype == torch.float32
    assert np.isfinite(x.numpy()).all()
