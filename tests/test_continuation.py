"""Sounds that go on: whole columns of the beginning stay, the length is what was asked for, seeds repeat."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from sampler_cases import FEATURES, add_tiny_sampler
from tiny import sound

from specvq_codec import Codec, UsageError, WeightsError
from specvq_codec.continuation import continuations
from specvq_codec.sampling import Sampling
from specvq_codec.weights import add_sampler, load_bundle

COLUMN = 4096


@pytest.fixture(scope="module")
def continuing(sampler_bundle) -> Codec:
    return Codec(sampler_bundle, device="cpu")


@pytest.fixture(scope="module")
def codes(continuing):
    """1.2 s, six whole columns and a part of one, at another rate than the codec's."""
    return continuing.encode(sound(1.2, 44_100), 44_100)


@pytest.mark.parametrize("seconds", [1e-4, 0.05, 0.37, 4.0])
def test_whole_columns_stay_and_the_length_is_as_asked(continuing, codes, seconds):
    longer = continuing.continue_codes(codes, seconds)
    assert longer.num_samples == codes.num_samples + round(seconds * 44_100)
    assert len(longer.indices) == -(-(longer.num_samples // 2) // COLUMN)
    assert longer.indices.dtype == np.int16 and np.array_equal(longer.indices[:6], codes.indices[:6])
    assert (longer.sample_rate, longer.fingerprint) == (44_100, codes.fingerprint)
    assert type(longer).from_bytes(longer.to_bytes(), continuing.bundle) == longer
    assert len(continuing.decode(longer, 44_100)) == longer.num_samples


def test_a_prime_of_whole_columns_stays_whole(continuing):
    codes = continuing.encode(sound(1.0)[: 3 * COLUMN])
    assert np.array_equal(continuing.continue_codes(codes, 1.0).indices[:3], codes.indices)


def test_the_same_seed_gives_the_same_sound(continuing, codes):
    first = continuing.continue_codes(codes, 3.0, seed=5)
    assert continuing.continue_codes(codes, 3.0, seed=5) == first
    assert continuing.continue_codes(codes, 3.0, seed=6) != first
    several = continuations(continuing, codes, 3.0, 4, Sampling(seed=5))
    assert several[0] == first and len({one.indices.tobytes() for one in several}) == 4
    likeliest = continuations(continuing, codes, 3.0, 2, Sampling(top_k=1))
    assert likeliest[0] == likeliest[1] != first
    assert continuing.continue_codes(codes, 3.0, top_k=1, seed=9) == likeliest[0]


def test_options_reach_the_sampler(continuing, codes):
    plain = continuing.continue_codes(codes, 3.0)
    assert continuing.continue_codes(codes, 3.0, top_k=32) == plain  # half of the codebook
    for options in ({"top_k": 2}, {"temperature": 3.0}, {"nucleus": 0.1}):
        assert continuing.continue_codes(codes, 3.0, **options) != plain
    told = []
    longer = continuing.continue_codes(codes, 3.0, progress=lambda *state: told.append(state))
    total = len(longer.indices)
    assert told == [(column, total) for column in range(7, total + 1)]


def test_the_beginning_of_a_sound(codes):
    half = codes.beginning(0.6)
    assert half.num_samples == 26_460 and len(half.indices) == 4
    assert np.array_equal(half.indices, codes.indices[:4])
    assert codes.beginning(1.2) == codes.beginning(1e9) == codes.beginning(float("inf")) == codes
    gaps = dataclasses.replace(codes, lost=((1, 2), (3, 6), (6, 7)))
    assert gaps.beginning(0.75).lost == ((1, 2), (3, 5))
    for seconds in (0.0, -1.0, float("nan"), 1e-9):
        with pytest.raises(UsageError, match="must be longer than 0 s"):
            codes.beginning(seconds)


def test_what_cannot_be_continued(continuing, codes, other_bundle, tiny_bundle):
    with pytest.raises(UsageError, match=r"lasts 0\.180 s, and at least one column .* 0\.186 s"):
        continuing.continue_codes(codes.beginning(0.18), 1.0)
    for seconds in (0.0, -1.0, float("nan"), float("inf"), 1e-9):
        with pytest.raises(UsageError, match="by more than 0 s"):
            continuing.continue_codes(codes, seconds)
    with pytest.raises(UsageError, match="25 hours"):
        continuing.continue_codes(codes, 1e12)
    with pytest.raises(UsageError, match="at least 1"):
        continuations(continuing, codes, 1.0, 0, Sampling())
    with pytest.raises(UsageError, match="lost columns"):
        continuing.continue_codes(dataclasses.replace(codes, lost=((0, 1),)), 1.0)
    with pytest.raises(WeightsError, match="made with the weights"):
        continuing.continue_codes(Codec(other_bundle).encode(sound(1.0)), 1.0)
    with pytest.raises(WeightsError, match="The bundle tiny has no sampler"):
        Codec(tiny_bundle).continue_codes(codes, 1.0)


def test_a_sampler_that_takes_conditions(tiny_bundle, tmp_path, codes):
    bundle = load_bundle(shutil.copytree(tiny_bundle.path, tmp_path / "both"))
    codec = Codec(add_tiny_sampler(bundle, **FEATURES, num_classes=5, optional=True), device="cpu")
    features = np.random.default_rng(0).standard_normal((100, 7)).astype(np.float32)
    given = [{}, {"label": "dog"}, {"label": "rain"}, {"features": features}, {"features": features, "label": "dog"}]
    results = [codec.continue_codes(codes, 2.0, **options).indices.tobytes() for options in given]
    assert len(set(results)) == 5
    with pytest.raises(UsageError, match="no class 'dgo': did you mean dog"):
        codec.continue_codes(codes, 2.0, label="dgo")


@pytest.fixture
def copy(sampler_bundle, tmp_path):
    return load_bundle(shutil.copytree(sampler_bundle.path, tmp_path / "copy"))


def test_a_sampler_leaves_the_rest_of_a_bundle_as_it_is(sampler_bundle, tiny_bundle):
    sampler_bundle.verify()
    assert sampler_bundle.fingerprint == tiny_bundle.fingerprint
    assert tiny_bundle.sampler is None and tiny_bundle.labels == ()
    for path in tiny_bundle.path.glob("*.safetensors"):
        assert (sampler_bundle.path / path.name).read_bytes() == path.read_bytes()


def test_a_missing_or_undescribed_sampler_is_noticed(copy, tiny_bundle):
    shutil.copy(copy.path / "sampler.safetensors", copy.path.parent)
    (copy.path / "sampler.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"must have sampler\.safetensors exactly if"):
        copy.verify()
    shutil.copy(copy.path.parent / "sampler.safetensors", copy.path)
    copy.verify()
    shutil.copy(tiny_bundle.path / "config.json", copy.path)
    with pytest.raises(WeightsError, match=r"must have sampler\.safetensors exactly if"):
        load_bundle(copy.path).verify()


def test_damage_of_the_sampler_is_noticed_where_it_is_used(copy, codes):
    (copy.path / "sampler.safetensors").write_bytes(b"broken")
    codec = Codec(copy, device="cpu")
    assert len(codec.decode(codes)) == 26_460
    with pytest.raises(WeightsError, match=r"sampler\.safetensors is damaged"):
        codec.continue_codes(codes, 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_layer": 10**9}, "deeper than its weights"),
        ({"n_layer": 2}, "blocks.2.* is missing, unknown"),
        ({"n_head": 3}, "make no network"),
        ({"n_embd": 2**40}, "make no network"),
        ({"columns": "many"}, "make no network"),
        ({"columns": 7}, "pos_emb"),
        ({"speed": 1}, "does not know"),
        ({"num_classes": 3}, "damaged"),
        ({"codebook_size": 65}, "of the wrong shape"),
    ],
)
def test_settings_that_do_not_fit_the_sampler_are_refused(copy, settings, message):
    with pytest.raises(WeightsError, match=message):
        _ = Codec(add_sampler(copy, copy.sampler | settings, copy.tensors("sampler"))).sampler


def test_samplers_of_other_codebooks_and_without_numbers_are_refused(copy):
    with pytest.raises(WeightsError, match="another codebook"):
        _ = Codec(add_tiny_sampler(copy, codebook_size=32)).sampler
    bundle = add_tiny_sampler(copy)
    tensors = bundle.tensors("sampler")
    tensors["ln_f.bias"][3] = np.nan
    with pytest.raises(WeightsError, match=r"ln_f\.bias in the sampler of .* is not finite"):
        _ = Codec(add_sampler(bundle, bundle.sampler, tensors)).sampler


@pytest.mark.parametrize("change", [{"sampler": 7}, {"sampler": []}, {"labels": 7}, {"labels": ["x"]}, {"labels": [1]}])
def test_hostile_descriptions_of_a_sampler_are_refused(copy, change):
    config = json.loads((copy.path / "config.json").read_text()) | change
    (copy.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="damaged"):
        load_bundle(copy.path)


def test_half_precision_samplers_compute_in_single_precision(copy):
    half = {key: value.astype(np.float16) for key, value in copy.tensors("sampler").items()}
    sampler = Codec(add_sampler(copy, copy.sampler, half), device="cpu").sampler
    assert {parameter.dtype for parameter in sampler.parameters()} == {torch.float32}
