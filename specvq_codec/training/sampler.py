"""Training the sampler: the transformer on random windows of codebook indices (see tokens.py).

One network serves for nothing, a class, and features of video: while it learns, each condition is left out of a part
of the samples, and a learned row stands in its place.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..bitstream.errors import UsageError
from ..conditions import clip_places
from ..models.autoencoder import to_grid
from ..models.transformer import ROWS, Condition, Transformer, TransformerConfig
from ..sampling import Sampling, generate
from ..weights import Bundle, load_bundle, locate
from .about import parse_about, write_about
from .config import fill
from .data import Pack
from .loop import LoopConfig, require_batch, train
from .monitor import Samples
from .positions import begin_in_time
from .start import load_start
from .tokens import TokenPack, TokenWindows
from .vocoder import load_codec

ABOUT = "sampler.json"  # in a run: what its checkpoint is of
FEATURE_COLUMNS = 53  # of the sound that the kept features of a video are of
_SHOWN = 4  # continuations in TensorBoard
_VALID_BATCH = 32
# Settings of the network that are not to be chosen, and what they follow from.
_FOUND_OUT = {"codebook_size": "the tokens", "num_classes": "the data (classes = true)", "optional": "drop"}


@dataclass(frozen=True)
class SamplerConfig:
    """Everything a sampler training depends on; the sizes of codebook and classes come from the data."""

    model: TransformerConfig
    loop: LoopConfig
    batch_size: int = 16
    classes: bool = False  # condition on the recordings' labels
    drop: float = 0.0  # the share of samples that do without a condition, each by itself; 0: all are always needed

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be from 0 to below 1, not {self.drop}")
        if self.model.feature_frames and self.model.columns != FEATURE_COLUMNS:
            raise ValueError(f"a sampler with features needs columns = {FEATURE_COLUMNS}, ten seconds")
        untouched = TransformerConfig()
        for name, instead in _FOUND_OUT.items():
            if getattr(self.model, name) != getattr(untouched, name):
                raise ValueError(f"{name} follows from {instead}: leave it out")
        require_batch(self.batch_size)


class About(NamedTuple):
    """What a run's checkpoint is of.

    Attributes:
        model: the network.
        labels: of its classes.
        fingerprint: of the weights whose indices it was trained on.
        features: kind of the features of video that it takes, if it takes some and the pack says so.
    """

    model: TransformerConfig
    labels: tuple[str, ...]
    fingerprint: bytes
    features: str | None = None

    def write(self, run: Path) -> None:
        """Put it into a run's folder. UsageError if the run that is there is of something else."""
        described = self._asdict() | {"model": asdict(self.model), "fingerprint": self.fingerprint.hex()}
        write_about(run / ABOUT, self, described, read_about)


def read_about(run: Path) -> About:
    """What the checkpoint of a sampler's run is of. UsageError if it is none."""
    path = run / ABOUT

    def parse(about: dict[str, Any]) -> About:
        model = fill(TransformerConfig, about["model"], str(path))
        return About(model, tuple(about["labels"]), bytes.fromhex(about["fingerprint"]), about.get("features"))

    return parse_about(path, "sampler", parse)


class SamplerModule(nn.Module):
    """The network as a player."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.network = Transformer(config)

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean negative log-likelihood of the first "lengths" of "indices", given the conditions in the batch."""
        loss = mean_of_first(self.network.surprise(batch["indices"], condition_of(batch)), batch["lengths"])
        return loss, {"train_bits": loss.detach() / math.log(2)}


def condition_of(batch: dict[str, Tensor]) -> Condition:
    """The conditions in a batch."""
    names = ("features", "classes", "has_features", "has_classes")
    return Condition(**{name: batch[name] for name in names if name in batch})


