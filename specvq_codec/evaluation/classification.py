"""How good a classifier is: accuracy, average precision and area under the ROC curve, averaged over classes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Numbers = npt.NDArray[np.float64]


def classification_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Metrics of probabilities (N, C) for the true classes (N,), int64.

    Probabilities and not logits, for precision and area compare the examples of a class with one another.

    Returns:
        accuracy: share of examples whose class is the likeliest; accuracy_5: is among the five likeliest;
        mAP: average precision, one class against the rest; mAUC: area under the ROC curve, likewise; both are means
        over the classes that occur, of which there must be two; d_prime: the separation of two unit normals that would
        have that area (Gemmeke et al., "Audio Set", 2017).
    """
    order = probabilities.argsort(1, descending=True)
    hits = order == targets[:, None]
    precisions, areas = [], []
    for label in targets.unique().tolist():
        truth = (targets == label).numpy(force=True)
        column = probabilities[:, label].double().numpy(force=True)
        precisions.append(average_precision(column, truth))
        areas.append(roc_area(column, truth))
    area = float(np.mean(areas))
    return {
        "accuracy": float(hits[:, :1].any(1).float().mean()),
        "accuracy_5": float(hits[:, :5].any(1).float().mean()),
        "mAP": float(np.mean(precisions)),
        "mAUC": area,
        "d_prime": math.sqrt(2.0) * float(torch.special.ndtri(torch.tensor(area, dtype=torch.float64))),
    }


def average_precision(scores: Numbers, truth: npt.NDArray[np.bool_]) -> float:
    """Sum over thresholds of precision times the gain in recall; examples of equal score share a threshold."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(truth[order])
    last = np.append(np.diff(scores[order]) != 0, True)  # of the examples with the same score
    hits, taken = found[last], np.flatnonzero(last) + 1
    return float((np.diff(hits, prepend=0) * hits / taken).sum() / found[-1])


def roc_area(scores: Numbers, truth: npt.NDArray[np.bool_]) -> float:
    """The chance that a random positive scores above a random negative, ties counted half; both must occur."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # the mean rank of equal scores
    positives = int(truth.sum())
    above = ranks[truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(truth) - positives)))
