"""The learned probability model: which index comes next, in exact integers.

A recurrent network goes through the columns of a block, and a small network for each row of a column looks at what
that one remembers, at the two columns before, and at the rows below that are known already. Nothing is rounded between
the weights and the frequencies (FORMAT.md, section 7, defines every step), so that they are the same everywhere: on any
processor, with any library, for a whole grid at once and for one index at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .errors import WeightsError
from .header import learned_mark
from .integers import Array, Engine, Linear, Table
from .sizes import MAX_CODEBOOK_SIZE, ROWS

__all__ = ["Prior", "Steps"]

TOTAL = 1 << 24
"""The frequencies of all indices add up to this."""

TABLES = {"tanh": np.int8, "sigmoid": np.uint8, "candidate": np.int16, "hidden": np.int8, "exponential": np.int32}
TABLE_SIZES = (2, 65536)
MAX_EXPONENTIAL = 2**28

_AGAIN = "get the bundle again"


@dataclass
class _Memory:
    """What the network for columns keeps from one column to the next.

    Attributes:
        inputs: of each layer, its input of the column before, int8 values (B, H).
        states: of each layer, int64 (B, H).
    """

    inputs: list[Array]
    states: list[Array]


class Prior:
    """A probability model over grids of indices.

    Attributes:
        codebook_size: K, how many values an index can have.
        digest: SHA-256 over its tensors.
    """

    def __init__(self, tensors: Mapping[str, Array], engine: Engine = np.matmul, double: bool = False) -> None:
        """Check the tensors of a prior (FORMAT.md lists them), and get ready.

        Args:
            tensors: by name, as `prior.safetensors` has them.
            engine: computes matrix products.
            double: use float64 throughout, and not only where float32 would not be exact.

        Raises:
            WeightsError: a tensor is missing, is too many, has another type or shape, or makes sums that could leave
                32 bits.
        """
        shapes = _Shapes.of(tensors)
        _check(tensors, shapes)
        self.codebook_size, self._depth = shapes.codebook_size, shapes.depth
        self.digest = _digest(tensors)

        def linear(name: str, bias: Array | None = None) -> Linear:
            shift = tensors[f"{name}.shift"]
            return Linear(
                tensors[f"{name}.weight"], tensors[f"{name}.bias"] if bias is None else bias, shift, engine, double
            )

        self._embedding = tensors["embedding"].astype(np.float32)  # (K, D)
        self._input = linear("columns.input")
        self._layers = [linear(f"columns.{number}") for number in range(shapes.layers)]
        self._hidden = [linear(f"rows.{row}.hidden") for row in range(ROWS)]
        self._output = [linear(f"rows.{row}.output") for row in range(ROWS)]
        self._codes = [linear("codes", bias) for bias in tensors["codes.bias"]]
        self._width = shapes.width
        self._tanh, self._hidden_table = (Table(tensors[f"tables.{name}"], np.float32) for name in ("tanh", "hidden"))
        self._sigmoid, self._candidate = (
            Table(tensors[f"tables.{name}"], np.int64) for name in ("sigmoid", "candidate")
        )
        self._exponential = tensors["tables.exponential"].astype(np.int64)

    def start(self, count: int) -> Steps:
        """The beginnings of so many blocks, to go through them index by index."""
        return Steps(self, count)

    def mark(self, fingerprint: bytes) -> bytes:
        """The 4 bytes by which learned files name this prior together with the weights that it belongs to.

        Args:
            fingerprint: of these weights, at least 4 bytes.
        """
        return learned_mark(fingerprint, self.digest)

    def frequencies(self, grids: Array) -> Array:
        """Frequencies of all indices of blocks at once, each given those before it.

        Args:
            grids: (B, T, 5), integers from 0 to K - 1: B blocks of T columns.

        Returns:
            int32 (B, T, 5, K), at least 1, with sums of 2^24. They are those that `Steps` gives one by one.
        """
        rows = self._embedding[grids]  # (B, T, 5, D)
        columns = rows.reshape(*grids.shape[:2], -1)  # (B, T, 5 D)
        before = _behind(columns, np.zeros_like(columns[:, 0]))
        remembered = self._remember(before, self._memory(len(grids)))
        context = np.concatenate([remembered, before, _behind(before, np.zeros_like(before[:, 0]))], axis=-1)
        found = np.empty((*grids.shape, self.codebook_size), dtype=np.int32)
        for row in range(ROWS):
            found[:, :, row] = self._row(row, context, columns[..., : row * self._depth])
        return found

    def _memory(self, count: int) -> _Memory:
        """What there is to remember before the first column: nothing."""
        shape = (count, self._width)
        return _Memory(
            [np.zeros(shape, np.float32) for _ in self._layers], [np.zeros(shape, int) for _ in self._layers]
        )

    def _remember(self, columns: Array, memory: _Memory) -> Array:
        """What is remembered after each of some columns (B, T, 5 D): int8 values (B, T, H). Moves `memory` on."""
        stream = self._input(columns)  # (B, T, H)
        for number, layer in enumerate(self._layers):
            given = self._tanh(stream)
            joined = np.concatenate([given, _behind(given, memory.inputs[number])], axis=-1)
            keep, candidate, opened = np.split(layer(joined), 3, axis=-1)
            keep, candidate, opened = self._sigmoid(keep), self._candidate(candidate), self._sigmoid(opened)
            state = memory.states[number]
            for place in range(columns.shape[1]):
                new = candidate[:, place]
                state = new + (keep[:, place] * (state - new) + 128 >> 8)
                candidate[:, place] = state
            stream += opened * candidate + (1 << 14) >> 15
            memory.inputs[number], memory.states[number] = given[:, -1], state
        return self._tanh(stream)

    def _row(self, row: int, context: Array, below: Array) -> Array:
        """Frequencies int32 (..., K) of a row's index, given the context and the embedded rows below (..., row * D)."""
        hidden = self._hidden_table(self._hidden[row](np.concatenate([context, below], axis=-1)))
        return self._frequencies(self._codes[row](self._tanh(self._output[row](hidden))))

    def _frequencies(self, scores: Array) -> Array:
        """Integers int32 (..., K), at least 1, with sums of 2^24, in proportion to the exponentials of scores."""
        places = scores.argmax(axis=-1)[..., None]
        gaps = np.take_along_axis(scores, places, axis=-1) - scores  # at least 0
        shares = self._exponential.take(gaps, mode="clip")
        total = TOTAL - self.codebook_size
        frequencies = shares * total // shares.sum(axis=-1, keepdims=True)  # below 2^52
        missing = total - frequencies.sum(axis=-1, keepdims=True)
        np.put_along_axis(frequencies, places, np.take_along_axis(frequencies, places, axis=-1) + missing, axis=-1)
        frequencies += 1
        return frequencies.astype(np.int32)


