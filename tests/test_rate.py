"""Rates by choice: the search finds what is best, its bits are those of the coder, and files are as small as asked."""

import itertools
import shutil

import numpy as np
import pytest
from prior_cases import random_prior
from tiny import sound

from specvq_codec import Codec, Codes, UsageError, WeightsError
from specvq_codec.bitstream import BLOCK_COLUMNS, CodingModel, Prior
from specvq_codec.bitstream.learned import learned_bits
from specvq_codec.rate import Candidates, chosen
from specvq_codec.weights import add_prior, load_bundle


@pytest.fixture(scope="module")
def codec(tiny_bundle, tmp_path_factory):
    folder = shutil.copytree(tiny_bundle.path, tmp_path_factory.mktemp("prior") / "tiny")
    return Codec(add_prior(load_bundle(folder), random_prior(64)), device="cpu")


@pytest.fixture(scope="module")
def prior():
    return Prior(random_prior(64))


def candidates(columns, count, seed=0):
    rng = np.random.default_rng(seed)
    indices = rng.permuted(np.tile(np.arange(64), (columns, 5, 1)), axis=-1)[..., :count]
    distances = np.sort(rng.exponential(1.0, (columns, 5, count)), axis=-1)
    return Candidates(indices.astype(np.int16), (distances - distances[..., :1]).astype(np.float32))


def bits_of(grid, prior):
    return learned_bits(grid, CodingModel(64, prior=prior)).sum()


def distance_of(grid, given):
    places = (given.indices == grid[..., None]).argmax(axis=-1)
    return np.take_along_axis(given.distances, places[..., None], axis=-1).sum()


def test_without_weight_the_nearest_are_chosen(prior):
    given = candidates(7, 5)
    assert np.array_equal(chosen(given, prior, 0.0)[0], given.indices[..., 0])


@pytest.mark.parametrize("seed", range(3))
def test_with_enough_beams_the_best_of_all_is_found(prior, seed):
    given = candidates(1, 3, seed)
    found, bits = chosen(given, prior, 0.3, beams=3**5)
    every = [
        np.array([[given.indices[0, row, pick] for row, pick in enumerate(picks)]], np.int16)
        for picks in itertools.product(range(3), repeat=5)
    ]
    costs = [distance_of(grid, given) + 0.3 * bits_of(grid, prior) for grid in every]
    assert np.array_equal(found, every[int(np.argmin(costs))])
    assert distance_of(found, given) + 0.3 * bits[0] == pytest.approx(min(costs), rel=1e-6)


def test_more_weight_gives_fewer_bits_at_larger_distances(prior):
    given = candidates(12, 8)
    found = [chosen(given, prior, weight) for weight in (0.0, 0.1, 1.0, 10.0)]
    bits = [float(each[1].sum()) for each in found]
    distances = [distance_of(each[0], given) for each in found]
    assert bits == sorted(bits, reverse=True) and bits[3] < 0.7 * bits[0]
    assert distances == sorted(distances) and distances[1] > distances[0]
    for (grid, _), total in zip(found, bits, strict=True):
        assert total == pytest.approx(bits_of(grid, prior))


def test_blocks_know_nothing_of_each_other(prior):
    given = candidates(2 * BLOCK_COLUMNS + 3, 2)
    grid, bits = chosen(given, prior, 0.5, beams=2)
    assert grid.shape == (len(given.indices), 5) and bits.shape == (3,)
    for number, first in enumerate((0, BLOCK_COLUMNS, 2 * BLOCK_COLUMNS)):
        alone, own = chosen(given[first : first + BLOCK_COLUMNS], prior, 0.5, beams=2)
        assert np.array_equal(grid[first : first + BLOCK_COLUMNS], alone)
        assert bits[number] == pytest.approx(own[0]) == pytest.approx(bits_of(alone, prior))


def learned_rate(codes):
    return 8 * len(codes.to_bytes("learned")) / codes.duration


def test_files_are_as_small_as_asked(codec):
    samples = sound(6.0)
    free = codec.encode(samples)
    rate = learned_rate(free)
    distances = []
    for share in (0.95, 0.8, 0.65):
        codes = codec.encode(samples, target_bps=share * rate)
        assert 0.9 * share * rate < learned_rate(codes) <= share * rate
        assert Codes.from_bytes(codes.to_bytes(), codec.bundle) == codes
        distances.append(float(np.abs(codec.spectrogram(codes) - codec.spectrogram(free)).mean()))
    assert 0 < distances[0] < distances[2]
    assert codec.encode(samples, target_bps=rate + 1) == free


def test_what_cannot_be(codec, tiny_bundle):
    samples = sound(2.0)
    with pytest.raises(UsageError, match=r"cannot be made smaller than about \d+ bits per second"):
        codec.encode(samples, target_bps=1.0)
    for target in (0.0, -5.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="must be above 0"):
            codec.encode(samples, target_bps=target)
    with pytest.raises(WeightsError, match="has no prior"):
        Codec(tiny_bundle, device="cpu").encode(samples, target_bps=100.0)
