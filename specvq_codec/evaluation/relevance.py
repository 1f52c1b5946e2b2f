"""What a classifier makes of spectrograms; see `distributions` for what that tells of a set of sounds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..classifiers import Classifier


class Verdict(NamedTuple):
    """What a classifier makes of spectrograms.

    Attributes:
        probabilities: of its classes, float64 (B, C).
        hidden: what its logits are computed from, float64 (B, D).
    """

    probabilities: Tensor
    hidden: Tensor


@torch.inference_mode()
def verdict(classifier: Classifier, mels: Tensor) -> Verdict:
    """The verdict on log-mel spectrograms (B, 80, T) in [0, 1], T >= 16; the tensors are on the CPU."""
    device = next(classifier.network.parameters()).device
    standard = (mels - classifier.means[:, None]) / classifier.stds[:, None]
    hidden = classifier.network.hidden(standard[:, None].to(device))
    probabilities = classifier.network.logits(hidden).double().softmax(1)
    return Verdict(probabilities.cpu(), hidden.double().cpu())
