"""The losses of adversarial training, for spectrograms and waveforms alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """What a discriminator minimises: (mean relu(1 - real) + mean relu(1 + fake)) / 2, a scalar.

    Args:
        real: logits of originals, any shape.
        fake: logits of what was generated, any shape; made from inputs that are cut from the generator's graph.

    Lim & Ye, "Geometric GAN" (2017). The reference's codebooks are trained with this mean, its vocoder with the sum.
    """
    return 0.5 * (F.relu(1.0 - real.float()).mean() + F.relu(1.0 + fake.float()).mean())


def logistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """The same with logistic losses: (mean softplus(-real) + mean softplus(fake)) / 2.

    Goodfellow et al., "Generative Adversarial Nets" (2014).
    """
    return 0.5 * (F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean())


def hinge_generator(fake: Tensor) -> Tensor:
    """What a generator minimises: the mean of the negated logits of what it made, a scalar."""
    return -fake.float().mean()


def feature_matching(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean absolute difference of a discriminator's features of originals and of what was generated, a scalar.

    Args:
        real: the feature maps of every scale, the logits last, which do not count; no gradient goes there.
        fake: the same of what was generated.

    Kumar et al., "MelGAN" (2019), with the weights of their code: 4 / (strided layers + 1) for each map, averaged over
    scales; a scale has two more maps, and the logits, than strided layers.
    """
    total = torch.zeros((), device=fake[0][0].device)
    for originals, generated in zip(real, fake, strict=True):
        weight = 4.0 / (len(generated) - 2) / len(fake)
        for original, made in zip(originals[:-1], generated[:-1], strict=True):
            total = total + weight * F.l1_loss(made.float(), original.detach().float())
    return total


def adaptive_weight(
    reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor, low: float = 0.0, high: float = 1e4
) -> Tensor:
    """The weight that makes an adversarial loss pull as hard at the last layer as the reconstruction loss does.

    |d reconstruction / d last_layer| / (|d adversarial / d last_layer| + 1e-4) within the limits; a detached scalar, 0
    where no gradient is recorded. Esser, Rombach & Ommer, "Taming Transformers" (CVPR 2021), whose published settings
    for spectrograms (low and high both 1) leave nothing to adapt.

    Args:
        reconstruction: scalar loss that depends on `last_layer`.
        adversarial: scalar loss that depends on `last_layer`.
        last_layer: weight of the generator's last layer.
        low: the least that it may be.
        high: the most that it may be.
    """
    if not (reconstruction.requires_grad and adversarial.requires_grad):
        return torch.zeros((), device=last_layer.device)
    pulls = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].float().norm()
        for loss in (reconstruction, adversarial)
    ]
    return (pulls[0] / (pulls[1] + 1e-4)).clamp(low, high).detach()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Graphs made in this context pass gradients through a module, and compute none for its own parameters.

    For a generator that is judged: its step has no use for the gradients of the judge.
    """
    moving = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in moving:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)
