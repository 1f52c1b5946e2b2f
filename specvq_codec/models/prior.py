"""The network behind learned coding, as it is trained: a float twin of the integers in `specvq_codec.bitstream.prior`.

Quantisation-aware training (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018): in the forward pass weights and activations are rounded to what the
integers can hold, in the backward pass rounding counts as the identity. All scales are powers of two, so that integer
layers need a shift and no multiplication to pass on what they found.

The layers that go through the columns are quasi-recurrent (Bradbury et al., ICLR 2017): their gates look at the inputs
of this column and the last, and not at the state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 5  # indices in a column
ACTIVATION = 2**7  # steps of an int8 activation between 0 and 1, and of the sums that the tables are looked up by
STATE = 2**14  # of a recurrent state
SCORE = 2**6  # of a score, for each nat
REACH = 8  # tables go from -REACH to REACH
MAX_SHIFT = 14  # keeps biases within 32 bits, and most layers exact in float32

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class PriorConfig:
    """Shape of the network; the size of the codebook comes with its vectors."""

    depth: int = 32  # numbers in an embedded index
    width: int = 192  # of the layers that go through the columns
    layers: int = 2
    hidden: int = 256  # width of the networks for the rows
    output: int = 64  # numbers that the scores of all indices are made from
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if min(self.depth, self.width, self.layers, self.hidden, self.output) < 1:
            raise ValueError(f"sizes must be positive: {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, not {self.dropout}")


def rounded(values: Tensor, steps: Tensor | float, most: float = float("inf")) -> Tensor:
    """Values as multiples of 1/steps, within plus and minus most/steps; the gradient passes as before."""
    whole = torch.round(values.detach() * steps).clamp(-most, most) / steps
    return values + (whole - values.detach())


def row_steps(weight: Tensor) -> Tensor:
    """Of each row of a weight (M, N), the steps of its int8 form between 0 and 1: (M, 1), powers of two."""
    largest = weight.detach().abs().amax(dim=1, keepdim=True).clamp(min=2.0**-20)
    return torch.exp2(torch.floor(torch.log2(127 / largest)).clamp(0, MAX_SHIFT))


def hidden_activation(values: Tensor) -> Tensor:
    """A quarter of SiLU, cut off at 1."""
    return (F.silu(values) / 4).clamp(max=1.0)


class Quantised(nn.Linear):
    """A linear layer that can compute with the weights of its int8 form.

    Attributes:
        quantised: whether it does.

    Shapes: (..., N) -> (..., M).
    """

    quantised = True

    def forward(self, input: Tensor) -> Tensor:
        weight = rounded(self.weight, row_steps(self.weight), 127) if self.quantised else self.weight
        return F.linear(input, weight, self.bias)


class PriorNetwork(nn.Module):
    """Which index comes next.

    Attributes:
        quantised: whether it computes with weights and activations as the integer model has them (`quantise`).

    Shapes: indices (B, T, 5), int64 -> scores (B, T, 5, K): up to a constant, the logarithms of the indices'
    probabilities given all indices before.
    """

    codebook: Tensor

    def __init__(self, config: PriorConfig, codebook: Tensor, counts: Tensor) -> None:
        """Begin with what is known of the indices.

        Args:
            config: the shape.
            codebook: (K, E), the vectors that they stand for; what is learned of an index begins with its vector.
            counts: (5, K), how often each index occurs in each row: the scores begin with these frequencies.
        """
        super().__init__()
        self.config, self.quantised = config, True
        size, width = len(codebook), config.width
        whitened = (codebook - codebook.mean(dim=0)) / codebook.std().clamp(min=1e-6)
        self.register_buffer("codebook", whitened)
        spread = codebook.shape[1] ** -0.5
        self.embedding = nn.Parameter(torch.randn(codebook.shape[1], config.depth) * spread * 0.3)
        self.embedding_own = nn.Parameter(torch.zeros(size, config.depth))
        self.codes = nn.Parameter(torch.randn(codebook.shape[1], config.output) * spread)
        self.codes_own = nn.Parameter(torch.zeros(size, config.output))
        self.codes_bias = nn.Parameter(torch.log((counts + 0.5) / (counts + 0.5).sum(dim=1, keepdim=True)))
        self.input = Quantised(ROWS * config.depth, width)
        columns = [Quantised(2 * width, 3 * width) for _ in range(config.layers)]
        self.columns = nn.ModuleList(columns)
        context = width + 2 * ROWS * config.depth
        self.hidden = nn.ModuleList(Quantised(context + row * config.depth, config.hidden) for row in range(ROWS))
        output = [Quantised(config.hidden, config.output) for _ in range(ROWS)]
        self.output = nn.ModuleList(output)
        for layer in columns:
            nn.init.uniform_(layer.bias[:width], 0.0, 3.0)  # states that last a few columns
        for layer in output:
            nn.init.normal_(layer.weight, std=0.1 * config.hidden**-0.5)  # so that the frequencies rule at first
            nn.init.zeros_(layer.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, indices: Tensor) -> Tensor:
        rows = self._activation(self.embedded()[indices])  # (B, T, 5, D)
        columns = rows.flatten(2)
        before = _behind(columns)
        remembered = self._remembered(before)
        context = self.dropout(torch.cat([remembered, before, _behind(before)], dim=-1))  # (B, T, H + 10 D)
        codes = self.code_weights()
        codes = rounded(codes, row_steps(codes), 127) if self.quantised else codes
        scores = []
        for row in range(ROWS):
            joined = torch.cat([context, columns[..., : row * self.config.depth]], dim=-1)
            hidden = self._activation(hidden_activation(self.hidden[row](joined)))
            output = self._activation(torch.tanh(self.output[row](self.dropout(hidden))))
            scores.append(F.linear(output, codes, self.codes_bias[row]))
        return torch.stack(scores, dim=2)

    def quantise(self, quantised: bool) -> None:
        """Compute as the integer model does, or in full precision."""
        self.quantised = quantised
        for module in self.modules():
            if isinstance(module, Quantised):
                module.quantised = quantised

    def surprise(self, indices: Tensor) -> Tensor:
        """Negative log-likelihood of each index, in nats: (B, T, 5)."""
        scores = self(indices)
        return F.cross_entropy(scores.flatten(0, 2), indices.flatten(), reduction="none").view(indices.shape)

    def embedded(self) -> Tensor:
        """Each index as numbers from -1 to 1: (K, D)."""
        return (self.codebook @ self.embedding + self.embedding_own).clamp(-1, 1)

    def code_weights(self) -> Tensor:
        """What the scores of each index are made with: (K, N)."""
        return self.codebook @ self.codes + self.codes_own

    def _remembered(self, columns: Tensor) -> Tensor:
        """What is remembered after each column: (B, T, H)."""
        stream = self.input(self.dropout(columns))
        for layer in self.columns:
            given = self._activation(torch.tanh(stream))
            joined = self.dropout(torch.cat([given, _behind(given)], dim=-1))
            keep, candidate, opened = layer(joined).chunk(3, dim=-1)
            stream = stream + torch.sigmoid(opened) * _recurrence(torch.sigmoid(keep), torch.tanh(candidate))
        return self._activation(torch.tanh(stream))

    def _activation(self, values: Tensor) -> Tensor:
        return rounded(values, ACTIVATION, ACTIVATION - 1) if self.quantised else values


def _behind(columns: Tensor) -> Tensor:
    """The same columns (B, T, N), each in the place of the one after it, and zeros for the first."""
    return F.pad(columns, (0, 0, 1, 0))[:, :-1]


def _recurrence(keep: Tensor, candidate: Tensor) -> Tensor:
    """The states h[t] = keep[t] * h[t - 1] + (1 - keep[t]) * candidate[t], all (B, T, H), from h = 0 on."""
    added = ((1 - keep) * candidate).unbind(dim=1)
    states, state = [], torch.zeros_like(added[0])
    for kept, new in zip(keep.unbind(dim=1), added, strict=True):
        state = kept * state + new
        states.append(state)
    return torch.stack(states, dim=1)


@torch.no_grad()
def integer_tensors(network: PriorNetwork) -> Tensors:
    """The network as `specvq_codec.bitstream.prior.Prior` takes it: integers and tables."""
    tensors = _tables() | {"embedding": _int8(network.embedded() * ACTIVATION)}
    codes = network.code_weights()
    for name, weight, bias, units in [*_layers(network), ("codes", codes, network.codes_bias, SCORE)]:
        steps = row_steps(weight)
        shift = torch.log2(steps[:, 0] * ACTIVATION / units).round().int()
        half = torch.where(shift > 0, torch.exp2(shift - 1.0), 0.0).floor()
        tensors[f"{name}.weight"] = _int8(weight * steps)
        tensors[f"{name}.bias"] = (torch.round(bias.double() * steps[:, 0] * ACTIVATION) + half).int().numpy()
        tensors[f"{name}.shift"] = shift.to(torch.uint8).numpy()
    return tensors


def _layers(network: PriorNetwork) -> Iterator[tuple[str, Tensor, Tensor, int]]:
    """Names, weights and biases of the linear layers, and the steps of what they find."""
    named: dict[str, nn.Module] = {"columns.input": network.input}
    named |= {f"columns.{number}": layer for number, layer in enumerate(network.columns)}
    named |= {f"rows.{row}.hidden": layer for row, layer in enumerate(network.hidden)}
    named |= {f"rows.{row}.output": layer for row, layer in enumerate(network.output)}
    for name, layer in named.items():
        assert isinstance(layer, Quantised)
        yield name, layer.weight, layer.bias, ACTIVATION


def _int8(values: Tensor) -> npt.NDArray[np.int8]:
    return torch.round(values).clamp(-127, 127).to(torch.int8).numpy()


def _tables() -> Tensors:
    """Functions of the integers -1024 to 1023, and exponentials of 0 and below until they are no more than rounding."""
    places = torch.arange(-REACH * ACTIVATION, REACH * ACTIVATION, dtype=torch.float64) / ACTIVATION
    nats = torch.arange(18 * SCORE, dtype=torch.float64) / SCORE
    return {
        "tables.tanh": _int8(ACTIVATION * torch.tanh(places)),
        "tables.hidden": _int8(ACTIVATION * hidden_activation(places)),
        "tables.sigmoid": torch.round(256 * torch.sigmoid(places)).clamp(max=255).to(torch.uint8).numpy(),
        "tables.candidate": torch.round(STATE * torch.tanh(places)).to(torch.int16).numpy(),
        "tables.exponential": torch.round(2.0**24 * torch.exp(-nats)).int().numpy(),
    }
