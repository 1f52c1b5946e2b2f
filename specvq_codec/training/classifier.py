"""Training a classifier on labelled sound: VGGish-ish for the perceptual loss, or Melception for the metrics."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bitstream.errors import UsageError
from ..classifiers import Classifier, Network, NetworkConfig, band_statistics, new_network, save_classifier
from ..evaluation.classification import classification_metrics
from ..models.melception import MelceptionConfig
from ..models.vggishish import VGGish, VGGishConfig, fold_batch_norm
from ..spectrogram import N_MELS
from .about import note_about
from .checkpoints import load_checkpoint, read_checkpoint
from .data import MelPack, Pack
from .loop import LoopConfig, require_batch, require_from_zero, train
from .monitor import Samples

ABOUT = "classifier.json"  # in a run: what its checkpoint is of
_DECIBELS = 100.0  # between 0 and 1 of a spectrogram
_WINDOWS = 8  # of a recording that are classified in validation, at most


@dataclass(frozen=True)
class ClassifierConfig:
    """Everything a classifier training depends on; the number of classes comes from the data."""

    model: VGGishConfig | MelceptionConfig
    loop: LoopConfig
    batch_size: int = 16
    frames: int = 208  # length of a training crop
    balance: float = 1.0  # classes weigh 1 / frequency ** balance in the loss: 0 not at all, 1 as the reference does
    mixup: float = 0.0  # a of the Beta(a, a) shares in which examples are mixed (Zhang et al. 2018); 0 mixes none
    gain: float = 0.0  # largest change of level in training, dB
    masked_bands: int = 0  # widest stripe of bands, and of frames, that is silenced in each example (SpecAugment,
    masked_frames: int = 0  # Park et al. 2019)
    stored: Literal["float32", "float16"] = "float32"  # precision of the weights in the file

    def __post_init__(self) -> None:
        require_batch(self.batch_size)
        if self.frames < self.model.min_frames:
            raise ValueError(f"this network takes {self.model.min_frames} frames or more, and frames is {self.frames}")
        require_from_zero(self, "balance", "mixup", "gain")
        if not (0 <= self.masked_bands <= N_MELS and 0 <= self.masked_frames <= self.frames):
            raise ValueError(f"masked_bands must be in [0, {N_MELS}], and masked_frames in [0, {self.frames}]")


class ClassifierModule(nn.Module):
    """The network, and the statistics that its input and loss need."""

    means: Tensor
    stds: Tensor
    weights: Tensor

    def __init__(self, config: NetworkConfig, means: Tensor, stds: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.network: Network = new_network(config)
        self.register_buffer("means", means)  # (80,), of spectrograms in [0, 1]
        self.register_buffer("stds", stds)
        self.register_buffer("weights", weights)  # (num_classes,)

    def logits(self, mel: Tensor) -> Tensor:
        """Spectrograms (B, 1, 80, T) in [-1, 1] -> logits (B, num_classes)."""
        return self.network(((mel + 1) / 2 - self.means[:, None]) / self.stds[:, None])

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted cross-entropy of "mel" with "label" and, for the share 1 - "share" of it, with "mixed_label"."""
        logits = self.logits(batch["mel"]).float()
        terms = [
            F.cross_entropy(logits, batch[key], self.weights, reduction="none") for key in ("label", "mixed_label")
        ]
        loss = torch.lerp(terms[1], terms[0], batch["share"]).mean()
        hits = (logits.argmax(1) == batch["label"]).float().mean()
        return loss, {"cross_entropy": loss.detach(), "hits": hits}


