"""Checkpoints of the reference become bundles that compute what the reference computes; wrong ones are refused."""

import pathlib
import re
import sys
import types
from dataclasses import asdict

import numpy as np
import pytest
import torch
from parity import arrays, autoencoder_config, filled, largest_difference, made, numbers
from torch import Tensor
from typer.testing import CliRunner

from specvq_codec.bitstream.errors import WeightsError
from specvq_codec.cli.app import app
from specvq_codec.codec import Codec
from specvq_codec.models.autoencoder import Autoencoder, AutoencoderConfig
from specvq_codec.models.melgan import Generator, MelGANConfig
from specvq_codec.reference import codebook_from, import_reference, vocoder_from
from specvq_codec.weights import load_bundle

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
KEYS = numbers("state_dicts")
SMALL = numbers("autoencoder")["cases"]["small"]
MELGAN = numbers("melgan")["generator"]
TINY_MELGAN = {"channels": (24, 16, 12, 8, 4), "ratios": (8, 8, 2, 2), "num_res_layers": 2}


def losses() -> dict[str, Tensor]:
    """What stands beside a codebook in its checkpoints, with the true names and smaller shapes."""
    found = {}
    for key, shape in KEYS["autoencoder_vggsound"].items():
        if key.startswith("loss."):
            dtype = torch.int64 if key.endswith("num_batches_tracked") else torch.float32
            shape = [] if dtype == torch.int64 else [min(size, 3) for size in shape]
            found[key] = torch.ones(shape, dtype=dtype)
    assert len(found) > 50
    return found


def small_state() -> dict[str, Tensor]:
    return filled(SMALL["keys"], numbers("autoencoder")["overrides"])


def melgan_state() -> dict[str, Tensor]:
    return filled(MELGAN["keys"], MELGAN["overrides"])


def tiny_melgan_state() -> dict[str, Tensor]:
    """A state dict with weight normalisation, of a smaller generator."""
    state = {}
    for key, tensor in Generator(MelGANConfig(**TINY_MELGAN)).state_dict().items():
        if key.endswith(".weight"):
            state[f"{key}_g"] = torch.ones(len(tensor), 1, 1)
            state[f"{key}_v"] = tensor
        else:
            state[key] = tensor
    return state


def lightning(state: dict[str, Tensor], path: pathlib.Path, zipped: bool = True) -> pathlib.Path:
    """A checkpoint as the reference's trainer writes it, with all that is not weights, and classes that nobody has."""
    module = types.ModuleType("pytorch_lightning_of_old")

    class ModelCheckpoint:
        __module__ = module.__name__
        __qualname__ = "ModelCheckpoint"

        def __init__(self) -> None:
            self.best_model_score = np.float32(0.1)

    module.ModelCheckpoint = ModelCheckpoint
    sys.modules[module.__name__] = module
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    content = {
        "epoch": 3,
        "global_step": np.int64(1000),
        "pytorch-lightning_version": "1.2.10",
        "state_dict": state,
        "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(0.1), "dirpath": pathlib.Path("x")}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [ModelCheckpoint()],
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    del sys.modules[module.__name__]
    return path


def golden_indices(tensors: dict[str, Tensor], config: AutoencoderConfig) -> bool:
    """Whether an autoencoder computes the golden indices of the small case."""
    model = Autoencoder(config).eval()
    model.load_state_dict(tensors)
    with torch.inference_mode():
        indices = model.encode(made(SMALL["widths"]["160"]["input"]))
    return np.array_equal(indices[0], arrays("autoencoder")["small.w160.indices"])


@FORMATS
def test_import_makes_a_bundle_that_computes_what_the_reference_does(tmp_path, zipped):
    codebook = lightning(small_state() | losses(), tmp_path / "last.ckpt", zipped)
    torch.save(melgan_state(), tmp_path / "best_netG.pt", _use_new_zipfile_serialization=zipped)
    import_reference(codebook, tmp_path / "best_netG.pt", tmp_path / "bundle", name="small")

    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.name == "small"
    assert "last.ckpt" in bundle.note and "best_netG.pt" in bundle.note
    bundle.verify()
    codec = Codec(bundle, device="cpu")  # knows how to load every tensor
    assert asdict(codec.autoencoder.config) == asdict(autoencoder_config("small"))
    stored = {key: torch.from_numpy(tensor) for key, tensor in bundle.tensors("codebook").items()}
    assert golden_indices(stored, autoencoder_config("small"))

    vocoder = Generator(MelGANConfig()).eval()
    vocoder.load_state_dict({key: torch.from_numpy(tensor) for key, tensor in bundle.tensors("vocoder").items()})
    with torch.inference_mode():
        wave = vocoder(made(MELGAN["input"]))
    assert largest_difference(wave, arrays("melgan")["generator.wave"]) < 4 * MELGAN["float32_vs_float64"]


def test_import_without_vocoder_in_half_precision(tmp_path):
    import_reference(lightning(small_state(), tmp_path / "a.ckpt"), None, tmp_path / "half", dtype="float16")
    bundle = load_bundle(tmp_path / "half")
    assert bundle.name == "half" and bundle.melgan is None and not bundle.has("vocoder")
    tensors = bundle.tensors("codebook")
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype("float16")}
    for key, tensor in small_state().items():
        assert np.abs(tensors[key] - tensor.numpy()).max() <= 2.0**-11 * tensor.abs().max().item()


