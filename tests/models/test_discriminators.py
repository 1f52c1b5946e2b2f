"""The discriminators equal the reference layer by layer, in evaluation and while they train."""

import pytest
import torch
from parity import arrays, filled, largest_difference, made, numbers, plain_weights, summary

from specvq_codec.models.discriminators import PatchConfig, PatchDiscriminator, ScaleConfig, ScaleDiscriminators

PATCH = numbers("loss")["discriminator"]
SCALES = numbers("melgan")["discriminator"]


def patch_discriminator() -> PatchDiscriminator:
    """The filled network of the golden case."""
    model = PatchDiscriminator(PatchConfig())
    started = model.state_dict()
    fillable = filled(PATCH["keys"], PATCH["overrides"])
    model.load_state_dict({key: started[key] if value is None else value.clone() for key, value in fillable.items()})
    return model


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_patches(mode):
    # in float64, since processors round differently: in float32 some are beyond the bound, and the reference within
    model = patch_discriminator().train(mode == "train").double()
    with torch.no_grad():
        logits = model(made(PATCH["input"]).double())
    assert list(logits.shape) == PATCH[f"{mode}_logits"]["shape"]
    difference = largest_difference(logits[:, 0], arrays("loss")[f"discriminator.{mode}_logits"])
    assert difference < 4 * PATCH["float32_vs_float64"]
    for key, value in summary(logits).items():
        assert value == pytest.approx(PATCH[f"{mode}_logits"][key], rel=1e-5, abs=1e-6), key
    model = patch_discriminator().train(mode == "train")
    with torch.no_grad():
        torch.testing.assert_close(model(made(PATCH["input"])), logits.float(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_smallest_spectrogram_gives_one_logit(layers):
    config = PatchConfig(2, layers)
    model, size = PatchDiscriminator(config), config.min_size
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 1, 1, 1)
    with pytest.raises(RuntimeError):
        model(torch.zeros(2, 1, size - 1, size))


@pytest.mark.parametrize("scales", [1, 3, 12])
def test_the_shortest_waveform_reaches_the_coarsest_scale(scales):
    config = ScaleConfig(scales, channels=4, layers=2, max_channels=16)
    model = ScaleDiscriminators(config)
    assert len(model(torch.zeros(1, 1, config.min_samples))) == scales
    with pytest.raises(RuntimeError):
        model(torch.zeros(1, 1, config.min_samples - 1))


def test_running_statistics_after_one_pass():
    model = patch_discriminator().train()
    model(made(PATCH["input"]))
    after = {key: value for key, value in arrays("loss").items() if ".after_one_train_pass." in key}
    assert len(after) == 6
    for key, golden in after.items():
        found = model.state_dict()[key.partition(".after_one_train_pass.")[2]]
        assert largest_difference(found, golden) < 1e-5, key


def test_features_at_every_scale():
    model = ScaleDiscriminators(ScaleConfig()).eval().requires_grad_(False)
    model.load_state_dict(plain_weights(filled(SCALES["keys"], SCALES.get("overrides", ()))))
    scales = model(made(SCALES["input"]))
    assert sum(map(len, scales)) == len(SCALES["features"]) == 21
    for i, features in enumerate(scales):
        for j, feature in enumerate(features):
            given = SCALES["features"][f"scale{i}.layer_{j}"]
            assert list(feature.shape) == given["shape"]
            for key, value in summary(feature).items():
                assert value == pytest.approx(given[key], rel=1e-5, abs=1e-6), (i, j, key)
        golden = arrays("melgan")[f"discriminator.scale{i}.logits"]
        assert largest_difference(features[-1][0], golden) < 4 * SCALES["float32_vs_float64"]


def test_other_shapes():
    scales = ScaleDiscriminators(ScaleConfig(scales=2, channels=8, layers=2, factor=2, max_channels=16))
    features = scales(torch.randn(3, 1, 256))
    assert [[tuple(feature.shape[1:]) for feature in scale] for scale in features] == [
        [(8, 256), (16, 128), (16, 64), (16, 64), (1, 64)],
        [(8, 128), (16, 64), (16, 32), (16, 32), (1, 32)],
    ]
    assert len(scales(torch.randn(1, 1, 16))) == 2  # the shortest waveform
    assert PatchDiscriminator(PatchConfig(channels=4, layers=1))(torch.randn(2, 1, 80, 32)).shape == (2, 1, 38, 14)


@pytest.mark.parametrize("wrong", [{"channels": 6}, {"max_channels": 40}, {"scales": 0}, {"factor": 0}])
def test_shapes_that_make_no_network(wrong):
    with pytest.raises(ValueError, match="max_channels"):
        ScaleConfig(**wrong)