class ClassifierTask:
    """The classifier stage for the training loop."""

    def __init__(self, config: ClassifierConfig, data: Path, device: torch.device) -> None:
        self.config, self.device = config, device
        train_pack = Pack(data, "train", device)
        self.train_mels = MelPack(train_pack, config.frames)
        self.valid_mels = MelPack(Pack(data, "valid", device), config.frames)
        self.labels = tuple(self.train_mels.labels)
        for mels, split in ((self.train_mels, "train"), (self.valid_mels, "valid")):
            if len(found := mels.label_indices().unique()) < 2:
                raise UsageError(
                    f"A classifier needs two labels or more, and the split {split} of {data} has {len(found)}."
                )
        means, stds = band_statistics(self.train_mels.items)
        lengths = torch.tensor([float(item.shape[1]) for item in self.train_mels.items])
        frequency = torch.zeros(len(self.labels)).index_add_(0, self.train_mels.label_indices(), lengths)
        weights = class_weights(frequency, config.balance)
        model = replace(config.model, num_classes=len(self.labels))
        self.about = {
            "labels": self.labels,
            "settings": {"kind": model.kind, **asdict(model)},
            "recordings": train_pack.digest(labelled=True),
        }
        self.module = ClassifierModule(model, means, stds, weights).to(device)
        self.module.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent in its stubs
        self.players: dict[str, nn.Module] = {"classifier": self.module}
        self.networks: tuple[nn.Module, ...] = (self.module.network,)

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Random crops, their levels changed, stripes silenced, each mixed with its neighbour in the batch."""
        config = self.config
        mel, label = self.train_mels.labelled_crops(config.batch_size, config.frames, rng)
        gain = torch.from_numpy(rng.uniform(-1, 1, config.batch_size)).float().to(self.device) * config.gain
        share = np.ones(config.batch_size)
        if config.mixup:
            share = rng.beta(config.mixup, config.mixup, config.batch_size)
        shares = torch.from_numpy(share).float().to(self.device)
        mel = with_gain(mel, gain)
        for axis, widest in ((2, config.masked_bands), (3, config.masked_frames)):
            if widest:
                mel = with_stripe(mel, axis, widest, rng)
        mel = torch.lerp(mel.roll(1, 0), mel, shares[:, None, None, None])
        return {"mel": mel, "label": label, "mixed_label": label.roll(1, 0), "share": shares}

    def validate(self) -> dict[str, float]:
        """Metrics over recordings: probabilities are averaged over windows evenly spread in each."""
        scores = torch.stack([self._probabilities(item) for item in self.valid_mels.items])
        metrics = classification_metrics(scores.cpu(), self.valid_mels.label_indices())
        return {f"valid_{name}": metrics[name] for name in ("accuracy", "accuracy_5", "mAP", "mAUC")}

    def samples(self) -> Samples:
        """Four recordings under what they are and what they were taken for."""
        count = len(self.valid_mels.items)
        found = {}
        for place in range(0, count, -(-count // 4)):
            item = self.valid_mels.items[place]
            verdict = self.labels[int(self._probabilities(item).argmax())]
            found[f"{self.valid_mels.clips[place].label} taken for {verdict}"] = item[
                :, : 4 * self.config.frames
            ].float()
        return Samples(found)

    def _probabilities(self, item: Tensor) -> Tensor:
        """Spectrogram (80, T) in [0, 1] -> probabilities of the classes (num_classes,)."""
        frames = self.config.frames
        count = min(_WINDOWS, item.shape[1] // frames)
        starts = np.linspace(0, item.shape[1] - frames, count).round().astype(int).tolist()
        windows = torch.stack([item[None, :, start : start + frames] for start in starts]).float()
        return self.module.logits(windows.to(self.device) * 2 - 1).float().softmax(1).mean(0)


def with_gain(mel: Tensor, gain: Tensor) -> Tensor:
    """Spectrograms (B, 1, 80, T) in [-1, 1] louder by gain (B,), in dB; what is silent stays silent."""
    louder = (mel + 2 * gain[:, None, None, None] / _DECIBELS).clamp(-1, 1)
    return torch.where(mel > -1, louder, mel)


def with_stripe(mel: Tensor, axis: int, widest: int, rng: np.random.Generator) -> Tensor:
    """Spectrograms (B, 1, 80, T) in [-1, 1] with a random stripe along an axis silenced, at most `widest` wide."""
    length = mel.shape[axis]
    width = rng.integers(0, widest + 1, len(mel))
    start = rng.integers(0, length - width + 1)
    places = np.arange(length)
    inside = (places >= start[:, None]) & (places < (start + width)[:, None])  # (B, length)
    shape = [len(mel), 1, 1, 1]
    shape[axis] = length
    return mel.masked_fill(torch.from_numpy(inside).reshape(shape).to(mel.device), -1.0)


def class_weights(frequency: Tensor, balance: float) -> Tensor:
    """Weights 1 / frequency ** balance of the classes (C,), 1 for a mean example; 0 for a class that never occurs."""
    weights = torch.where(frequency > 0, frequency.clamp(min=1e-12) ** -balance, 0.0)
    return weights * frequency.sum() / (weights * frequency).sum()


def train_classifier(config: ClassifierConfig, data: Path, run: Path, device: torch.device) -> dict[str, float]:
    """Train on a pack with labels; `run` gets last.pt, log.jsonl and classifier.safetensors.

    Returns the metrics.

    Raises:
        UsageError: the pack has no labels, or only one, or the run in the folder is of another configuration, other
            labels or other recordings.
    """
    torch.manual_seed(config.loop.seed)
    task = ClassifierTask(config, data, device)
    note_about(run / ABOUT, task.about)
    numbers = train(task, config.loop, run)
    path = run / "last.pt"
    load_checkpoint(task.module, read_checkpoint(path), path)  # averaged weights, if there are any
    network = task.module.network.cpu().eval()
    if isinstance(network, VGGish):
        network = fold_batch_norm(network)  # the perceptual loss is quicker without
    means, stds = task.module.means.cpu(), task.module.stds.cpu()
    classifier = Classifier(network, means, stds, task.labels)
    save_classifier(run / "classifier.safetensors", classifier, half=config.stored == "float16")
    return numbers
