"""What a classifier makes of spectrograms; see `distributions` for what that tells of a set of sounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..bitstream.errors import UsageError
from ..classifiers import Classifier
from ..spectrogram import HOP_LENGTH, SAMPLE_RATE


class Verdict(NamedTuple):
    """What a classifier makes of B spectrograms. All tensors are float32, or all float64, on the CPU.

    Attributes:
        hidden: what its logits are computed from, (B, D): the features of FID and KID.
        logits: (B, C).
        unbiased: logits without the last layer's bias, (B, C): those of the inception score.
    """

    hidden: Tensor
    logits: Tensor
    unbiased: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Of the classes, float64 (B, C): those of MKL."""
        return self.logits.double().softmax(1)

    @classmethod
    def together(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """One after another; at least one."""
        return cls(*(torch.cat(parts) for parts in zip(*verdicts, strict=True)))


@torch.inference_mode()
def verdict(classifier: Classifier, mels: Iterable[Tensor]) -> Verdict:
    """The verdict on log-mel spectrograms (80, T) in [0, 1]: a batch of them, or several of any lengths.

    They go through the network one at a time, so that a result never depends on what else is judged. T is at least what
    the network takes: `config.min_frames`.

    Raises:
        UsageError: a spectrogram is shorter.
    """
    network = classifier.network
    least = network.config.min_frames
    device = next(network.parameters()).device
    found = []
    for mel in mels:
        if mel.shape[1] < least:
            raise UsageError(
                f"This classifier judges sounds of {least * HOP_LENGTH / SAMPLE_RATE:.2f} s and more, "
                f"and here is one of {mel.shape[1] * HOP_LENGTH / SAMPLE_RATE:.2f} s: take longer ones."
            )
        standard = (mel.float() - classifier.means[:, None]) / classifier.stds[:, None]
        hidden = network.hidden(standard[None, None].to(device))
        found.append(Verdict(hidden, network.logits(hidden), network.unbiased_logits(hidden)))
    return Verdict(*(part.float().cpu() for part in Verdict.together(found)))
