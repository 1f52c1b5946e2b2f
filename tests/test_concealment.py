"""Lost columns that the sampler invents: what is intact stays, and what came before leads on."""

import dataclasses
import shutil

import numpy as np
import pytest
from sampler_cases import FEATURES, add_tiny_sampler
from tiny import sound

from specvq_codec import Codec, UsageError, WeightsError
from specvq_codec.continuation import concealed
from specvq_codec.weights import load_bundle


@pytest.fixture(scope="module")
def codec(sampler_bundle) -> Codec:
    return Codec(sampler_bundle, device="cpu")


@pytest.fixture(scope="module")
def codes(codec):
    return codec.encode(sound(4.0))  # 22 columns


def without(codes, *lost):
    """The codes as a damaged file gives them."""
    indices = codes.indices.copy()
    for first, end in lost:
        indices[first:end] = 0
    return dataclasses.replace(codes, indices=indices, lost=lost)


@pytest.mark.parametrize("lost", [((10, 20),), ((0, 3),), ((0, 22),), ((2, 4), (4, 5), (21, 22))], ids=str)
def test_only_lost_columns_change(codec, codes, lost):
    found = concealed(codec, without(codes, *lost))
    assert found.lost == () and found.num_samples == codes.num_samples
    kept = np.ones(22, bool)
    for first, end in lost:
        kept[first:end] = False
        assert found.indices[first:end].any()
    assert np.array_equal(found.indices[kept], codes.indices[kept])
    assert type(codes).from_bytes(found.to_bytes(), codec.bundle) == found


def test_it_goes_on_from_what_came_before(codec, codes):
    """As a continuation with the same seed does: the sampler's window of 6 columns reaches back to column 4."""
    found = concealed(codec, without(codes, (10, 14)), seed=3)
    same = dataclasses.replace(codes, indices=codes.indices[4:10], num_samples=6 * 4096)
    longer = codec.continue_codes(same, 4 * 4096 / codec.sample_rate, seed=3)
    assert np.array_equal(found.indices[10:14], longer.indices[6:])
    assert not np.array_equal(concealed(codec, without(codes, (10, 14)), seed=4).indices, found.indices)
    others = [without(dataclasses.replace(codes, indices=(codes.indices + by) % 64), (10, 14)) for by in (10, 20, 30)]
    made = {concealed(codec, other, seed=3).indices[10:14].tobytes() for other in others}
    assert len(made | {found.indices[10:14].tobytes()}) > 1


def test_nothing_lost_needs_no_sampler(tiny_bundle, codes):
    plain = Codec(tiny_bundle, device="cpu")
    assert concealed(plain, codes) == codes
    with pytest.raises(WeightsError, match="has no sampler"):
        concealed(plain, without(codes, (1, 2)))


def test_samplers_that_need_a_condition(sampler_bundle, tmp_path, codes):
    bundle = load_bundle(shutil.copytree(sampler_bundle.path, tmp_path / "needs"))
    codec = Codec(add_tiny_sampler(bundle, **FEATURES), device="cpu")
    with pytest.raises(UsageError, match="features"):
        concealed(codec, without(codes, (1, 2)))
