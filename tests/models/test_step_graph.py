"""Steps at a place that is a tensor, and what is done with a graph of them; on a GPU, real graphs."""

import warnings

import pytest
import torch
from sampler_cases import FEATURES, TINY, tiny

from specvq_codec.models.cache import PlacedRow
from specvq_codec.models.step_graph import StepGraph, captured, quickest_step
from specvq_codec.models.transformer import Condition, TransformerConfig
from specvq_codec.sampling import Sampling, generate

CONFIG = TransformerConfig(**TINY, **FEATURES)
CONDITION = Condition(features=torch.randn(1, 4, 7, generator=torch.Generator().manual_seed(2)))
TOKENS = torch.randint(32, (3, 30), generator=torch.Generator().manual_seed(1))
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def recorded(work):
    """Stands for a graph where there is no GPU: it, too, writes a result to where the first one was."""
    result = work()
    return lambda: result.copy_(work()), result


@pytest.fixture
def network():
    return tiny(CONFIG)


@torch.inference_mode()
def test_a_placed_row_is_a_step(network):
    cache, _ = network.begin(CONDITION, 3)
    row = PlacedRow(cache)
    cache.kept[:, :, :, :, 5:] = 1e30  # what is not seen has no part in it
    for place in range(30):
        row.place.fill_(cache.length)
        found = network.step_at(TOKENS[:, place : place + 1], row)
        expected = network.step(TOKENS[:, place : place + 1], cache)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert cache.length == cache.rows == 34


@torch.inference_mode()
def check_sequence(network, capture, device="cpu", tolerance=1e-5):
    """A step graph gives what steps give, where sequences grow by one and by several, and are forgotten."""
    condition = Condition(CONDITION.features.to(device))
    (cache, _), (plain, _) = (network.begin(condition, 3) for _ in range(2))
    tokens, step = TOKENS.to(device), StepGraph(network, cache, 3, capture)
    pieces = [(0, 1), (1, 2), (2, 9), (9, 10), (10, 11)]
    for first, end in [*pieces, *((place, place + 1) for place in range(11, 30))]:
        found, expected = step(tokens[:, first:end], cache), network.step(tokens[:, first:end], plain)
        assert cache.length == plain.length
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    with pytest.raises(ValueError, match="longer than the window"):
        step(tokens[:, :1], cache)
    cache.length = plain.length = 4
    kept = step(tokens[:, 3:4], cache)
    before = kept.clone()
    torch.testing.assert_close(kept, network.step(tokens[:, 3:4], plain), rtol=tolerance, atol=tolerance)
    step(tokens[:, 5:6], cache)
    assert torch.equal(kept, before)  # results are nobody else's memory


def test_steps_by_a_graph_are_steps(network):
    counted = []

    def capture(work):
        replay, result = recorded(work)
        return lambda: (replay(), counted.append(1)), result

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sequence(network, capture)
    assert len(counted) == 4 + 19 + 2  # single indices alone


@torch.inference_mode()
def test_rounding_of_bfloat16_is_no_error(network):
    network = network.bfloat16()
    cache, _ = network.begin(CONDITION, 3)
    step = StepGraph(network, cache, 3, recorded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for place in range(3):
            assert step(TOKENS[:, place : place + 1], cache).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "failure, reason", [("wrong", "computes something else"), ("nan", "computes something else"), ("error", "made")]
)
def test_without_a_graph_that_is_right_steps_go_on(network, failure, reason):
    def capture(work):
        if failure == "error":
            raise RuntimeError("operation not permitted")
        replay, result = recorded(work)
        return lambda: (replay(), result.mul_(1.2 if failure == "wrong" else torch.nan)), result

    with pytest.warns(UserWarning, match=f"{reason}.*without it"):
        check_sequence(network, capture)


def test_on_the_cpu_there_is_no_graph(network):
    cache, _ = network.begin(CONDITION, 1)
    assert quickest_step(network, cache, 1) == network.step


def test_sampling_by_a_graph_gives_the_same_indices(network, monkeypatch):
    sampling, prime = Sampling(top_k=8, seed=3), torch.zeros(2, 7, dtype=torch.int64)
    expected = generate(network, prime, 60, sampling, CONDITION)  # two windows: it slides
    made = []

    def graphed(network, cache, batch):
        made.append(StepGraph(network, cache, batch, recorded))
        return made[-1]

    monkeypatch.setattr("specvq_codec.sampling.quickest_step", graphed)
    assert torch.equal(generate(network, prime, 60, sampling, CONDITION), expected) and len(made) == 1


@NEEDS_GPU
def test_steps_by_a_cuda_graph_are_steps(network):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sequence(network.cuda(), captured, "cuda", 1e-4)


@NEEDS_GPU
@torch.inference_mode()
def test_a_cuda_graph_has_memory_of_its_own(network):
    """What is freed and taken again between replays must not be what the graph reads."""
    (cache, _), (plain, _) = (network.cuda().begin(Condition(CONDITION.features.cuda()), 3) for _ in range(2))
    tokens, step = TOKENS.cuda(), quickest_step(network, cache, 3)
    for place in range(30):
        found, expected = (
            one(tokens[:, place : place + 1], kept) for one, kept in ((step, cache), (network.step, plain))
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        taken = [torch.full((size,), 77, dtype=torch.int64, device="cuda") for size in (1, 3, 34, 64, 512)]
        del taken
