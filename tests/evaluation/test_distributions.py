"""FID, KID, IS and MKL: equal to the reference's, and right where the answer is known."""

import math

import numpy as np
import pytest
import torch
from parity import fill, made, numbers

from specvq_codec.evaluation.distributions import divergences, frechet_distance, inception_score, kernel_distance

GOLDEN = numbers("metrics")
CASES = list(GOLDEN["fid"])


def golden_sets(case):
    return (made(GOLDEN["fid"][case]["input"][name]) for name in "ab")


@pytest.mark.parametrize("case", CASES)
def test_fid_is_the_references(case):
    found = frechet_distance(*golden_sets(case))
    assert found == pytest.approx(GOLDEN["fid"][case]["same_by_eigenvalues_in_float64"], rel=1e-7)
    # whose means are float32, and whose root of a matrix is less exact
    assert found == pytest.approx(GOLDEN["fid"][case]["frechet_inception_distance"], rel=1e-6)


@pytest.mark.parametrize("run", range(3))
@pytest.mark.parametrize("case", CASES)
def test_kid_is_the_references(case, run):
    """Its kernels are float32; the standard deviation over subsets that are all the same is their rounding alone, where
    ours are compared once and have none.
    """
    expected = GOLDEN["kid"][case]["runs"][run]
    options = {name: expected["options"][name] for name in ("subsets", "subset_size", "degree", "gamma", "coef0")}
    one, other = golden_sets(case)
    mean, deviation = kernel_distance(one, other, **options)
    assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=3e-6)
    assert (deviation or 0.0) == pytest.approx(expected["kernel_inception_distance_std"], rel=3e-6, abs=3e-6)
    assert (deviation is None) == (len(one) == len(other) <= options["subset_size"])


@pytest.mark.parametrize("run", GOLDEN["isc"]["runs"])
def test_inception_score_is_the_references(run):
    expected = GOLDEN["isc"]["runs"][run]
    options = expected["options"]
    mean, deviation = inception_score(made(GOLDEN["isc"]["input"]), options["splits"], options["samples_shuffle"])
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-12)
    assert deviation == pytest.approx(expected["inception_score_std"], rel=1e-9, abs=1e-15)


def test_mkl_is_the_references():
    golden = GOLDEN["kl"]
    real = made(golden["real"])
    fake = made(golden["fake"], real=real.numpy())
    order = np.argsort(fill.gauss("input:metrics:order", (48,), 0))
    values = divergences(real.repeat_interleave(4, 0)[order].softmax(1), fake[order].softmax(1))
    assert float(values.mean()) == pytest.approx(golden["vggsound"], rel=1e-6)
    assert golden["vas"] == golden["vggsound"]


def test_the_defaults_are_the_references():
    one, other = golden_sets("d64")
    expected = GOLDEN["kid"]["d64"]["runs"][0]["kernel_inception_distance_mean"]
    assert kernel_distance(one, other)[0] == pytest.approx(expected, rel=1e-6)
    expected = GOLDEN["isc"]["runs"]["official"]["inception_score_mean"]
    assert inception_score(made(GOLDEN["isc"]["input"]))[0] == pytest.approx(expected, rel=1e-12)


def test_scores_of_what_is_certain_and_of_what_is_not():
    certain = 100.0 * torch.eye(5).repeat(20, 1)
    assert inception_score(certain, splits=1) == (pytest.approx(5.0), 0.0)
    assert inception_score(certain[::5]) == (pytest.approx(1.0), pytest.approx(0.0))  # all of one class
    beyond_float64 = torch.tensor([[0.0, -800.0]]).repeat(20, 1)  # the second has no chance at all
    assert inception_score(beyond_float64) == (pytest.approx(1.0), pytest.approx(0.0))
    assert inception_score(torch.zeros(7, 5)) == (pytest.approx(1.0), pytest.approx(0.0))  # and fewer than splits


def test_kid_of_one_distribution_is_around_zero_whatever_its_size():
    generator = torch.Generator().manual_seed(0)
    for count in (20, 200):
        values = [kernel_distance(*torch.randn(2, count, 8, generator=generator), subsets=1)[0] for _ in range(50)]
        assert abs(np.mean(values)) < 4 * np.std(values) / 50**0.5 and min(values) < 0 < max(values)


def test_divergence_of_distributions():
    half, sure = torch.tensor([[0.5, 0.5]]).double(), torch.tensor([[1.0, 0.0]]).double()
    assert float(divergences(half, half)) == pytest.approx(0.0, abs=1e-5)
    assert float(divergences(sure, half)) == pytest.approx(math.log(2), abs=1e-5)
    assert 5 < float(divergences(half, sure)) < 10  # would be infinite without the reference's 1e-6
    both = divergences(torch.cat([half, sure]), torch.cat([half, half]))
    assert both.shape == (2,)


def test_frechet_distance_of_normal_distributions():
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(200, 3, generator=generator).double()
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(one, one + torch.tensor([1.0, 2.0, 0.0])) == pytest.approx(5.0)
    mean = one.mean(0)
    wider = (one - mean) * 3 + mean  # standard deviations s and 3 s along every axis
    assert frechet_distance(one, wider) == pytest.approx(4 * float(one.var(0).sum()))
    other = torch.randn(150, 3, generator=generator).double() @ torch.randn(3, 3, generator=generator).double()
    first, second = (torch.cov(features.T) for features in (one, other))
    root = torch.linalg.eigvals(first @ second).sqrt().sum().real  # the trace of the root of the product
    expected = (mean - other.mean(0)).square().sum() + first.trace() + second.trace() - 2 * root
    assert frechet_distance(one, other) == pytest.approx(float(expected))
    assert frechet_distance(other, one) == pytest.approx(float(expected))
