"""Steps of a sampler on a GPU as one CUDA graph.

A step is some 600 small kernels, which take less time than it takes to start them. A graph starts them all at once. It
repeats the same kernels on the same memory, so that what changes from step to step, the indices and their place, is in
tensors, and attention goes over the whole window, with a mask.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from .cache import Cache, PlacedRow
from .transformer import Transformer

Step: TypeAlias = Callable[[Tensor, Cache], Tensor]  # as `Transformer.step`
Capture: TypeAlias = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]

# Of the largest logit. Rounding alone makes 1e-6 and 0.017 of it (24 layers), and a wrong graph is off by about all.
_TOLERANCES = {torch.float32: 0.01, torch.bfloat16: 0.1}


def quickest_step(network: Transformer, cache: Cache, batch: int) -> Step:
    """What is to be called instead of `network.step` with this cache and so many sequences: a graph on a GPU."""
    if cache.kept.device.type != "cuda":
        return network.step
    return StepGraph(network, cache, batch, captured)


class StepGraph:
    """`Transformer.step` for one cache, by a graph where one index of each sequence is new.

    The first such step is computed in both ways. If they disagree, or no graph can be made, there is a warning, and all
    steps go without it.
    """

    def __init__(self, network: Transformer, cache: Cache, batch: int, capture: Capture) -> None:
        """Nothing is captured before it is needed.

        Args:
            network: in eval mode.
            cache: made by `network.begin`.
            batch: number of sequences.
            capture: see `captured`.
        """
        self._network, self._cache, self._capture = network, cache, capture
        # everything that the graph reads or writes has to live as long as the graph
        self._row = PlacedRow(cache)
        self._indices = torch.zeros(batch, 1, dtype=torch.int64, device=cache.kept.device)
        self._logits: Tensor | None = None
        self._replay: Callable[[], None] | None = None
        self._trusted: bool | None = None

    def __call__(self, indices: Tensor, cache: Cache) -> Tensor:
        """Logits (B, codebook_size) of the index after those given; arguments and errors are those of `step`."""
        assert cache is self._cache
        if indices.shape[1] > 1 or self._trusted is False or cache.length >= cache.rows:
            return self._network.step(indices, cache)
        self._indices.copy_(indices)
        self._row.place.fill_(cache.length)
        if self._trusted is None:
            return self._first(indices)
        return self._by_graph()

    def _first(self, indices: Tensor) -> Tensor:
        """Capture the graph, and compare it with a step without it, which both write the same row."""
        found = None
        reason = "computes something else"
        try:
            self._replay, self._logits = self._capture(lambda: self._network.step_at(self._indices, self._row))
            found = self._by_graph()
            self._cache.length -= 1
        except RuntimeError as error:
            reason = f"cannot be made ({error})"
        expected = self._network.step(indices, self._cache)
        near = _TOLERANCES[self._cache.kept.dtype] * expected.abs().max()
        self._trusted = found is not None and bool((found - expected).abs().max() <= near)
        if not self._trusted:
            warnings.warn(f"The CUDA graph of a step {reason}: sampling goes on without it, slower.", stacklevel=2)
        return expected

    def _by_graph(self) -> Tensor:
        assert self._replay is not None and self._logits is not None
        self._replay()
        self._cache.length += 1
        return self._logits.clone()  # the next replay writes there


def captured(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """A CUDA graph of some work: what replays it, and the tensor that it writes its result to.

    Raises:
        RuntimeError: it cannot be captured.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries allocate and choose kernels in the first calls
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph.replay, result