class Steps:
    """Blocks on their way, all at the same place, index after index in time-major order.

    Attributes:
        row: which row the next index is of, 0..4.
    """

    def __init__(self, prior: Prior, count: int) -> None:
        self._prior = prior
        self._memory = prior._memory(count)
        nothing = np.zeros((count, ROWS * prior._depth), dtype=np.float32)
        self._before = (nothing, nothing)  # the last two columns, embedded, the later one first
        self._begin_column()

    def frequencies(self) -> Array:
        """Frequencies of all next indices: int32 (B, K), at least 1, with sums of 2^24."""
        return self._prior._row(self.row, self._context, np.concatenate(self._rows, axis=-1))

    def push(self, indices: Array) -> None:
        """Take in the next index of each block, (B,)."""
        self._rows.append(self._prior._embedding[indices])
        self.row += 1
        if self.row == ROWS:
            self._before = np.concatenate(self._rows, axis=-1), self._before[0]
            self._begin_column()

    def chosen(self, blocks: Array) -> Steps:
        """Some of the blocks, by their places (N,); a block may be there several times, to go on in several ways."""
        other = object.__new__(Steps)
        other._prior, other.row, other._context = self._prior, self.row, self._context[blocks]
        memory = self._memory
        other._memory = _Memory([one[blocks] for one in memory.inputs], [one[blocks] for one in memory.states])
        other._before = self._before[0][blocks], self._before[1][blocks]
        other._rows = [one[blocks] for one in self._rows]
        return other

    def _begin_column(self) -> None:
        remembered = self._prior._remember(self._before[0][:, None], self._memory)[:, 0]
        self._context = np.concatenate([remembered, *self._before], axis=-1)
        self._rows: list[Array] = [self._context[:, :0]]
        self.row = 0


