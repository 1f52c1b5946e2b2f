"""Training the vocoder: MelGAN's generator on multi-resolution STFT and log-mel distances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from .. import spectrogram as spec
from ..models.melgan import Generator, MelGANConfig
from .data import Pack
from .loop import LoopConfig, train
from .losses import multi_resolution_stft


@dataclass(frozen=True)
class VocoderConfig:
    """Everything a vocoder training depends on."""

    model: MelGANConfig
    loop: LoopConfig
    batch_size: int = 8
    frames: int = 64  # length of a training crop
    mel_weight: float = 10.0  # of the log-mel L1, which lies in [0, 1], beside the multi-resolution STFT distance


def normalise_weights(module: nn.Module) -> None:
    """Put weight normalisation (Salimans & Kingma 2016) on every convolution of the generator, as MelGAN trains it."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            parametrizations.weight_norm(layer)


def fold_weights(module: nn.Module) -> None:
    """Undo `normalise_weights`, keeping the function that the network computes."""
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")


class VocoderTask:
    """The vocoder stage for the training loop."""

    def __init__(self, config: VocoderConfig, data: Path, device: torch.device) -> None:
        self.config, self.device = config, device
        self.train_sound, self.valid_sound = Pack(data, "train"), Pack(data, "valid")
        generator = Generator(config.model)
        for layer in generator.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d) and layer.bias is not None:
                nn.init.zeros_(layer.bias)
        normalise_weights(generator)
        self.module: nn.Module = generator.to(device)

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch of random crops."""
        length = self.config.frames * spec.HOP_LENGTH
        needed = length + spec.N_FFT - spec.HOP_LENGTH
        sound = self.train_sound.crops(self.config.batch_size, needed, rng).to(self.device)
        mel = spec.log_mel_frames(sound)  # (B, 80, frames); frame t is centred on sample N_FFT / 2 + t * HOP_LENGTH
        target = sound[:, spec.N_FFT // 2 : spec.N_FFT // 2 + length]
        return self._distance(self.module(mel), target, mel)

    def _distance(self, waveform: Tensor, target: Tensor, mel: Tensor) -> tuple[Tensor, dict[str, float]]:
        stft = multi_resolution_stft(waveform, target)
        again = spec.log_mel(waveform)[..., : mel.shape[-1]]
        edge = 2  # frames at either end that look beyond the crop
        again = (again - mel)[..., edge:-edge].abs().mean()
        return stft + self.config.mel_weight * again, {"stft": stft.item(), "mel_l1": again.item()}

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """The same distances on the beginning (at most 5 s) of every validation recording, averaged over recordings."""
        totals = {"valid_stft": 0.0, "valid_mel_l1": 0.0}
        for clip in self.valid_sound.clips:
            waveform = self.valid_sound.waveform(clip)[: 430 * spec.HOP_LENGTH].to(self.device)
            waveform = torch.nn.functional.pad(waveform, (0, max(0, 2 * spec.N_FFT - len(waveform))))
            length = len(waveform) // spec.HOP_LENGTH * spec.HOP_LENGTH
            target = waveform[None, :length]
            mel = spec.log_mel(target)[..., : length // spec.HOP_LENGTH]
            for key, value in self._distance(self.module(mel), target, mel)[1].items():
                totals[f"valid_{key}"] += value / len(self.valid_sound.clips)
        return totals


def train_vocoder(config: VocoderConfig, data: Path, run: Path, device: torch.device) -> dict[str, float]:
    """Train on a pack; `run` gets last.pt, log.jsonl. Returns the last validation."""
    torch.manual_seed(config.loop.seed)
    return train(VocoderTask(config, data, device), config.loop, run)
