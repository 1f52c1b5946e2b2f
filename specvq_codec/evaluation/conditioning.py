"""What a sampler is told of the recordings that it is measured with: nothing, their class, their features, or both."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from ..bitstream.errors import UsageError
from ..codec import Codec
from ..conditions import condition_for
from ..models.transformer import Condition
from ..training.data import Clip, Pack

_SHOWN = 5  # classes that an error names


@dataclass(frozen=True)
class Conditioning:
    """The conditions of a pack's recordings, as a codec's sampler takes them."""

    codec: Codec
    pack: Pack

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """The sets of conditions that the sampler can be given, by what to call them, from the smallest to all of them.

        Of conditions that it can do without, those are left out that the pack does not have.
        """
        config = self.codec.sampler.config
        known = [name for name, size in (("class", config.num_classes), ("features", config.feature_frames)) if size]
        sets = [tuple(known)]
        if config.optional:
            there = {"class": any(map(self.knows, self.pack.clips)), "features": self.pack.has_features}
            known = [name for name in known if there[name]]
            sets = [names for count in range(len(known) + 1) for names in itertools.combinations(known, count)]
        return {" and ".join(names) or "no condition": names for names in sets}

    def condition(self, clip: Clip, names: tuple[str, ...]) -> Condition:
        """What is told of one recording.

        Args:
            clip: of the pack.
            names: of conditions, one of the sets of `kinds`. A class that the sampler does not know is not told.

        Raises:
            UsageError: the pack has no features, or others than the sampler takes, or the sampler needs a class and
                does not know the recording's.
        """
        labels = self.codec.bundle.labels
        if labels and not self.codec.sampler.config.optional and not self.knows(clip):
            raise UsageError(
                f"The sampler needs a class and does not know {clip.label!r}; those that it knows are called "
                f"{', '.join(labels[:_SHOWN])}{', ...' if len(labels) > _SHOWN else ''}: pack with these labels, or "
                "name the classes of an imported sampler with specvq weights import --labels."
            )
        features = self.pack.features(clip).cpu().numpy() if "features" in names else None
        label = clip.label if "class" in names and self.knows(clip) else None
        return condition_for(self.codec.sampler.config, labels, features, label, self.codec.device)

    def strangers(self, clips: Iterable[Clip]) -> int:
        """How many recordings are of no class that the sampler knows, if it can be told classes of the pack at all."""
        told = any("class" in names for names in self.kinds().values())
        return sum(not self.knows(clip) for clip in clips) if told else 0

    def knows(self, clip: Clip) -> bool:
        """Whether the sampler knows the class of a recording."""
        return clip.label in self.codec.bundle.labels
