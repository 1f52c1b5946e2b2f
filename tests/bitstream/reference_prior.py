"""The integer model of FORMAT.md section 7 once more, written from that page alone: plain Python, a number at a time.

Slow, and not meant to be used: it is here to be read beside FORMAT.md, and to disagree with the real one whenever that
changes. Tensors are nested lists of integers, by their names.
"""

from typing import Any

Vector = list[int]
Tensors = dict[str, Any]


def linear(tensors: Tensors, name: str, x: Vector, bias: Vector) -> Vector:
    sums = zip(tensors[f"{name}.weight"], bias, tensors[f"{name}.shift"], strict=True)
    return [(sum(w * v for w, v in zip(row, x, strict=True)) + b) >> shift for row, b, shift in sums]


def look_up(tensors: Tensors, name: str, places: Vector) -> Vector:
    values = tensors[f"tables.{name}"]
    return [values[min(max(place + len(values) // 2, 0), len(values) - 1)] for place in places]


class ReferencePrior:
    """One block, index by index."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.codebook_size, self.depth = len(tensors["embedding"]), len(tensors["embedding"][0])
        self.width = len(tensors["columns.input.bias"])
        self.layers = 0
        while f"columns.{self.layers}.weight" in tensors:
            self.layers += 1
        self.given = [[0] * self.width for _ in range(self.layers)]
        self.states = [[0] * self.width for _ in range(self.layers)]
        self.before, self.before_that = [0] * (5 * self.depth), [0] * (5 * self.depth)
        self.column: Vector = []
        self.remembered = self.remember(self.before)

    def remember(self, column: Vector) -> Vector:
        tensors, width = self.tensors, self.width
        stream = linear(tensors, "columns.input", column, tensors["columns.input.bias"])
        for i in range(self.layers):
            given = look_up(tensors, "tanh", stream)
            found = linear(tensors, f"columns.{i}", given + self.given[i], tensors[f"columns.{i}.bias"])
            keep = look_up(tensors, "sigmoid", found[:width])
            candidate = look_up(tensors, "candidate", found[width : 2 * width])
            opened = look_up(tensors, "sigmoid", found[2 * width :])
            old = self.states[i]
            state = [c + ((k * (s - c) + 128) >> 8) for k, c, s in zip(keep, candidate, old, strict=True)]
            stream = [y + ((o * s + 2**14) >> 15) for y, o, s in zip(stream, opened, state, strict=True)]
            self.given[i], self.states[i] = given, state
        return look_up(tensors, "tanh", stream)

    def frequencies(self) -> Vector:
        """Of all values of the next index."""
        tensors, row = self.tensors, len(self.column) // self.depth
        x = self.remembered + self.before + self.before_that + self.column
        hidden = look_up(
            tensors, "hidden", linear(tensors, f"rows.{row}.hidden", x, tensors[f"rows.{row}.hidden.bias"])
        )
        output = linear(tensors, f"rows.{row}.output", hidden, tensors[f"rows.{row}.output.bias"])
        scores = linear(tensors, "codes", look_up(tensors, "tanh", output), tensors["codes.bias"][row])
        exponential = tensors["tables.exponential"]
        shares = [exponential[min(max(scores) - score, len(exponential) - 1)] for score in scores]
        total = 2**24 - self.codebook_size
        weights = [share * total // sum(shares) for share in shares]
        weights[scores.index(max(scores))] += total - sum(weights)
        return [weight + 1 for weight in weights]

    def push(self, index: int) -> None:
        """Take in the next index."""
        self.column = self.column + self.tensors["embedding"][index]
        if len(self.column) == 5 * self.depth:
            self.before, self.before_that, self.column = self.column, self.before, []
            self.remembered = self.remember(self.before)
