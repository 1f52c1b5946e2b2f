"""The sampler's network with weights of 8 bits, for the CPU.

A processor makes a sequence as quickly as it reads the weights, all of them for every index, and here they have a
quarter of the bytes. A weight becomes an integer from -127 to 127, times a scale for each row of its matrix. A row of
the input becomes integers of 14 bits, times a scale of its own, and goes through the product as two digits of base 128,
so that the rounding of weights is all that shows in the result.

Products of integers are summed up exactly, so that a row's result is the same to the bit whatever else is in a batch.
The digits are that small because processors without VNNI instructions add pairs of products in 16 bits, where
2 * 128 * 127 just fits.

What is not products takes nearly as long for a single row, a tenth of it to find modules and to call them. So a layer
of the network is one module here.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cache import Cache, PlacedRow
from .transformer import Block, Transformer, attended

_ENGINE = "fbgemm"
_product: Any = getattr(torch.ops.quantized, "linear_with_input_q_dq_qweight_dq_output_fp32", None)
_BASE = 128
_LARGEST = _BASE * _BASE // 2  # of the integers that stand for an input: both digits are from -64 to 64
_ZERO = _BASE // 2  # the product wants digits that are not negative


def is_available() -> bool:
    """Whether this processor and this torch have the product."""
    return _ENGINE in torch.backends.quantized.supported_engines and _product is not None


def to_int8(network: Transformer) -> Transformer:
    """Give the linear layers of a network on the CPU 8-bit weights, in place; it then samples, and no longer learns."""
    for place, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        network.blocks[place] = Int8Block(block)
    network.add_module("head", Int8Linear(network.head))
    return network


class Int8Linear(nn.Module):
    """One or several linear layers of the same input, their outputs put together: (..., inputs) -> (..., outputs)."""

    def __init__(self, *layers: nn.Linear) -> None:
        super().__init__()
        self._packed = _packed(torch.cat([layer.weight.detach() for layer in layers]))
        biases = [torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach() for layer in layers]
        self._bias = torch.cat(biases)
        self._least = torch.tensor(1e-30)  # of an input's scale, so that zeros have one, too
        self._inverse_base = torch.tensor(1 / _BASE)

    def forward(self, x: Tensor) -> Tensor:
        # as few operations as it takes
        scale = torch.add(self._least, x.abs().amax(-1, keepdim=True), alpha=1 / _LARGEST)  # (..., 1)
        integers = x / scale  # the product rounds them
        high = (integers * self._inverse_base).round_()
        digits = torch.stack([high, integers.sub_(high, alpha=_BASE)])  # (2, ..., inputs)
        high, low = _product(digits, 1.0, _ZERO, self._packed).unbind()
        return torch.addcmul(self._bias, low.add_(high, alpha=_BASE), scale)


class Int8Block(nn.Module):
    """`Block` without dropout, with queries, keys and values from one product."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        attention, (wider, _, narrower) = block.attn, block.mlp
        self._shape = (3, attention.n_head, -1)
        # tuples, which hide them from torch: a module that is one of another's takes longer to find
        self._linears = (
            Int8Linear(attention.query, attention.key, attention.value),
            *(Int8Linear(layer) for layer in (attention.proj, wider, narrower) if isinstance(layer, nn.Linear)),
        )
        self._norms = tuple(
            (list(norm.normalized_shape), norm.weight.detach(), norm.bias.detach(), norm.eps)
            for norm in (block.ln1, block.ln2)
        )

    def forward(self, x: Tensor, cache: Cache | PlacedRow | None, layer: int) -> Tensor:
        projection, proj, wider, narrower = self._linears
        projected = projection.forward(F.layer_norm(x, *self._norms[0]))
        q, k, v = projected.unflatten(2, self._shape).permute(2, 0, 3, 1, 4)  # (B, heads, t, depth)
        x = x + proj.forward(attended(q, k, v, cache, layer))
        return x + narrower.forward(F.gelu(wider.forward(F.layer_norm(x, *self._norms[1]))))


def _packed(weight: Tensor) -> torch.ScriptObject:
    """A matrix (outputs, inputs) rounded to 8 bits, in the order that the product reads it in."""
    scales = (weight.abs().amax(1).double() / 127).clamp_min_(1e-30)
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = _ENGINE
    try:
        with warnings.catch_warnings():  # torch means to replace such tensors one day
            warnings.simplefilter("ignore")
            zeros = torch.zeros(len(weight), dtype=torch.int64)
            integers = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
            return torch.ops.quantized.linear_prepack(integers, None)
    finally:
        torch.backends.quantized.engine = before
