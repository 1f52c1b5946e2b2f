"""The authors' samplers become part of a bundle: whole, with the codebook they were trained with, or not at all."""

import re
from dataclasses import asdict

import numpy as np
import pytest
import torch
from parity import arrays, numbers
from safetensors.numpy import load_file
from sampler_cases import CASES as SAMPLERS
from sampler_cases import checkpoint_state, config_of, two_stage
from typer.testing import CliRunner

from specvq_codec import Codec, UsageError, WeightsError
from specvq_codec.cli.app import app
from specvq_codec.models.resnet50 import ResNet50
from specvq_codec.models.transformer import Transformer, TransformerConfig
from specvq_codec.reference import import_reference, sampler_from
from specvq_codec.sampling import Sampling, generate
from specvq_codec.weights import load_bundle

KEYS = numbers("state_dicts")
FULL = {
    "prior_vggsound_212_features": TransformerConfig(feature_frames=212, feature_depth=2048),
    "prior_class": TransformerConfig(num_classes=309),
    "prior_212_features_and_class": TransformerConfig(feature_frames=212, feature_depth=2048, num_classes=309),
}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": checkpoint_state(), "global_step": 3, "epoch": 1}, path)
    return path


def test_an_imported_sampler_generates_what_the_reference_does(checkpoint, tmp_path):
    import_reference(None, None, tmp_path / "bundle", sampler=checkpoint, heads=4)
    bundle = load_bundle(tmp_path / "bundle")
    bundle.verify()
    assert bundle.sampler == asdict(config_of(SAMPLERS["small.feats5"])) and bundle.labels == ()
    codec = Codec(bundle, device="cpu")
    tokens = generate(codec.sampler, torch.zeros(1, 0, dtype=torch.int64), 265, Sampling(1), two_stage()[1])
    assert np.array_equal(tokens, arrays("transformer")["e2e.greedy"])


def test_a_sampler_does_not_change_what_a_file_means(checkpoint, tmp_path):
    import_reference(checkpoint, None, tmp_path / "without")
    import_reference(checkpoint, None, tmp_path / "with", sampler=checkpoint)
    without, together = (load_bundle(tmp_path / name) for name in ("without", "with"))
    assert without.fingerprint == together.fingerprint
    assert without.sampler is None and together.sampler["n_head"] == 1  # 64 wide
    import_reference(checkpoint, None, tmp_path / "with")
    assert load_bundle(tmp_path / "with").sampler is None and not load_bundle(tmp_path / "with").has("sampler")


