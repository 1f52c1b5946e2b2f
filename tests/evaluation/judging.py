"""Tiny random classifiers for the tests of this folder."""

import torch

from specvq_codec.classifiers import Classifier
from specvq_codec.models.vggishish import VGGish, VGGishConfig


def tiny_classifier(seed: int = 0, batch_norm: bool = False) -> Classifier:
    """Three classes; its verdicts differ from one spectrogram to another by much more than rounding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = VGGishConfig((8, 8), (1, 1), hidden=16, num_classes=3, pooled=(2, 2), batch_norm=batch_norm)
        network = VGGish(config).eval()
        for parameter in network.requires_grad_(False).parameters():
            parameter.mul_(2)
    return Classifier(network, torch.full((80,), 0.5), torch.full((80,), 0.1), ("a", "b", "c"))


def random_mels(count: int, frames: int = 48, seed: int = 0) -> torch.Tensor:
    """Spectrograms (count, 80, frames) in [0, 1]."""
    return torch.rand(count, 80, frames, generator=torch.Generator().manual_seed(seed))