@pytest.mark.parametrize(("options", "dtype"), [([], "float32"), (["--half"], "float16")])
def test_the_command_imports_in_the_precision_that_is_asked_for(tmp_path, options, dtype):
    codebook = lightning(small_state(), tmp_path / "a.ckpt")
    command = ["weights", "import", str(tmp_path / "out"), "--codebook", str(codebook), *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert {str(tensor.dtype) for tensor in load_bundle(tmp_path / "out").tensors("codebook").values()} == {dtype}


def test_values_that_half_precision_cannot_hold(tmp_path):
    state = dict(small_state())
    state["quant_conv.bias"] = state["quant_conv.bias"] + 1e6
    with pytest.raises(WeightsError, match=r"quant_conv\.bias"):
        import_reference(lightning(state, tmp_path / "a.ckpt"), None, tmp_path / "out", dtype="float16")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", ["small", "attn2", "vggsound", "vas"])
def test_architectures_are_read_off_the_shapes(case):
    """On tensors without memory of their own: only shapes count here."""
    keys = numbers("autoencoder")["cases"][case]["keys"]
    with torch.device("meta"):
        expected = {
            key: tuple(tensor.shape) for key, tensor in Autoencoder(autoencoder_config(case)).state_dict().items()
        }
    assert {key: tuple(shape) for key, shape in keys.items()} == expected
    if case in ("small", "attn2"):
        config, tensors = codebook_from({"state_dict": filled(keys)})
        assert config == autoencoder_config(case)
        assert list(tensors) == list(expected)


def test_full_size_checkpoint_of_a_codebook():
    shapes = {key: entry for key, entry in KEYS["autoencoder_vggsound"].items() if not key.endswith("tracked")}
    config, tensors = codebook_from({"state_dict": {key: torch.zeros(shape) for key, shape in shapes.items()}})
    assert config == AutoencoderConfig()
    assert sum(tensor.numel() for tensor in tensors.values()) > 70e6


def test_codebook_within_a_sampler(tmp_path):
    around = [key for key in KEYS["prior_vggsound_212_features"] if not key.startswith("first_stage_model.")]
    state = {f"first_stage_model.{key}": tensor for key, tensor in small_state().items()}
    state |= {f"first_stage_model.{key}": tensor for key, tensor in losses().items()}
    config, tensors = codebook_from({"state_dict": state | {key: torch.ones(2) for key in around}})
    assert config == autoencoder_config("small")
    assert golden_indices(tensors, config)


def test_names_of_the_golden_lists_agree():
    names = {key for key in KEYS["autoencoder_vggsound"] if not key.startswith("loss.")}
    assert names == set(numbers("autoencoder")["cases"]["vggsound"]["keys"])
    inside = {key for key in KEYS["prior_vggsound_212_features"] if key.startswith("first_stage_model.")}
    assert inside == {f"first_stage_model.{key}" for key in names}
    assert KEYS["vocoder"] == MELGAN["keys"]


def test_half_precision_checkpoints_become_float32():
    state = {key: tensor.half() for key, tensor in small_state().items()}
    _config, tensors = codebook_from(state)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert torch.equal(tensors["quant_conv.bias"], state["quant_conv.bias"].float())


def test_folding_equals_weight_normalisation():
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.ConvTranspose1d(24, 16, 16))
    direction = torch.randn(24, 16, 16, generator=torch.Generator().manual_seed(0))
    length = torch.rand(24, 1, 1, generator=torch.Generator().manual_seed(1)) + 0.5
    with torch.no_grad():
        layer.parametrizations.weight.original0.copy_(length)
        layer.parametrizations.weight.original1.copy_(direction)
    state = tiny_melgan_state() | {"model.3.weight_g": length, "model.3.weight_v": direction}
    config, tensors = vocoder_from(state)
    assert config == MelGANConfig(**TINY_MELGAN)
    assert torch.allclose(tensors["model.3.weight"], layer.weight, rtol=1e-6, atol=1e-7)
    assert not any(key.endswith(("_g", "_v")) for key in tensors)
    Generator(config).load_state_dict(tensors)


