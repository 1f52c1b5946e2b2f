"""Generated sequences equal the reference's, and do not depend on what else is in a batch."""

import numpy as np
import pytest
import torch
from parity import arrays
from sampler_cases import FEATURES, TINY, tiny, two_stage

from specvq_codec.bitstream import UsageError
from specvq_codec.models.transformer import Condition, Transformer, TransformerConfig
from specvq_codec.sampling import Sampling, generate, probabilities, window_start

GREEDY = Sampling(top_k=1)


def golden(name: str) -> np.ndarray:
    return arrays("transformer")[f"e2e.{name}"]


def tokens_of(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64))


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("greedy", 0),
        ("greedy_from_132", 132),
        ("greedy_from_130", 130),
        ("evaluation_sampler.nopix", 0),
        ("evaluation_sampler.half", 130),
    ],
)
def test_greedy_sequences_equal_the_reference(name, start):
    network, condition = two_stage()
    prime = tokens_of(golden("tokens"))[:, :start]
    assert np.array_equal(generate(network, prime, 265, GREEDY, condition), golden(name))


@pytest.mark.parametrize(("name", "primed"), [("full", 0), ("half", 130)])
def test_long_sequences_equal_the_reference(name, primed):
    network, condition = two_stage()
    wanted = golden(f"long.{name}")
    found = generate(network, tokens_of(golden("tokens"))[:, :primed], wanted.shape[1], GREEDY, condition)
    assert np.array_equal(found, wanted)


def test_windows_are_centred_but_for_the_ends():
    assert [window_start(column, 4, 6) for column in range(4)] == [0, 0, 0, 0]
    assert [window_start(column, 9, 6) for column in range(9)] == [0, 0, 0, 0, 1, 2, 3, 3, 3]
    assert [window_start(column, 9, 5) for column in range(9)] == [0, 0, 0, 1, 2, 3, 4, 4, 4]


def uncached(network: Transformer, prime: torch.Tensor, length: int, condition: Condition | None) -> torch.Tensor:
    """The likeliest continuation, every step by a whole pass over what the window holds."""
    sequence = prime
    for place in range(prime.shape[1], length):
        first = 5 * window_start(place // 5, -(-length // 5), network.config.columns)
        sequence = torch.cat([sequence, network(sequence[:, first:], condition)[:, -1].argmax(1)[:, None]], dim=1)
    return sequence


@pytest.mark.parametrize("start", [0, 3, 20, 47])
@torch.inference_mode()
def test_the_cache_changes_nothing(start):
    network = tiny(TransformerConfig(**TINY, **FEATURES))
    condition = Condition(torch.randn(1, 4, 7, generator=torch.Generator().manual_seed(0)))
    prime = torch.arange(2 * start).reshape(2, start) * 7 % 32
    found = generate(network, prime, 60, GREEDY, condition)
    assert torch.equal(found, uncached(network, prime, 60, condition))
    assert torch.equal(found[:, :start], prime)


def test_a_sample_depends_on_the_seed_and_its_number_alone():
    network = tiny(TransformerConfig(**TINY))
    prime = torch.arange(4).expand(5, -1)

    def run(count: int, seed: int) -> torch.Tensor:
        return generate(network, prime[:count], 42, Sampling(16, seed=seed))

    five = run(5, seed=3)
    for count in (1, 2, 5):
        assert torch.equal(run(count, seed=3), five[:count])
    assert len({tuple(row) for row in five.tolist()}) == 5
    assert not torch.equal(run(1, seed=4), five[:1])


def test_nothing_is_made_where_the_prime_is_long_enough():
    prime = torch.arange(10)[None]
    assert torch.equal(generate(tiny(TransformerConfig(**TINY)), prime, 10, Sampling()), prime)


def test_progress_is_told_after_every_column():
    told = []
    prime = torch.zeros(1, 10, dtype=torch.int64)
    generate(tiny(TransformerConfig(**TINY)), prime, 40, Sampling(), progress=lambda *state: told.append(state))
    assert told == [(column, 8) for column in range(3, 9)]


LOGITS = torch.tensor([[1.0, 3.0, 2.0, 3.0, -1.0, 2.0, 0.0, 2.0]])


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(1), [1, 3]),  # whatever equals the k-th largest stays
        (Sampling(3), [1, 2, 3, 5, 7]),
        (Sampling(), [1, 2, 3, 5, 7]),  # half of the codebook, and what equals the last of it
        (Sampling(8), range(8)),
        (Sampling(1000), range(8)),
    ],
)
def test_top_k(sampling, kept):
    chances = probabilities(LOGITS, sampling)[0]
    assert chances.nonzero()[:, 0].tolist() == list(kept)
    expected = LOGITS[0, list(kept)].double().softmax(0)
    torch.testing.assert_close(chances[list(kept)], expected)


def test_nucleus():
    logits = torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15]]).log()
    for nucleus, kept in [(0.01, [1]), (0.39, [1]), (0.41, [1, 3]), (0.84, [1, 3, 4]), (0.96, [0, 1, 2, 3, 4])]:
        chances = probabilities(logits, Sampling(5, nucleus=nucleus))[0]
        assert chances.nonzero()[:, 0].tolist() == kept
        assert chances.sum() == pytest.approx(1)
        assert chances[1] / chances[kept[-1]] == pytest.approx(logits[0, 1].exp() / logits[0, kept[-1]].exp())


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1.0])
def test_the_coldest_temperature_takes_the_likeliest(temperature):
    logits = torch.tensor([[-50.0, 100.0, 0.0, 99.0], [-3.0, -torch.inf, -1.0, -400.0]])
    chances = probabilities(logits, Sampling(4, temperature))
    assert chances.isfinite().all() and chances.argmax(1).tolist() == [1, 2]
    if temperature < 1.0:
        assert torch.equal(chances.sum(1), chances.amax(1))


def test_temperature_flattens():
    cold, warm, hot = (probabilities(LOGITS, Sampling(8, temperature=t))[0] for t in (0.01, 1.0, 100.0))
    assert cold[[1, 3]].sum() > 0.999 and warm.max() > hot.max() > 1 / 8 and hot.min() > 0.11


def test_indices_are_drawn_as_often_as_their_probabilities_say():
    network = tiny(TransformerConfig(**TINY))
    logits = network.begin(None, 1)[1].detach()
    chances = probabilities(logits, Sampling(12))[0]
    found = generate(network, torch.zeros(4000, 0, dtype=torch.int64), 1, Sampling(12))[:, 0]
    shares = torch.bincount(found, minlength=32) / 4000
    assert shares[chances == 0].sum() == 0
    assert (shares - chances).abs().max() < 4 * (chances.max() / 4000).sqrt()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("top_k", 0),
        ("temperature", 0.0),
        ("temperature", float("nan")),
        ("nucleus", 0.0),
        ("nucleus", 1.1),
        ("seed", -1),
    ],
)
def test_impossible_options_are_refused(option, value):
    with pytest.raises(UsageError, match=r"must"):
        Sampling(**{option: value})
