"""The MelGAN generator equals the reference stage by stage, and reaches no further than it says."""

import pytest
import torch
from parity import arrays, filled, largest_difference, made, numbers, observe, plain_weights, summary
from torch import Tensor

from specvq_codec.models.melgan import Generator, MelGANConfig

GIVEN = numbers("melgan")["generator"]
SMALL = MelGANConfig(num_mels=4, channels=(16, 12, 8), ratios=(8, 4), num_res_layers=2)
ODD = MelGANConfig(num_mels=4, channels=(16, 12, 8), ratios=(5, 3), num_res_layers=1)


@pytest.fixture(scope="module")
def stages() -> dict[str, Tensor]:
    """The outputs of every stage of the golden case, on (B, C, T)."""
    model = Generator(MelGANConfig()).eval().requires_grad_(False)
    model.load_state_dict(plain_weights(filled(GIVEN["keys"], GIVEN["overrides"])))
    with observe(model, [name.split()[0] for name in GIVEN["probes"]], lambda x: x.squeeze(2)) as outputs:
        wave = model(made(GIVEN["input"]))
    return {**outputs, "wave": wave}


def test_wave(stages):
    difference = largest_difference(stages["wave"], arrays("melgan")["generator.wave"])
    assert difference < 4 * GIVEN["float32_vs_float64"]
    for key, value in summary(stages["wave"]).items():
        assert value == pytest.approx(GIVEN["wave"][key], rel=1e-5, abs=1e-6), key


def test_every_stage(stages):
    assert len(GIVEN["probes"]) == 26
    for name, given in GIVEN["probes"].items():
        output = stages[name.split()[0]]
        assert list(output.shape) == given["shape"], name
        for key, value in summary(output).items():
            assert value == pytest.approx(given[key], rel=1e-5, abs=1e-5), (name, key)
    for key, value in summary(stages["model.24"]).items():
        assert value == pytest.approx(GIVEN["before_tanh"][key], rel=1e-5, abs=1e-5), key


@pytest.fixture(scope="module")
def small() -> Generator:
    torch.manual_seed(1)
    return Generator(SMALL).eval().requires_grad_(False)


@pytest.mark.parametrize(
    "config", [MelGANConfig(channels=(64, 32, 16, 16, 16)), SMALL, ODD], ids=["default", "small", "odd"]
)
def test_output_depends_on_the_context_and_on_nothing_beyond(config):
    torch.manual_seed(0)
    model = Generator(config).eval().requires_grad_(False).double()  # in float64 a change cannot vanish in rounding
    for parameter in model.parameters():
        parameter.mul_(2.0)
    frames, reach, hop = 40, config.context_frames, config.hop_length
    mel = torch.rand(1, config.num_mels, frames, dtype=torch.float64)
    before = model(mel)
    assert before.shape == (1, frames * hop)
    touched = set()
    for frame in (0, 1, 20, frames - 1):
        changed = mel.clone()
        changed[:, :, frame] += 1.0
        where = (model(changed) != before)[0].nonzero()
        first, last = where.min().item() // hop, where.max().item() // hop
        assert frame - reach <= first and last <= frame + reach
        touched |= {first - frame, last - frame}
    assert max(map(abs, touched)) >= reach - 1  # rounding up may add a frame, no more


def test_pieces_with_context_equal_the_whole(small):
    reach, hop = SMALL.context_frames, SMALL.hop_length
    mel = torch.rand(1, 4, 60, generator=torch.Generator().manual_seed(0))
    whole = small(mel)
    piece = small(mel[..., 20 - reach : 30 + reach])
    assert torch.allclose(piece[:, reach * hop : -reach * hop], whole[:, 20 * hop : 30 * hop], rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 9, 10])
def test_short_inputs(small, frames):
    mel = torch.rand(3, 4, frames, generator=torch.Generator().manual_seed(0))
    wave = small(mel)
    assert wave.shape == (3, frames * SMALL.hop_length)
    assert torch.isfinite(wave).all() and wave.abs().max() <= 1
    assert torch.allclose(wave, torch.cat([small(one[None]) for one in mel]), rtol=0, atol=1e-6)


def test_odd_ratios_give_exact_lengths():
    assert ODD.hop_length == 15
    assert Generator(ODD).eval()(torch.rand(1, 4, 11)).shape == (1, 165)


def test_hop_of_the_reference():
    assert MelGANConfig().hop_length == 256


def test_channels_must_fit_the_ratios():
    with pytest.raises(ValueError, match="one entry more"):
        MelGANConfig(channels=(512, 256))