def _behind(columns: Array, first: Array) -> Array:
    """The same columns (B, T, N), each in the place of the one after it; `first` (B, N) comes before them."""
    return np.concatenate([first[:, None], columns[:, :-1]], axis=1)


@dataclass(frozen=True)
class _Shapes:
    """The sizes of a prior."""

    codebook_size: int
    depth: int  # numbers in an embedded index, D
    width: int  # of the network for columns, H
    layers: int  # of that network, L
    hidden: int  # width of the networks for rows, M
    output: int  # numbers that the scores of all indices are made from, N

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> _Shapes:
        """What some tensors tell of the sizes; the other tensors must agree."""
        try:
            codebook_size, depth = tensors["embedding"].shape
            (width,) = tensors["columns.input.bias"].shape
            (hidden,) = tensors["rows.0.hidden.bias"].shape
            (output,) = tensors["rows.0.output.bias"].shape
        except KeyError as error:
            raise WeightsError(f"The weights' prior lacks the tensor {error}: {_AGAIN}.") from error
        except ValueError as error:
            raise WeightsError(f"The weights' prior has a tensor of a wrong shape: {_AGAIN}.") from error
        layers = sum(name.startswith("columns.") and name.endswith(".bias") for name in tensors) - 1
        return cls(codebook_size, depth, width, layers, hidden, output)

    def linear(self) -> dict[str, tuple[int, int]]:
        """Outputs and inputs of every linear layer."""
        context = self.width + 2 * ROWS * self.depth
        found = {"columns.input": (self.width, ROWS * self.depth), "codes": (self.codebook_size, self.output)}
        found |= {f"columns.{number}": (3 * self.width, 2 * self.width) for number in range(self.layers)}
        for row in range(ROWS):
            found[f"rows.{row}.hidden"] = self.hidden, context + row * self.depth
            found[f"rows.{row}.output"] = self.output, self.hidden
        return found

    def expected(self) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Type and shape of every tensor but the tables."""
        found: dict[str, tuple[type, tuple[int, ...]]] = {"embedding": (np.int8, (self.codebook_size, self.depth))}
        for name, (outputs, inputs) in self.linear().items():
            bias = (ROWS, outputs) if name == "codes" else (outputs,)
            found[f"{name}.weight"] = np.int8, (outputs, inputs)
            found[f"{name}.bias"], found[f"{name}.shift"] = (np.int32, bias), (np.uint8, (outputs,))
        return found


def _check(tensors: Mapping[str, Array], shapes: _Shapes) -> None:
    """Raise WeightsError unless there are exactly the tensors of a prior with these sizes."""
    expected, tables = shapes.expected(), {f"tables.{name}": dtype for name, dtype in TABLES.items()}
    if (
        not 2 <= shapes.codebook_size <= MAX_CODEBOOK_SIZE
        or min(shapes.depth, shapes.width, shapes.hidden, shapes.output) < 1
    ):
        raise WeightsError(f"The weights' prior has impossible sizes: {_AGAIN}.")
    if odd := sorted(set(tensors) ^ (set(expected) | set(tables))):
        raise WeightsError(f"The weights' prior lacks, or should not have, the tensor {odd[0]}: {_AGAIN}.")
    for name, (dtype, shape) in expected.items():
        if tensors[name].dtype != dtype or tensors[name].shape != shape:
            raise WeightsError(f"The prior's tensor {name} must be {np.dtype(dtype)}{shape}: {_AGAIN}.")
    for name, kind in tables.items():
        values = tensors[name]
        if values.dtype != kind or values.ndim != 1 or not TABLE_SIZES[0] <= len(values) <= TABLE_SIZES[1]:
            raise WeightsError(f"The prior's tensor {name} must be {np.dtype(kind)} and of one dimension: {_AGAIN}.")
    exponential = tensors["tables.exponential"]
    if not (exponential[0] >= 1 and exponential.min() >= 0 and exponential.max() <= MAX_EXPONENTIAL):
        raise WeightsError(f"The prior's exponentials must be from 0 to 2^28, and not begin with 0: {_AGAIN}.")


def _digest(tensors: Mapping[str, Array]) -> bytes:
    """SHA-256 over all tensors, as FORMAT.md defines it."""
    digest = hashlib.sha256(b"specvq prior 1\n")
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        data = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()
        digest.update(f"\n{name} {tensor.dtype.name} {','.join(map(str, tensor.shape))}\n".encode())
        digest.update(data)
    return digest.digest()