WRONG_CODEBOOKS = {  # key, its new value (None: taken away), what the message says before or around the key
    "missing weight": ("decoder.mid.attn_1.q.weight", None, "lacks the keys KEY"),
    "missing shape": ("encoder.conv_out.weight", None, "lacks the key KEY"),
    "missing embedding": ("quantize.embedding.weight", None, "lacks the key KEY"),
    "missing level": ("encoder.down.2.block.0.conv1.weight", None, "lacks the key KEY"),
    "unknown": ("encoder.mid.temb_proj.weight", torch.ones(2), "unknown keys KEY"),
    "unknown part": ("decipher.weight", torch.ones(2), "unknown keys KEY"),
    "unknown block": ("decoder.up.0.block.7.conv1.bias", torch.ones(32), "unknown keys KEY"),
    "unknown level": ("encoder.down.5.block.0.conv1.weight", torch.ones(32, 32, 3, 3), "16 times"),
    "endless level": ("encoder.down.99999999.block.0.conv1.weight", torch.ones(32, 32, 3, 3), r"lacks the key .*\.5\."),
    "attention": ("encoder.down.1.attn.0.norm.weight", torch.ones(32), r"lacks the keys encoder\.down\.1\.attn"),
    "shape": ("quant_conv.bias", torch.ones(63), r"KEY \(is \[63\], must be \[64\]\)"),
    "wide input": ("encoder.conv_in.weight", torch.ones(32, 2, 3, 3), "wrong shape KEY"),
    "embedding": ("quantize.embedding.weight", torch.ones(128), "KEY .* 2 dimensions"),
    "empty embedding": ("quantize.embedding.weight", torch.ones(0, 64), "KEY .* 2 dimensions"),
    "odd channels": ("encoder.down.4.block.0.conv1.weight", torch.ones(33, 64, 3, 3), "33"),
    "integers": ("quant_conv.bias", torch.ones(64, dtype=torch.int64), r"KEY \(no tensor of numbers"),
    "no tensor": ("quant_conv.bias", [1.0] * 64, r"KEY \(no tensor of numbers"),
    "not a number": ("quant_conv.bias", torch.full((64,), torch.nan), "not finite in KEY"),
    "infinite": ("quantize.embedding.weight", torch.full((128, 64), torch.inf), "not finite in KEY"),
}


@pytest.mark.parametrize("case", WRONG_CODEBOOKS)
def test_wrong_codebooks(case):
    key, value, message = WRONG_CODEBOOKS[case]
    state = {**small_state(), key: value}
    if value is None:
        del state[key]
    with pytest.raises(WeightsError, match=message.replace("KEY", re.escape(key))):
        codebook_from({"state_dict": state})


