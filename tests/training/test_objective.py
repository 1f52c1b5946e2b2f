"""The codebook's objective equals the reference's on the golden cases."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity import arrays, autoencoder, autoencoder_config, filled, largest_difference, made, numbers

from specvq_codec.models.autoencoder import Autoencoder
from specvq_codec.models.discriminators import PatchConfig, PatchDiscriminator
from specvq_codec.models.vggishish import VGGish, VGGishConfig
from specvq_codec.training.objective import ObjectiveConfig, generator_loss, judge_loss
from specvq_codec.training.perceptual import LPAPS

OBJECTIVE = numbers("loss")["objective"]
SETTINGS = {
    "official": {"adaptive": (1.0, 1.0)},
    "free_adaptive_weight": {},
    "no_perceptual": {"perceptual": 0.0},
    "vanilla": {"adaptive": (1.0, 1.0), "judge_loss": "logistic"},
}


def config_of(variant):
    official = {"perceptual": 1.0, "adversarial": 0.8, "adversary_from": 30001}
    return ObjectiveConfig(**{**official, **SETTINGS[variant]})


def golden_networks(overrides, prefix=""):
    """The perceptual distance and the judge with the weights of the golden objective."""
    keys = numbers("classifiers")["perceptual"]["keys"]
    shapes = {f"{prefix}perceptual_loss.{key}": shape for key, shape in keys.items() if not key.startswith("scaling")}
    tensors = {key.split("perceptual_loss.")[1]: tensor for key, tensor in filled(shapes, overrides).items()}
    network = VGGish(VGGishConfig(hidden=1, num_classes=1))
    slices = {key.split(".", 2)[2]: tensor for key, tensor in tensors.items() if key.startswith("net.")}
    network.features.load_state_dict(slices)
    weights = [tensors[f"lin{level}.model.1.weight"].flatten() for level in range(5)]
    means, stds = (torch.from_numpy(arrays("classifiers")[f"train_{name}"]) for name in ("means", "stds"))
    judge = PatchDiscriminator(PatchConfig())
    state = judge.state_dict()
    shapes = {f"{prefix}discriminator.{key}": value for key, value in numbers("loss")["discriminator"]["keys"].items()}
    for key, tensor in filled(shapes, overrides).items():
        if tensor is not None:
            state[key.split("discriminator.")[1]] = tensor.clone()
    judge.load_state_dict(state)
    distance = LPAPS(network, means, stds, weights)
    for parameter in distance.parameters():  # the reference's layout: rounding decides between equal maxima
        parameter.data = parameter.data.contiguous()
    return distance, judge


@pytest.fixture(scope="module")
def perceptual():
    return golden_networks(OBJECTIVE["overrides"])[0]


@pytest.mark.parametrize("step", [0, 30001])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("variant", SETTINGS)
def test_the_objective_before_and_after_the_judge_comes(perceptual, variant, mode, step):
    config, inputs = config_of(variant), OBJECTIVE["inputs"]
    judge = golden_networks(OBJECTIVE["overrides"])[1].train(mode == "train")
    mel = made(inputs["x"])
    last = made(inputs["last"]).clone().requires_grad_()
    decoded = mel + 0.3 * F.conv2d(made(inputs["base"]), last, padding=1)
    loss, shown = generator_loss(config, perceptual, judge, mel, decoded, last, step)
    loss.backward()
    golden = OBJECTIVE["cases"][f"{variant}/{mode}/step{step}/optimizer0"]
    assert loss.item() + inputs["codebook_loss"] == pytest.approx(golden["total"], rel=1e-5)
    assert last.grad.norm().item() == pytest.approx(golden["grad_last_layer_l2"], rel=1e-4)
    distance = 2 * shown["l1"] + shown.get("lpaps", 0.0)
    assert distance.item() == pytest.approx(golden["nll_loss"], rel=1e-5)
    if variant != "no_perceptual":
        assert shown["lpaps"].item() == pytest.approx(golden["p_loss"], rel=1e-5)
    assert ("judged" in shown) == (step > 0) == (golden["disc_factor"] == 1)
    if step > 0:
        assert shown["judged"].item() == pytest.approx(golden["g_loss"], rel=1e-4)
        assert shown["weight"].item() == pytest.approx(golden["d_weight"], rel=1e-4)

    judged, _ = judge_loss(config, judge, mel, decoded.detach(), step)
    judged.backward()
    golden = OBJECTIVE["cases"][f"{variant}/{mode}/step{step}/optimizer1"]
    assert judged.item() == pytest.approx(golden["total"], rel=1e-5)
    pull = torch.stack([parameter.grad.norm() for parameter in judge.parameters()]).norm()
    assert pull.item() == pytest.approx(golden["grad_discriminator_l2"], rel=1e-4)


def test_without_gradients_the_judgement_has_no_weight(perceptual):
    judge = golden_networks(OBJECTIVE["overrides"])[1].eval()
    inputs = OBJECTIVE["inputs"]
    mel, last = made(inputs["x"]), made(inputs["last"])
    decoded = mel + 0.3 * F.conv2d(made(inputs["base"]), last, padding=1)
    with torch.no_grad():
        loss, shown = generator_loss(config_of("official"), perceptual, judge, mel, decoded, last, 30001)
    golden = OBJECTIVE["cases"]["official/eval under no_grad/step30001/optimizer0"]
    assert loss.item() + inputs["codebook_loss"] == pytest.approx(golden["total"], rel=1e-5)
    assert shown["weight"] == golden["d_weight"] == 0.0
    assert shown["judged"].item() == pytest.approx(golden["g_loss"], rel=1e-4)


def test_one_training_pass_gives_every_parameter_the_reference_gradient():
    golden = numbers("loss")["training_pass"]
    perceptual, judge = golden_networks(golden["overrides"], "loss.")
    model = Autoencoder(autoencoder_config("small"))
    model.load_state_dict(filled(numbers("autoencoder")["cases"]["small"]["keys"], golden["overrides"]))
    assert model.state_dict().keys() == autoencoder("small").state_dict().keys()
    mel = made(golden["input"])[:, None]
    quantized = model.quantize(model.latents(mel), 0.25)
    decoded = model.reconstruct(quantized.straight)
    step, last = golden["global_step"], model.decoder.conv_out.weight
    loss, shown = generator_loss(config_of("official"), perceptual, judge, mel, decoded, last, step)
    loss = loss + quantized.loss
    loss.backward()
    assert loss.item() == pytest.approx(golden["loss"], rel=1e-5)
    assert quantized.loss.item() == pytest.approx(golden["quant_loss"], rel=1e-5)
    assert shown["judged"].item() == pytest.approx(golden["log"]["g_loss"], rel=1e-4)
    found = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    assert found.keys() == golden["gradient_l2"].keys()
    # rounding is all that reaches a bias before a normalisation
    wrong = {
        name: (found[name], value)
        for name, value in golden["gradient_l2"].items()
        if found[name] != pytest.approx(value, rel=2e-3, abs=1e-4)
    }
    assert not wrong
    # the gradient of |x - y| jumps where rounding decides a sign: by 1 / 12,800 times an activation for each such place
    expected = arrays("loss")["training_pass.grad_conv_out"]
    assert largest_difference(last.grad, expected) < 0.01 * np.abs(expected).max()
