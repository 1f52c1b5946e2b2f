"""The sampler's network with weights of 8 bits, for the CPU.

A processor makes a sequence as quickly as it reads the weights, all of them for every index, and here they have a
quarter of the bytes. A weight becomes an integer from -127 to 127, times a scale for each row of its matrix. A row of
the input becomes integers of 14 bits, times a scale of its own, and goes through the product as two digits of base 128,
so that the rounding of weights is all that shows in the result.

Products of integers are summed up exactly, so that a row's result is the same to the bit whatever else is in a batch.
The digits are that small because processors without VNNI instructions add pairs of products in 16 bits, where
2 * 128 * 127 just fits.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from .transformer import Attention, Block, Transformer

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
    for block in network.blocks:
        assert isinstance(block, Block)
        block.attn = Int8Attention(block.attn)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear(child))
    return network


class Int8Linear(nn.Module):
    """One or several linear layers of the same input, their outputs put together: (..., inputs) -> (..., outputs)."""

    bias: Tensor
    least: Tensor
    inverse_base: Tensor

    def __init__(self, *layers: nn.Linear) -> None:
        super().__init__()
        self._packed = _packed(torch.cat([layer.weight.detach() for layer in layers]))
        biases = [torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach() for layer in layers]
        self.register_buffer("bias", torch.cat(biases))
        self.register_buffer("least", torch.tensor(1e-30))  # of an input's scale, so that zeros have one, too
        self.register_buffer("inverse_base", torch.tensor(1 / _BASE))

    def forward(self, x: Tensor) -> Tensor:
        # as few operations as it takes: with one row, each costs as much as a part of the product
        scale = torch.add(self.least, x.abs().amax(-1, keepdim=True), alpha=1 / _LARGEST)  # (..., 1)
        integers = x / scale  # the product rounds them
        high = (integers * self.inverse_base).round_()
        digits = torch.cat([high, integers.sub_(high, alpha=_BASE)])  # one after the other in the first dimension
        high, low = _product(digits, 1.0, _ZERO, self._packed).chunk(2)
        return torch.addcmul(self.bias, low.add_(high, alpha=_BASE), scale)


class Int8Attention(Attention):
    """`Attention` with queries, keys and values from one product."""

    def __init__(self, attention: Attention) -> None:
        nn.Module.__init__(self)  # and no layers of float32
        self.n_head = attention.n_head
        self.projection = Int8Linear(attention.query, attention.key, attention.value)
        self.proj = attention.proj

    def projected(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.projection(x).chunk(3, dim=2)


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