WRONG_VOCODERS = {
    "missing bias": ("model.7.bias", None, r"model\.7\.bias"),
    "missing length": ("model.7.weight_g", None, r"model\.7\.weight_g"),
    "missing direction": ("model.4.block.2.weight_v", None, r"model\.4\.block\.2\.weight"),
    "unknown": ("model.4.block.9.bias", torch.ones(1), r"model\.4\.block\.9\.bias"),
    "unknown part": ("discriminator.bias", torch.ones(1), r"discriminator\.bias"),
    "length": ("model.7.weight_g", torch.ones(3, 1, 1), r"model\.7\.weight_g"),
    "length of no tensor": ("model.7.weight_g", "x", r"model\.7\.weight_g"),
    "direction of no tensor": ("model.4.block.2.weight_v", "x", r"model\.4\.block\.2\.weight"),
    "dimensions": ("model.1.weight_v", torch.ones(3), r"model\.1\.weight_v"),
    "shape": ("model.4.block.2.bias", torch.ones(3), r"model\.4\.block\.2\.bias \(is \[3\], must be \[16\]\)"),
    "zero direction": ("model.4.shortcut.weight_v", torch.zeros(16, 16, 1), r"model\.4\.shortcut\.weight"),
    "mels": ("model.1.weight_v", torch.ones(24, 64, 7), "64 mels"),
    "hop": ("model.3.weight_v", torch.ones(24, 16, 8), "128 samples"),
}


@pytest.mark.parametrize("case", WRONG_VOCODERS)
def test_wrong_vocoders(case):
    key, value, message = WRONG_VOCODERS[case]
    state = {**tiny_melgan_state(), key: value}
    if value is None:
        del state[key]
    with pytest.raises(WeightsError, match=message):
        vocoder_from(state)


def test_tensors_that_share_data_do_not_grow():
    """A small file could ask for any amount of memory, were each made a float32 tensor of its own."""
    state = small_state()
    data = torch.zeros(max(tensor.numel() for tensor in state.values()), dtype=torch.float16)
    shared = {key: data[: tensor.numel()].view(tensor.shape) for key, tensor in state.items()}
    with pytest.raises(WeightsError, match="codebook has tensors that share data"):
        codebook_from(shared)
    state = tiny_melgan_state()
    data = torch.ones(max(tensor.numel() for tensor in state.values()), dtype=torch.float16)
    shared = {key: data[: tensor.numel()].view(tensor.shape) for key, tensor in state.items()}
    with pytest.raises(WeightsError, match="vocoder has tensors that share data"):
        vocoder_from(shared)


def test_tensors_may_be_parts_of_one_piece_of_data():
    state = small_state()
    data = torch.cat([tensor.flatten() for tensor in state.values()])
    pieces = data.split([tensor.numel() for tensor in state.values()])
    parts = {key: piece.view(tensor.shape) for (key, tensor), piece in zip(state.items(), pieces, strict=True)}
    assert golden_indices(codebook_from(parts)[1], autoencoder_config("small"))


@pytest.mark.parametrize(
    "content", [{}, {"state_dict": [1]}, {"x": torch.ones(2)}, {"model.1.weight_v": torch.ones(2, 2, 2)}]
)
def test_checkpoints_of_something_else(content):
    with pytest.raises(WeightsError):
        codebook_from(content)
    with pytest.raises(WeightsError):
        vocoder_from(content)


def test_files_that_are_swapped(tmp_path):
    codebook = lightning(small_state(), tmp_path / "last.ckpt")
    torch.save(tiny_melgan_state(), tmp_path / "best_netG.pt")
    with pytest.raises(WeightsError, match="no codebook"):
        import_reference(tmp_path / "best_netG.pt", codebook, tmp_path / "out")
    with pytest.raises(WeightsError, match="no MelGAN"):
        import_reference(codebook, codebook, tmp_path / "out")
    assert not (tmp_path / "out").exists()
