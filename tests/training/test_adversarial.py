"""The adversarial losses equal the reference's on the golden cases, and are what their formulas say."""

import pytest
import torch
import torch.nn.functional as F
from parity import arrays, filled, made, numbers, plain_weights
from torch import nn

from specvq_codec.models.discriminators import PatchConfig, PatchDiscriminator, ScaleConfig, ScaleDiscriminators
from specvq_codec.training.adversarial import (
    adaptive_weight,
    feature_matching,
    frozen,
    hinge_discriminator,
    hinge_generator,
    logistic_discriminator,
)

VOCODER = numbers("melgan")
OBJECTIVE = numbers("loss")["objective"]


def test_losses_of_the_vocoder():
    model = ScaleDiscriminators(ScaleConfig()).eval().requires_grad_(False)
    model.load_state_dict(plain_weights(filled(VOCODER["discriminator"]["keys"])))
    real = model(made(VOCODER["discriminator"]["input"]))
    fake = model(torch.from_numpy(arrays("melgan")["generator.wave"])[:, None])
    golden = VOCODER["losses"]
    judged = sum(hinge_discriminator(one[-1], other[-1]) for one, other in zip(real, fake, strict=True))
    assert 2 * judged.item() == pytest.approx(golden["discriminator_hinge_sum_over_scales"], rel=1e-6)
    fooled = sum(hinge_generator(features[-1]) for features in fake)
    assert fooled.item() == pytest.approx(golden["generator_sum_over_scales"], rel=1e-5)
    assert feature_matching(real, fake).item() == pytest.approx(golden["feature_matching"], rel=1e-5)


def golden_case(mode):
    """A spectrogram, its reconstruction, the layer that made it, and the logits of both, as in the golden objective."""
    inputs = OBJECTIVE["inputs"]
    x, base = made(inputs["x"]), made(inputs["base"])
    last = made(inputs["last"]).clone().requires_grad_()
    reconstruction = x + 0.3 * F.conv2d(base, last, padding=1)
    judge = PatchDiscriminator(PatchConfig())
    started = judge.state_dict()
    shapes = {f"discriminator.{key}": shape for key, shape in numbers("loss")["discriminator"]["keys"].items()}
    weights = {key.partition(".")[2]: tensor for key, tensor in filled(shapes, OBJECTIVE["overrides"]).items()}
    judge.load_state_dict({key: started[key] if value is None else value.clone() for key, value in weights.items()})
    return x, reconstruction, last, judge.train(mode == "train")


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_adaptive_weight_and_hinge_of_the_codebook(mode):
    x, reconstruction, last, judge = golden_case(mode)
    golden = OBJECTIVE["cases"][f"no_perceptual/{mode}/step30001/optimizer0"]
    with frozen(judge):
        adversarial = hinge_generator(judge(reconstruction))
    distance = (x - reconstruction).abs().mean()
    weight = 0.8 * adaptive_weight(distance, adversarial, last)
    assert adversarial.item() == pytest.approx(golden["g_loss"], rel=1e-5)
    assert weight.item() == pytest.approx(golden["d_weight"], rel=1e-4)
    assert not weight.requires_grad
    (distance + weight * adversarial).backward()
    assert last.grad.norm().item() == pytest.approx(golden["grad_last_layer_l2"], rel=1e-4)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in judge.parameters())


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("variant", "loss"), [("official", hinge_discriminator), ("vanilla", logistic_discriminator)])
def test_losses_of_the_patch_discriminator(variant, loss, mode):
    x, reconstruction, _, judge = golden_case(mode)
    with torch.no_grad():
        judge(reconstruction)  # the generator's turn, which moves the running statistics while training
    value = loss(judge(x), judge(reconstruction.detach()))
    golden = OBJECTIVE["cases"][f"{variant}/{mode}/step30001/optimizer1"]
    assert value.item() == pytest.approx(golden["disc_loss"], rel=1e-5)
    value.backward()
    norm = torch.stack([parameter.grad.norm() for parameter in judge.parameters()]).norm()
    assert norm.item() == pytest.approx(golden["grad_discriminator_l2"], rel=1e-4)


def test_adaptive_weight_by_hand_and_its_limits():
    last = torch.tensor([3.0, 4.0], requires_grad=True)
    distance, adversarial = last.square().sum(), (last * torch.tensor([0.0, 2.0])).sum()  # pulls of 10 and 2
    assert adaptive_weight(distance, adversarial, last).item() == pytest.approx(10 / 2.0001)
    assert adaptive_weight(distance, adversarial, last, high=3.0) == 3
    assert adaptive_weight(distance, adversarial, last, low=7.0) == 7
    with torch.no_grad():
        assert adaptive_weight(last.sum(), last.sum(), last) == 0


def test_hinges_by_hand():
    real, fake = torch.tensor([[2.0, 0.5]]), torch.tensor([[-3.0, 0.0, 1.0]])
    assert hinge_discriminator(real, fake).item() == pytest.approx(0.5 * (0.5 / 2 + 3.0 / 3))
    assert hinge_generator(fake).item() == pytest.approx(2 / 3)


def test_features_of_equal_sounds_match_and_only_the_generated_ones_learn():
    real = [[torch.randn(1, 4, 8, requires_grad=True) for _ in range(7)]]
    assert feature_matching(real, real) == 0
    fake = [[torch.zeros(1, 4, 8, requires_grad=True) for _ in range(7)]]
    feature_matching(real, fake).backward()
    assert real[0][0].grad is None
    assert fake[0][0].grad is not None and fake[0][-1].grad is None


def test_frozen_modules_pass_gradients_and_keep_what_was_frozen():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    module[0].requires_grad_(False)
    x = torch.ones(1, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="stop"), frozen(module):
        module(x).sum().backward()
        assert x.grad is not None and module[1].weight.grad is None
        raise RuntimeError("stop")
    assert [parameter.requires_grad for parameter in module.parameters()] == [False, False, True, True]
