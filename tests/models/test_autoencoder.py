"""The autoencoder equals the reference on every golden case, block by block; the other configurations are sound.

Tolerances are multiples of `float32_vs_float64`, the rounding error that the reference itself has: 2e-6 in `h`, 1.3e-5
in `z` (latents are scaled up five times there), 4e-6 in the decoded spectrogram.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from parity import arrays, autoencoder, largest_difference, made, numbers, observe, summary

from specvq_codec.models.autoencoder import Autoencoder, AutoencoderConfig, to_grid, to_sequence

CASES = numbers("autoencoder")["cases"]
RUNS = [(case, width) for case, given in CASES.items() for width in given["widths"]]
TINY = AutoencoderConfig(channels=(32,) * 5, num_res_blocks=1, z_channels=8, embed_dim=4, codebook_size=16)
FOLDED = AutoencoderConfig(
    channels=(32, 64), num_res_blocks=1, attention_levels=(), z_channels=8, embed_dim=4, codebook_size=16, patch=8
)
LINEAR = AutoencoderConfig(
    channels=(32, 32, 64),
    num_res_blocks=1,
    attention_levels=(2,),
    z_channels=8,
    embed_dim=4,
    codebook_size=16,
    patch=4,
    linear_path=True,
)


def fingerprint(x: torch.Tensor) -> dict[str, Any]:
    """The numbers of a golden probe."""
    flat = x.flatten()
    step = flat.numel() // 7
    variance, mean = torch.var_mean(flat.double(), correction=0)
    return {
        "shape": list(x.shape),
        "mean": mean.item(),
        "std": variance.sqrt().item(),
        "absmax": flat.abs().max().item(),
        "at_0_step_2step_3step": flat[0 : 3 * step + 1 : step].tolist(),
    }


@cache
def ran(case: str, width: str) -> dict[str, Any]:
    """Everything that the network computes in a golden case, in memory layout NCHW."""
    model, given = autoencoder(case), CASES[case]["widths"][width]
    with observe(model, list(given.get("probes", [])), fingerprint) as probes:
        features = model.encoder(made(given["input"]))
        latents = model.quant_conv(features)
        quantized = model.quantize(latents)
        vectors = model.quantize.lookup(quantized.indices).contiguous()
        decoded = model.reconstruct(vectors)
    return {
        "h": features,
        "z": latents,
        "loss": quantized.loss,
        "straight": quantized.straight,
        "indices": quantized.indices,
        "quantised": vectors,
        "decoded": decoded,
        "probes": probes,
    }


def golden(case: str, width: str, name: str) -> np.ndarray:
    return arrays("autoencoder")[f"{case}.w{width}.{name}"]


@pytest.mark.parametrize(("case", "width"), RUNS)
def test_indices_are_equal(case, width):
    result, given = ran(case, width), CASES[case]["widths"][width]
    assert list(result["z"].shape) == given["latent_shape"]
    assert np.array_equal(result["indices"][0], golden(case, width, "indices"))
    assert len(result["indices"].unique()) == given["different_codes"]


@pytest.mark.parametrize(("case", "width"), RUNS)
def test_features_and_latents(case, width):
    result, rounding = ran(case, width), CASES[case]["widths"][width]["float32_vs_float64"]
    compared = 0
    for stored, key, step in (
        ("h", "h", 1),
        ("h_every_8th_channel", "h", 8),
        ("z", "z", 1),
        ("z_every_4th_channel", "z", 4),
    ):
        if f"{case}.w{width}.{stored}" in arrays("autoencoder"):
            difference = largest_difference(result[key][0, ::step], golden(case, width, stored))
            assert difference < 4 * rounding[key]
            compared += 1
    assert compared >= 1


@pytest.mark.parametrize(("case", "width"), RUNS)
def test_decoded_spectrogram(case, width):
    given = CASES[case]["widths"][width]
    image = ran(case, width)["decoded"]
    assert list(image.shape) == given["decoded_shape"]
    tolerance = 4 * given["float32_vs_float64"]["decoded"]
    stored = golden(case, width, "decoded_rows_every_2nd_cols_every_3rd")
    assert largest_difference(image[0, 0, ::2, ::3], stored) < tolerance
    assert largest_difference(image[0, 0].mean(1), golden(case, width, "decoded_row_means")) < tolerance
    assert largest_difference(image[0, 0].mean(0), golden(case, width, "decoded_col_means")) < tolerance


@pytest.mark.parametrize(("case", "width"), RUNS)
@pytest.mark.parametrize("name", ["h", "z", "quantised", "decoded"])
def test_summaries(case, width, name):
    tensor, given = ran(case, width)[name], CASES[case]["widths"][width][name]
    assert list(tensor.shape) == given["shape"]
    for key, value in summary(tensor).items():
        assert value == pytest.approx(given[key], rel=1e-5, abs=5e-5), key


@pytest.mark.parametrize(("case", "width"), RUNS)
def test_numbers_of_the_quantiser(case, width):
    result, given = ran(case, width), CASES[case]["widths"][width]
    assert result["loss"].item() == pytest.approx(given["quant_loss"], rel=1e-5)
    shares = torch.bincount(result["indices"].flatten()).double() / result["indices"].numel()
    perplexity = torch.exp(-(shares * torch.log(shares + 1e-10)).sum()).item()
    assert perplexity == pytest.approx(given["perplexity"], rel=1e-5)

    vectors = autoencoder(case).quantize.embedding.weight.double()
    squared = torch.cdist(result["z"].movedim(1, -1).flatten(0, 2).double(), vectors).square().sort(1).values
    assert squared[:, 0].max().item() == pytest.approx(given["largest_best_squared_distance"], rel=1e-5)
    gap = (squared[:, 1] - squared[:, 0]).min().item()
    assert gap == pytest.approx(given["smallest_gap_between_best_two_squared_distances"], abs=2e-3)


@pytest.mark.parametrize(("case", "width"), [("small", "848"), ("attn2", "848"), ("vggsound", "848"), ("vas", "848")])
def test_every_block(case, width):
    result, probes = ran(case, width), CASES[case]["widths"][width]["probes"]
    assert len(probes) >= 40
    for name, given in probes.items():
        output = result["probes"][name]
        assert output["shape"] == given["shape"], name
        tolerance = 1e-5 * (1 + given["absmax"])  # rounding grows with the numbers that are summed, up to 12
        assert output["at_0_step_2step_3step"] == pytest.approx(given["at_0_step_2step_3step"], abs=tolerance), name
        assert output["absmax"] == pytest.approx(given["absmax"], abs=tolerance), name
        assert output["mean"] == pytest.approx(given["mean"], abs=1e-5), name
        assert output["std"] == pytest.approx(given["std"], rel=1e-5), name


@pytest.mark.parametrize(("case", "width"), [run for run in RUNS if run[0] in ("small", "attn2")])
def test_channels_last_as_the_codec_runs_it(case, width):
    """On CPUs, GroupNorm sums less exactly in this layout: the error grows with the width, to 2e-4 at 1696 frames."""
    model, given = autoencoder(case), CASES[case]["widths"][width]
    x = made(given["input"])
    model = Autoencoder(model.config).eval().requires_grad_(False)
    model.load_state_dict(autoencoder(case).state_dict())
    model = model.to(memory_format=torch.channels_last)
    latents = model.latents(x)
    indices = model.quantize.nearest(latents)
    assert np.array_equal(indices[0], golden(case, width, "indices"))
    assert (latents - ran(case, width)["z"]).abs().max() < 5e-4
    image = model.decode(indices)
    assert (
        largest_difference(image[0, 0, ::2, ::3], golden(case, width, "decoded_rows_every_2nd_cols_every_3rd")) < 2e-4
    )
    assert torch.equal(model.encode(x), indices)


def test_the_straight_through_input_of_the_decoder_changes_only_rounding():
    result = ran("small", "848")
    again = autoencoder("small").reconstruct(result["straight"].contiguous())
    assert (again - result["decoded"]).abs().max() < 2e-5


def test_order_of_the_sequence():
    stored = arrays("autoencoder")
    for grid, sequence in (("permuter.grid", "permuter.sequence"), ("permuter.wide_grid", "permuter.wide_sequence")):
        grids, sequences = torch.from_numpy(stored[grid]), torch.from_numpy(stored[sequence])
        assert torch.equal(to_sequence(grids), sequences)
        assert torch.equal(to_grid(sequences), grids)
    assert np.array_equal(made(numbers("autoencoder")["permuter"]["grid"]), stored["permuter.grid"])
    places = torch.arange(5 * 53).reshape(5, 53)
    assert np.array_equal(to_sequence(places), stored["permuter.forward_shuffle_idx"])
    assert np.array_equal(to_sequence(places).argsort(), stored["permuter.backward_shuffle_idx"])
    assert torch.equal(to_grid(torch.arange(6), rows=3), torch.tensor([[0, 3], [1, 4], [2, 5]]))


@pytest.mark.parametrize("config", [TINY, FOLDED, LINEAR], ids=["tiny", "folded", "linear"])
@pytest.mark.parametrize("frames", [16, 48, 55])
def test_shapes_of_small_configurations(config, frames):
    torch.manual_seed(0)
    model = Autoencoder(config).eval()
    frames = frames if config is TINY else frames // 16 * 16
    with torch.inference_mode():
        x = torch.rand(2, 1, 80, frames) * 2 - 1
        indices = model.encode(x)
        assert indices.shape == (2, 5, frames // 16)
        assert indices.dtype == torch.int64
        image = model.decode(indices)
        assert image.shape == (2, 1, 80, frames // 16 * 16)
        assert torch.isfinite(image).all()
        alone = torch.cat([model.encode(x[:1]), model.encode(x[1:])])
        assert torch.equal(indices, alone)  # no result depends on the batch


def test_linear_path_adds_to_both_ends():
    torch.manual_seed(0)
    model = Autoencoder(LINEAR).eval().requires_grad_(False)
    x = torch.rand(1, 1, 80, 32) * 2 - 1
    z = torch.rand(1, 4, 5, 2)
    assert torch.equal(model.latents(x), model.quant_conv(model.encoder(x)) + model.linear_in(x))
    assert torch.equal(model.reconstruct(z), model.decoder(model.post_quant_conv(z)) + model.linear_out(z))
    assert {name.split(".")[0] for name in model.state_dict()} - {
        n.split(".")[0] for n in Autoencoder(TINY).state_dict()
    } == {
        "linear_in",
        "linear_out",
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"channels": (32, 32, 32)}, "16 times"),
        ({"patch": 2}, "16 times"),
        ({"attention_levels": (5,)}, "does not exist"),
    ],
)
def test_configurations_that_cannot_be(changed, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderConfig(**changed)