@torch.no_grad()
def begin_from_codebook(network: Transformer, vectors: Tensor) -> None:
    """Let near codes begin with near embeddings and near logits, which is worth much where data are few.

    Args:
        network: fresh; its embeddings and the weights of its logits become a random projection of the codebook.
        vectors: of the codebook (K, D).
    """
    centred = vectors - vectors.mean(0)
    centred = centred / centred.square().sum(1).mean().sqrt()  # (K, D), of length 1 in the mean
    for weight in (network.tok_emb.weight, network.head.weight):
        std = weight.std()
        projection = torch.randn(vectors.shape[1], network.config.n_embd, device=vectors.device)
        weight.copy_(std * centred @ projection)


def mean_of_first(values: Tensor, lengths: Tensor) -> Tensor:
    """The mean over those of the values (B, T) that are among the first `lengths` (B,) of their row."""
    counts = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    return (values * counts).sum() / counts.sum()


class SamplerTask:
    """The sampler stage for the training loop.

    `bundle` is that of the tokens; a `fresh` network begins at `start`, the folder of a bundle or of a run, if given.
    """

    def __init__(
        self,
        config: SamplerConfig,
        data: Path,
        bundle: Bundle,
        device: torch.device,
        fresh: bool = True,
        start: Path | None = None,
    ) -> None:
        self.config, self.device = config, device
        features = config.model.feature_frames > 0
        self.train_tokens = TokenPack(data, "train", bundle, config.model.columns, features)
        self.valid_tokens = TokenPack(data, "valid", bundle, config.model.columns, features)
        labels = tuple(self.train_tokens.pack.labels) if config.classes else ()
        model = replace(
            config.model,
            codebook_size=self.train_tokens.codebook_size,
            num_classes=len(labels),
            optional=config.drop > 0,
        )
        if features:
            _require_width(self.train_tokens.pack, model.feature_depth)
        self._classes = {
            tokens: tokens.pack.label_indices() for tokens in (self.train_tokens, self.valid_tokens) if config.classes
        }
        kind = self.train_tokens.pack.feature_kind if features else None
        self.about = About(model, labels, bundle.fingerprint, kind)
        self.module = SamplerModule(model).to(device)
        if fresh and start is not None:
            _require_same(start, bundle.fingerprint, labels)
            load_start(self.module.network, start, "sampler", "network.")
        self.codec = load_codec(bundle.path).to(device)
        if fresh and start is None:
            begin_from_codebook(self.module.network, self.codec.quantize.embedding.weight)
            if features:
                begin_in_time(self.module.network)
        self.players: dict[str, nn.Module] = {"sampler": self.module}
        self.networks: tuple[nn.Module, ...] = (self.module.network,)

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Random windows and their conditions, a part of which is marked as absent."""
        count = self.config.batch_size
        batch = self._batch(self.train_tokens, self.train_tokens.draw(count, rng))
        for name in ("features", "classes"):
            if name in batch and self.config.drop:
                batch[f"has_{name}"] = torch.from_numpy(rng.random(count) >= self.config.drop).to(self.device)
        return batch

    def validate(self) -> dict[str, float]:
        """Bits per index in the first window of each recording, for every set of conditions that the network knows."""
        windows = self.valid_tokens.first_windows()
        totals: dict[str, float] = {}
        for first in range(0, len(windows.indices), _VALID_BATCH):
            part = windows.chosen(slice(first, first + _VALID_BATCH))
            batch = self._batch(self.valid_tokens, part)
            for name, conditions in self._kinds().items():
                given = {key: value for key, value in batch.items() if key in (*conditions, "indices", "lengths")}
                loss, _ = self.module(given, 0)
                totals[name] = totals.get(name, 0.0) + loss.item() * int(part.lengths.sum())
        return {name: total / int(windows.lengths.sum()) / math.log(2) for name, total in totals.items()}

    def samples(self) -> Samples:
        """Spectrograms of the longest validation windows' first halves, continued."""
        windows = self.valid_tokens.first_windows()
        windows = windows.chosen(windows.lengths.argsort(descending=True, stable=True)[:_SHOWN])
        batch = self._batch(self.valid_tokens, windows)
        length = int(windows.lengths.min())
        prime = batch["indices"][:, : length // ROWS // 2 * ROWS]
        made = generate(self.module.network, prime, length, Sampling(), condition_of(batch))
        mels = (self.codec.decode(to_grid(made))[:, 0] + 1) / 2
        return Samples(spectrograms={f"continued_{number}": mel.clamp(0, 1) for number, mel in enumerate(mels)})

    def _kinds(self) -> dict[str, tuple[str, ...]]:
        """Which conditions are given in each validation, by the name of its number."""
        model = self.about.model
        sizes = {"features": model.feature_frames, "classes": model.num_classes}
        known = tuple(name for name, size in sizes.items() if size)
        if not model.optional or not known:
            return {"valid_bits": known}
        kinds: dict[str, tuple[str, ...]] = {"valid_bits": ()}
        kinds |= {f"valid_bits_{name}": (name,) for name in known}
        return kinds | ({"valid_bits_both": known} if len(known) > 1 else {})

    def _batch(self, tokens: TokenPack, windows: TokenWindows) -> dict[str, Tensor]:
        """Windows with all their conditions, on the device."""
        batch = {"indices": windows.indices, "lengths": windows.lengths}
        if self.config.classes:
            batch["classes"] = self._classes[tokens][torch.from_numpy(windows.recordings)]
        if self.about.model.feature_frames:
            batch["features"] = self._features(tokens.pack, windows.recordings)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _features(self, pack: Pack, recordings: NDArray[np.int64]) -> Tensor:
        """(B, feature_frames, D): of ten seconds, as `clip_places` chooses them."""
        chosen = clip_places(self.about.model.feature_frames)
        return torch.stack([pack.features(pack.clips[number])[torch.from_numpy(chosen)] for number in recordings])


def _require_width(pack: Pack, depth: int) -> None:
    width = pack.features(pack.clips[0]).shape[1]
    if width != depth:
        raise UsageError(f"The pack's features have {width} numbers a frame: set feature_depth = {width}, not {depth}.")


def _require_same(start: Path, fingerprint: bytes, labels: tuple[str, ...]) -> None:
    """A network goes on with the indices and the classes that it knows."""
    known: About | Bundle = read_about(start) if (start / ABOUT).exists() else load_bundle(start)
    if isinstance(known, Bundle) and known.sampler is None:
        raise UsageError(f"The bundle in {start} has no sampler to start with.")
    if known.fingerprint != fingerprint:
        raise UsageError(
            f"The sampler in {start} knows the indices of the weights {known.fingerprint.hex()[:8]}, and these tokens "
            f"are of {fingerprint.hex()[:8]}: it cannot go on with them."
        )
    if known.labels != labels:
        raise UsageError(
            f"The sampler in {start} knows {len(known.labels)} other classes than this data's {len(labels)}."
        )


def train_sampler(
    config: SamplerConfig,
    data: Path,
    run: Path,
    device: torch.device,
    weights: str | Path | None = None,
    start: Path | None = None,
) -> dict[str, float]:
    """Train on a pack's tokens; `run` gets last.pt, log.jsonl and sampler.json. Returns the last validation.

    Args:
        config: what to train.
        data: folder of the pack, after `tokenize`.
        run: folder of the run.
        device: to train on.
        weights: the bundle whose tokens they are; None for the default one.
        start: folder of a bundle or run whose sampler goes on learning.

    Raises:
        UsageError: the pack, its tokens, the run or `start` does not go with the configuration.
        WeightsError: a bundle is damaged.
    """
    torch.manual_seed(config.loop.seed)
    fresh = not (run / "last.pt").exists()
    task = SamplerTask(config, data, locate(weights), device, fresh, start)
    task.about.write(run)
    return train(task, config.loop, run)
