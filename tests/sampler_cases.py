"""Golden and tiny random networks of the sampler."""

from dataclasses import asdict
from typing import Any

import torch
from parity import autoencoder_config, filled, made, numbers
from torch import Tensor

from specvq_codec.models.autoencoder import Autoencoder
from specvq_codec.models.transformer import Condition, Transformer, TransformerConfig
from specvq_codec.weights import Bundle, add_sampler

CASES = numbers("transformer")["cases"]
TWO_STAGE = numbers("transformer")["two_stage"]
TINY = {"codebook_size": 32, "n_layer": 3, "n_head": 2, "n_embd": 16, "columns": 6}
FEATURES = {"feature_frames": 4, "feature_depth": 7}


def config_of(case: dict) -> TransformerConfig:
    """The configuration of a golden case; its block size tells how many frames the condition has."""
    network = case["config"]
    features, classes = "Feats" in case["class_"], case.get("classes", 0)
    return TransformerConfig(
        codebook_size=network["vocab_size"],
        n_layer=network["n_layer"],
        n_head=network["n_head"],
        n_embd=network["n_embd"],
        feature_frames=network["block_size"] - 265 - (classes > 0) if features else 0,
        feature_depth=case["depth"] if features else 0,
        num_classes=classes,
    )


def condition_of(case: dict) -> Condition:
    """The reference has features as (B, depth, frames), and a class as (B, 1)."""
    given = case["condition"]
    if isinstance(given, dict):
        return Condition(made(given["feature"]).mT, made(given["target"])[:, 0])
    tensor = made(given)
    return Condition(classes=tensor[:, 0]) if tensor.ndim == 2 else Condition(features=tensor.mT)


def small(name: str, prefix: str = "") -> Transformer:
    """A small golden case, filled by the names of its parameters, which `prefix` stands before."""
    with torch.device("meta"):
        model = Transformer(config_of(CASES[name]))
    tensors = filled({prefix + key: tuple(tensor.shape) for key, tensor in model.state_dict().items()})
    model.load_state_dict({key.removeprefix(prefix): tensor.clone() for key, tensor in tensors.items()}, assign=True)
    return model.eval()


def two_stage() -> tuple[Transformer, Condition]:
    """The sampler of the golden two-stage case, and what it is conditioned on."""
    return small("small.feats5", "transformer."), Condition(made(TWO_STAGE["batch"]["feature"]))


def first_stage_state() -> dict[str, Tensor]:
    """The codebook of the two-stage case, by the keys that it has within a sampler's checkpoint."""
    keys = numbers("autoencoder")["cases"]["small"]["keys"]
    return filled({f"first_stage_model.{key}": shape for key, shape in keys.items()}, TWO_STAGE["overrides"])


def first_stage() -> Autoencoder:
    with torch.device("meta"):
        model = Autoencoder(autoencoder_config("small"))
    state = first_stage_state()
    model.load_state_dict({key.removeprefix("first_stage_model."): state[key] for key in state}, assign=True)
    return model.eval()


def checkpoint_state(name: str = "small.feats5") -> dict[str, Tensor]:
    """The state dict of a sampler's checkpoint: sampler, masks, codebook, order of indices."""
    sampler = small(name, "transformer.")
    state = {f"transformer.{key}": tensor for key, tensor in sampler.state_dict().items()} | first_stage_state()
    order = torch.arange(265).reshape(5, 53).T.flatten()
    state |= {"first_stage_permuter.forward_shuffle_idx": order}
    state |= {"first_stage_permuter.backward_shuffle_idx": order.argsort()}
    masks = {f"transformer.blocks.{i}.attn.mask": torch.ones(270, 270).tril()[None, None] for i in range(2)}
    return state | masks


def tiny(config: TransformerConfig) -> Transformer:
    """A random network whose output depends on everything by much more than rounding."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Transformer(config).eval()
        for name, parameter in model.named_parameters():
            parameter.normal_(std=3.0 if "embedder" in name or name == "head.weight" else 0.3)
    return model


def add_tiny_sampler(bundle: Bundle, features: str | None = None, **settings: Any) -> Bundle:
    """Give a tiny bundle a tiny random sampler, which takes features of that kind."""
    config = TransformerConfig(**TINY | {"codebook_size": bundle.autoencoder["codebook_size"]} | settings)
    tensors = {key: tensor.numpy() for key, tensor in tiny(config).state_dict().items()}
    labels = ("bell", "dog", "door", "drum", "rain")[: config.num_classes]
    return add_sampler(bundle, asdict(config), tensors, labels, features)
