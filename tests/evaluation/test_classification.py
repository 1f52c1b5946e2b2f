"""Metrics of classifiers equal the reference's, and are what their definitions say."""

import numpy as np
import pytest
import torch
from parity import made, numbers

from specvq_codec.evaluation.classification import average_precision, classification_metrics, roc_area

GOLDEN = numbers("metrics")["classification"]


def test_metrics_equal_the_reference():
    targets = made(GOLDEN["targets"])
    logits = made(GOLDEN["logits"], targets=targets.numpy())
    found = classification_metrics(logits.softmax(1), targets)
    given = GOLDEN["metrics"]
    names = {"accuracy": "accuracy_1", "accuracy_5": "accuracy_5", "mAP": "mAP", "mAUC": "mROCAUC", "d_prime": "dprime"}
    assert set(names) == set(found) and set(names.values()) == set(given)
    for name, golden in names.items():
        assert found[name] == pytest.approx(given[golden], rel=1e-6), name


@pytest.mark.parametrize("levels", [3, 1000], ids=["many ties", "few ties"])
def test_areas_by_their_definitions(levels):
    """Average precision by going through all thresholds, the area by comparing all pairs."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, levels, 60).astype(np.float64)
    truth = rng.random(60) < 0.3
    precision, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = scores >= threshold
        now = (truth & taken).sum() / truth.sum()
        precision += (now - recall) * (truth & taken).sum() / taken.sum()
        recall = now
    assert average_precision(scores, truth) == pytest.approx(precision, rel=1e-12)
    pairs = scores[truth][:, None] - scores[~truth][None]
    assert roc_area(scores, truth) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), rel=1e-12)


def test_classes_that_do_not_occur_count_for_nothing():
    targets = torch.tensor([0, 2, 2, 0])
    scores = torch.tensor([[3.0, 0, 1], [0, 0, 2], [1, 9, 3], [2, 0, 0]])
    found = classification_metrics(scores, targets)
    assert found["accuracy"] == 0.75
    assert found["accuracy_5"] == 1.0
    assert found["mAP"] == found["mAUC"] == 1.0
    assert found["d_prime"] == float("inf")
