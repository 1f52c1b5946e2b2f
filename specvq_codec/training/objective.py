"""What the codebook's networks minimise: reconstruction, perceptual and adversarial losses of spectrograms.

Follows the reference (Iashin & Rahtu 2021, after Esser et al. 2021): an L1 and a perceptual distance make the
reconstruction loss; from some step on, a patch discriminator's judgement is added with an adaptive weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..models.discriminators import PatchDiscriminator
from .adversarial import adaptive_weight, frozen, hinge_discriminator, hinge_generator, logistic_discriminator
from .loop import require_from_zero
from .perceptual import LPAPS


@dataclass(frozen=True)
class ObjectiveConfig:
    """Which losses count how much."""

    perceptual: float = 0.0  # weight of LPAPS; above 0 needs a trained classifier
    adversarial: float = 0.0  # weight of the discriminator's judgement; 0 needs no discriminator
    adversary_from: int = 2001  # the first step with the discriminator
    adaptive: tuple[float, float] = (
        0.0,
        1e4,
    )  # the adaptive factor of that weight stays in here; the reference: (1, 1)
    judge_loss: Literal["hinge", "logistic"] = "hinge"

    def __post_init__(self) -> None:
        require_from_zero(self, "perceptual", "adversarial")
        if not 0 <= self.adaptive[0] <= self.adaptive[1]:
            raise ValueError(f"adaptive must be two numbers from 0 up, the smaller one first, not {self.adaptive}")


def generator_loss(
    config: ObjectiveConfig,
    perceptual: LPAPS | None,
    judge: PatchDiscriminator | None,
    mel: Tensor,
    made: Tensor,
    last_layer: Tensor,
    step: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of decoded spectrograms, without that of the codebook.

    Args:
        config: weights.
        perceptual: needed if its weight is not 0.
        judge: needed if its weight is not 0; its own parameters get no gradient.
        mel: originals (B, 1, 80, T) in [-1, 1].
        made: what was decoded, of that shape.
        last_layer: weight of the decoder's last layer, for the adaptive weight.
        step: of the training.

    Returns:
        The loss, and detached scalars: "l1" (in [0, 1] units), and where they count "lpaps", "judged" and "weight".
    """
    reconstruction = (mel - made).abs().mean()
    shown = {"l1": reconstruction.detach() / 2}
    if config.perceptual:
        assert perceptual is not None
        distance = perceptual(mel, made).mean()
        reconstruction = reconstruction + config.perceptual * distance
        shown["lpaps"] = distance.detach()
    if not config.adversarial or step < config.adversary_from:
        return reconstruction, shown
    assert judge is not None
    with frozen(judge):
        judged = hinge_generator(judge(made).float())
    weight = config.adversarial * adaptive_weight(reconstruction, judged, last_layer, *config.adaptive)
    shown |= {"judged": judged.detach(), "weight": weight}
    return reconstruction + weight * judged, shown


def judge_loss(
    config: ObjectiveConfig, judge: PatchDiscriminator, mel: Tensor, made: Tensor, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of the discriminator on originals and on (detached) decoded spectrograms; 0 before it counts."""
    if step < config.adversary_from:
        return sum((parameter.sum() * 0 for parameter in judge.parameters()), torch.zeros((), device=mel.device)), {}
    loss_of = hinge_discriminator if config.judge_loss == "hinge" else logistic_discriminator
    loss = loss_of(judge(mel).float(), judge(made).float())
    return loss, {"judge": loss.detach()}
