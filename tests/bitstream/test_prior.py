"""The integer model: the same frequencies however they are computed, and tensors that it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from prior_cases import Tensors, random_prior
from reference_prior import ReferencePrior

from specvq_codec.bitstream import Prior, WeightsError
from specvq_codec.bitstream.integers import Linear

Indices = NDArray[np.int64]


def torch_product(x: NDArray, weight: NDArray) -> NDArray:
    return (torch.from_numpy(x) @ torch.from_numpy(weight)).numpy()


def reversed_product(x: NDArray, weight: NDArray) -> NDArray:
    """The same sums, added in the opposite order."""
    return (x[..., None, ::-1] * weight.T[:, ::-1]).cumsum(-1, dtype=x.dtype)[..., -1]


def grids(count: int, columns: int, codebook_size: int = 64, seed: int = 0) -> Indices:
    return np.random.default_rng(seed).integers(0, codebook_size, (count, columns, 5))


def by_steps(prior: Prior, indices: Indices) -> NDArray:
    """What the decoder computes, in the shape that `frequencies` gives."""
    steps, found = prior.start(len(indices)), []
    for sequence in indices.reshape(len(indices), -1).T:
        found.append(steps.frequencies())
        steps.push(sequence)
    return np.stack(found, axis=1).reshape(*indices.shape, -1)


def test_frequencies_are_those_of_the_specification() -> None:
    tensors = random_prior()
    indices = grids(2, 7)
    found = Prior(tensors).frequencies(indices)
    assert found.dtype == np.int32 and found.shape == (2, 7, 5, 64)
    assert found.min() >= 1 and np.all(found.sum(axis=-1) == 2**24)
    for block, expected in zip(indices, found, strict=True):
        reference = ReferencePrior({name: tensor.tolist() for name, tensor in tensors.items()})
        for index, frequencies in zip(block.flatten().tolist(), expected.reshape(-1, 64).tolist(), strict=True):
            assert reference.frequencies() == frequencies
            reference.push(index)


@pytest.mark.parametrize("seed", range(3))
def test_steps_batches_types_and_engines_agree(seed: int) -> None:
    """Some hundred grids; benchmarks/exactness.py does this with a hundred thousand."""
    tensors = random_prior(seed=seed)
    indices = grids(60, 12, seed=seed)
    expected = Prior(tensors).frequencies(indices)
    assert np.array_equal(by_steps(Prior(tensors), indices), expected)
    assert np.array_equal(np.concatenate([Prior(tensors).frequencies(one[None]) for one in indices]), expected)
    for engine in (np.matmul, torch_product, reversed_product):
        for double in (False, True):
            assert np.array_equal(Prior(tensors, engine, double).frequencies(indices), expected)


def test_threads_change_nothing() -> None:
    tensors, indices = random_prior(width=96, hidden=96), grids(64, 8)
    expected, before = Prior(tensors).frequencies(indices), torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert np.array_equal(Prior(tensors, torch_product).frequencies(indices), expected)
    finally:
        torch.set_num_threads(before)


def test_layers_use_float64_where_float32_would_not_be_exact() -> None:
    x = np.full((1, 2000), 127.0)
    for bias, dtype in ((2**24 - 2000 * 128 * 65 - 1, np.float32), (2**24 + 1 - 2000 * 128 * 65, np.float64)):
        layer = Linear(np.full((1, 2000), 65, np.int8), np.array([bias], np.int32), np.zeros(1, np.uint8), np.matmul)
        assert layer.dtype == dtype
        assert layer(x).tolist() == [[2000 * 127 * 65 + bias]]
    shifted = Linear(np.full((1, 1), -1, np.int8), np.zeros(1, np.int32), np.full(1, 3, np.uint8), np.matmul)
    assert shifted(np.array([[1], [8], [9], [-9]])).ravel().tolist() == [-1, -1, -2, 1]  # down, not towards zero


def test_each_index_depends_on_those_before_it_alone() -> None:
    prior, indices = Prior(random_prior()), grids(1, 6)
    expected = prior.frequencies(indices)[0].reshape(30, 64)
    for place in range(30):
        changed = indices.copy().reshape(1, 30)
        changed[0, place] = (changed[0, place] + 1) % 64
        found = prior.frequencies(changed.reshape(1, 6, 5))[0].reshape(30, 64)
        assert np.array_equal(found[: place + 1], expected[: place + 1])
        assert place == 29 or not np.array_equal(found[place + 1], expected[place + 1])


def test_steps_go_on_in_several_ways() -> None:
    prior, indices = Prior(random_prior()), grids(3, 4)
    steps = prior.start(1)
    for index in indices[0].flatten()[:13]:
        steps.push(index[None])
    several = steps.chosen(np.array([0, 0, 0]))
    several.push(np.array([5, 6, indices[0].flatten()[13]]))
    steps.push(indices[0].flatten()[13:14])
    assert several.row == steps.row == 4
    found = several.frequencies()
    assert np.array_equal(found[2], steps.frequencies()[0])
    assert not np.array_equal(found[0], found[1])


def test_likely_and_impossible_scores() -> None:
    """All but one index at the least frequency, and all alike."""
    tensors = random_prior(codebook_size=8)
    tensors["codes.weight"][:] = 0
    tensors["codes.shift"][:] = 0
    tensors["codes.bias"][:] = 0
    even = Prior(tensors).frequencies(grids(1, 1, 8))
    assert np.all(even == 2**21)
    tensors["codes.bias"][:, 3] = 10**6
    certain = Prior(tensors).frequencies(grids(1, 1, 8))[0, 0]
    assert np.all(certain[:, 3] == 2**24 - 7) and np.all(np.delete(certain, 3, axis=1) == 1)


def without(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.pop(name)


def other(name: str, change: Callable[[NDArray], NDArray]) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: change(tensors[name])})


@pytest.mark.parametrize(
    "forge",
    [
        without("embedding"),
        without("rows.0.hidden.bias"),
        without("columns.1.weight"),
        without("codes.shift"),
        without("tables.sigmoid"),
        lambda tensors: tensors.update(other=np.zeros(3, np.int8)),
        lambda tensors: tensors.update({"columns.3.bias": np.zeros(36, np.int32)}),
        other("embedding", lambda t: t[:, :3]),
        other("embedding", lambda t: t[:1]),
        other("embedding", lambda t: t.astype(np.int16)),
        other("embedding", np.ravel),
        other("columns.0.weight", lambda t: t.T),
        other("rows.3.hidden.weight", lambda t: t[:, :-1]),
        other("rows.3.hidden.shift", lambda t: t + np.uint8(40)),
        other("rows.2.output.bias", lambda t: t.astype(np.int64)),
        other("columns.input.bias", lambda t: t + np.int32(2**31 - 10**5)),
        other("codes.bias", lambda t: t[0]),
        other("tables.tanh", lambda t: t[:1]),
        other("tables.tanh", lambda t: t.astype(np.float32)),
        other("tables.exponential", lambda t: t - np.int32(2)),
        other("tables.exponential", lambda t: t[::-1]),
        other("tables.exponential", lambda t: t + np.int32(2**28)),
    ],
)
def test_tensors_that_are_no_prior(forge: Callable[[Tensors], object]) -> None:
    tensors = random_prior()
    forge(tensors)
    with pytest.raises(WeightsError, match=r"prior.*: get the bundle again\.$"):
        Prior(tensors)


def test_the_digest_covers_everything() -> None:
    tensors = random_prior()
    digests = {Prior(tensors).digest}
    for name in tensors:
        changed = dict(tensors)
        changed[name] = tensors[name].copy()
        changed[name].flat[-1] ^= 1
        digests.add(Prior(changed).digest)
    assert len(digests) == len(tensors) + 1
    assert Prior(dict(reversed(tensors.items()))).digest == Prior(tensors).digest