def test_the_command_imports_a_sampler(checkpoint, tmp_path):
    command = [
        "weights",
        "import",
        str(tmp_path / "out"),
        "--sampler",
        str(checkpoint),
        "--sampler-heads",
        "4",
        "--half",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    bundle = load_bundle(tmp_path / "out")
    assert bundle.sampler["n_head"] == 4
    assert {str(tensor.dtype) for tensor in bundle.tensors("sampler").values()} == {"float16"}
    done = CliRunner().invoke(app, ["weights", "verify", str(tmp_path / "out")])
    assert "sampler: intact, 2" in done.output
    command[-1:] = ["--sampler-precision", "int8", "-f"]
    assert CliRunner().invoke(app, command).exit_code == 0
    kinds = {
        part: {str(one.dtype) for one in load_file(tmp_path / "out" / f"{part}.safetensors").values()}
        for part in ("codebook", "sampler")
    }
    assert kinds == {"codebook": {"float32"}, "sampler": {"int8", "float16", "float32"}}
    resnet = tmp_path / "resnet50.pth"
    torch.save(ResNet50().state_dict(), resnet)
    done = CliRunner().invoke(app, [*command, "-f", "--video-weights", str(resnet)])
    assert done.exit_code == 0, done.output
    assert load_bundle(tmp_path / "out").has("features")
    assert "needs a codebook" in CliRunner().invoke(app, ["weights", "import", str(tmp_path / "other")]).output


def test_a_file_names_the_classes(tmp_path):
    torch.save({"state_dict": checkpoint_state("small.class")}, tmp_path / "last.ckpt")
    labels = tmp_path / "labels.txt"
    command = ["weights", "import", str(tmp_path / "out"), "--sampler", str(tmp_path / "last.ckpt"), "-f"]
    assert CliRunner().invoke(app, command).exit_code == 0
    count = len(load_bundle(tmp_path / "out").labels)
    assert load_bundle(tmp_path / "out").labels == tuple(map(str, range(count)))
    labels.write_text("".join(f"kind of {number}\n" for number in range(count)))
    assert CliRunner().invoke(app, [*command, "--labels", str(labels)]).exit_code == 0
    assert load_bundle(tmp_path / "out").labels[1] == "kind of 1"
    for content in (b"dog\n", b"dog\n" * count, b"\xff"):
        labels.write_bytes(content)
        done = CliRunner().invoke(app, [*command, "--labels", str(labels)])
        assert done.exit_code == 2 and ("names 1 classes" in done.stderr or "as text in UTF-8" in done.stderr)
    assert "give --sampler, too" in CliRunner().invoke(app, [*command[:3], "-f", "--labels", str(labels)]).stderr


@pytest.mark.parametrize("name", FULL)
def test_full_size_checkpoints(name):
    shapes = KEYS["prior_vggsound_212_features"]
    if name in ("prior_class", "prior_212_features_and_class"):
        shapes = {key: shape for key, shape in shapes.items() if key not in KEYS[name]["removed"]}
        shapes |= KEYS[name]["added_or_changed"]
    state = {key: torch.zeros(shape) for key, shape in shapes.items() if key.startswith("transformer.")}
    with torch.device("meta"):
        expected = {key: tensor.shape for key, tensor in Transformer(FULL[name]).state_dict().items()}
    found = {key.removeprefix("transformer.") for key in state if not key.endswith(".mask")}
    assert found == expected.keys()
    state = {key: tensor for key, tensor in state.items() if ".blocks." not in key or ".blocks.0." in key}
    config, tensors = sampler_from({"state_dict": state})  # of one layer, since it takes the memory
    assert asdict(config) == asdict(FULL[name]) | {"n_layer": 1}
    assert all(tensor.shape == expected[key] for key, tensor in tensors.items())


SHUFFLED = torch.arange(265)
WRONG = {
    "missing": ("transformer.blocks.1.attn.key.bias", None, "lacks the keys KEY"),
    "no positions": ("transformer.pos_emb", None, "lacks the key KEY"),
    "no condition": ("transformer.embedder.weight", None, "lacks the key KEY"),
    "unknown": ("transformer.blocks.1.attn.speed", torch.ones(2), "unknown keys KEY"),
    "another layer": ("transformer.blocks.2.ln1.bias", torch.ones(64), r"lacks the keys blocks\.2\."),
    "strange part": ("decipher.weight", torch.ones(2), r"Beside the sampler are unknown keys decipher\.weight"),
    "shape": ("transformer.head.weight", torch.ones(128, 63), r"KEY \(is \[128, 63\], must be \[128, 64\]\)"),
    "short": ("transformer.pos_emb", torch.ones(1, 200, 64), "architecture is none"),
    "order": ("first_stage_permuter.forward_shuffle_idx", SHUFFLED, "another order than column by column"),
    "not a number": ("transformer.ln_f.bias", torch.full((64,), torch.nan), "not finite in KEY"),
    "half of two": ("transformer.cls_embedder.weight", torch.ones(3, 64), r"lacks the key feat_embedder\.weight"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_samplers(case):
    key, value, message = WRONG[case]
    state = checkpoint_state() | {key: value}
    if value is None:
        del state[key]
    with pytest.raises(WeightsError, match=message.replace("KEY", re.escape(key.removeprefix("transformer.")))):
        sampler_from({"state_dict": state}, heads=4)


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(WeightsError, match="architecture is none"):
        sampler_from({"state_dict": checkpoint_state()}, heads=5)


def test_files_that_do_not_belong_together(checkpoint, tmp_path):
    state = checkpoint_state()
    state["first_stage_model.quantize.embedding.weight"] = state["first_stage_model.quantize.embedding.weight"] + 1
    torch.save({"state_dict": state}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match=r"last\.ckpt was trained with another codebook than .*other\.ckpt"):
        import_reference(tmp_path / "other.ckpt", None, tmp_path / "out", sampler=checkpoint)
    codebook = {key: tensor for key, tensor in state.items() if key.startswith("first_stage_model.")}
    torch.save({"state_dict": codebook}, tmp_path / "codebook.ckpt")
    with pytest.raises(WeightsError, match="holds no sampler"):
        import_reference(None, None, tmp_path / "out", sampler=tmp_path / "codebook.ckpt")
    with pytest.raises(UsageError, match="needs a codebook"):
        import_reference(None, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
