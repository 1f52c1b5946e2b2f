"""Training the vocoder: MelGAN's generator on spectral distances and on the judgement of three discriminators.

Losses after Kumar et al., "MelGAN" (NeurIPS 2019), beside a multi-resolution STFT distance (Yamamoto, Song & Kim,
"Parallel WaveGAN", 2020), which is a quicker start. The spectrograms it learns from are the originals' or, in part,
what a codec made of them, since that is what it will meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from .. import spectrogram as spec
from ..models.autoencoder import COLUMN_FRAMES, Autoencoder, AutoencoderConfig
from ..models.discriminators import ScaleConfig, ScaleDiscriminators
from ..models.melgan import Generator, MelGANConfig
from ..networks import network_of
from ..weights import locate
from .about import note_about
from .adversarial import feature_matching, frozen, hinge_discriminator, hinge_generator
from .data import Pack
from .loop import LoopConfig, require_batch, require_from_zero, train
from .losses import multi_resolution_stft
from .monitor import Samples
from .start import load_start

ABOUT = "vocoder.json"  # in a run: what its checkpoint is of
VALID_FRAMES = 432  # of every validation recording, at most: 5 s
EDGE = 2  # frames at either end of a crop whose spectrum depends on what lies beyond


@dataclass(frozen=True)
class VocoderConfig:
    """Everything a vocoder training depends on."""

    model: MelGANConfig
    loop: LoopConfig
    judge: ScaleConfig = field(default_factory=ScaleConfig)
    batch_size: int = 8
    frames: int = 64  # length of a training crop
    stft_weight: float = 1.0  # of the multi-resolution STFT distance
    mel_weight: float = 10.0  # of the log-mel L1, which lies in [0, 1]
    adversarial_weight: float = 0.0  # of the discriminators' judgement, summed over scales; 0 needs no discriminators
    feature_weight: float = 10.0  # of the distance of their features, where they judge
    adversary_from: int = 0  # the first step with discriminators
    decoded_share: float = 0.0  # of the crops whose spectrogram a codec has encoded and decoded
    codec_frames: int = 208  # what the codec sees around such a crop

    def __post_init__(self) -> None:
        require_batch(self.batch_size)
        if not 0.0 <= self.decoded_share <= 1.0:
            raise ValueError(f"decoded_share must be from 0 to 1, not {self.decoded_share}")
        if self.decoded_share and (self.codec_frames < self.frames or self.codec_frames % COLUMN_FRAMES):
            raise ValueError(f"codec_frames must be a multiple of {COLUMN_FRAMES} and no less than frames")
        require_from_zero(self, "mel_weight", "stft_weight", "adversarial_weight", "feature_weight")
        if self.frames <= 2 * EDGE:
            raise ValueError(f"frames must be above {2 * EDGE}, not {self.frames}")
        if self.model.num_mels != spec.N_MELS or self.model.hop_length != spec.HOP_LENGTH:
            raise ValueError(
                f"num_mels must be {spec.N_MELS}, and the product of ratios {spec.HOP_LENGTH}: {self.model}"
            )
        samples = self.frames * spec.HOP_LENGTH
        if self.adversarial_weight and samples < self.judge.min_samples:
            raise ValueError(
                f"frames are {samples} samples, and {self.judge.scales} scales need more: name fewer scales"
            )


def normalise_weights(module: nn.Module) -> None:
    """Put weight normalisation (Salimans & Kingma 2016) on every 1-D convolution, as MelGAN is trained."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            parametrizations.weight_norm(layer)


def fold_weights(module: nn.Module) -> None:
    """Undo `normalise_weights`, keeping the function that the network computes."""
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")


def load_generator(config: MelGANConfig, start: Path) -> Generator:
    """The generator, with plain weights, of a weight bundle or of a training run (averaged, if it averages weights).

    Raises:
        UsageError: there is neither at `start`, or it is of another configuration.
        WeightsError: the bundle is damaged, or has no vocoder.
    """
    generator = Generator(config)
    if not (start / "last.pt").exists():
        load_start(generator, start, "vocoder")
        return generator
    normalise_weights(generator)
    load_start(generator, start, "vocoder", "generator.")
    fold_weights(generator)
    return generator


def load_codec(source: str | Path | None) -> Autoencoder:
    """The frozen autoencoder of a weight bundle: a folder, a name, or None for the default one.

    Raises:
        WeightsError: there is no such bundle, or it is damaged.
    """
    bundle = locate(source)
    bundle.verify()
    autoencoder = network_of(Autoencoder, AutoencoderConfig, bundle.autoencoder, bundle, "codebook")
    return autoencoder.requires_grad_(False).channels_last()


class VocoderModule(nn.Module):
    """The generator and, if the adversary has a weight, its discriminators, with normalised weights."""

    def __init__(self, config: VocoderConfig, start: Path | None = None) -> None:
        super().__init__()
        if start is None:
            self.generator = Generator(config.model)
            for layer in self.generator.modules():
                if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d) and layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        else:
            self.generator = load_generator(config.model, start)
        self.judge = ScaleDiscriminators(config.judge) if config.adversarial_weight else None
        normalise_weights(self)


def spectral_distances(waveform: Tensor, target: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
    """How far a waveform is from the original, in two spectra; in float32 whatever the precision.

    Args:
        waveform: (B, 256 T).
        target: the original, of that shape.
        mel: its log-mel spectrogram (B, 80, T) in [0, 1].

    Returns:
        Multi-resolution STFT distance and mean absolute log-mel difference, scalars.
    """
    with torch.autocast(waveform.device.type, enabled=False):
        waveform = waveform.float()
        again = spec.log_mel(waveform)[..., : mel.shape[-1]]
        return multi_resolution_stft(waveform, target), (again - mel)[..., EDGE:-EDGE].abs().mean()


class _Maker(nn.Module):
    """The generator as a player; where it is judged, it leaves "made" (B, N) in the batch."""

    def __init__(self, config: VocoderConfig, module: VocoderModule) -> None:
        super().__init__()
        self.config, self.generator = config, module.generator
        self._judge = (module.judge,)  # in a tuple, so that it does not become a submodule

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        config, target = self.config, batch["target"]
        waveform = self.generator(batch["mel"]).float()
        stft, mel_l1 = spectral_distances(waveform, target, batch["target_mel"])
        loss = config.stft_weight * stft + config.mel_weight * mel_l1
        shown = {"stft": stft.detach(), "mel_l1": mel_l1.detach()}
        (judge,) = self._judge
        if judge is None or step < config.adversary_from:
            return loss, shown
        batch["made"] = waveform.detach()
        with frozen(judge):
            with torch.no_grad():
                real = judge(target[:, None])
            fake = judge(waveform[:, None])
        judged = torch.stack([hinge_generator(scale[-1]) for scale in fake]).sum()
        features = feature_matching(real, fake)
        loss = loss + config.adversarial_weight * judged + config.feature_weight * features
        return loss, {**shown, "judged": judged.detach(), "features": features.detach()}


class _Judge(nn.Module):
    """The discriminators as a player."""

    def __init__(self, config: VocoderConfig, judge: ScaleDiscriminators) -> None:
        super().__init__()
        self.config, self.judge = config, judge

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        if step < self.config.adversary_from:  # every parameter takes part, or several processes would not agree
            return torch.stack([0.0 * parameter.sum() for parameter in self.judge.parameters()]).sum(), {}
        real, fake = self.judge(batch["target"][:, None]), self.judge(batch["made"][:, None])
        scales = [hinge_discriminator(one[-1], other[-1]) for one, other in zip(real, fake, strict=True)]
        loss = 2.0 * torch.stack(scales).sum()  # MelGAN adds the two hinges and does not average them
        return loss, {"judge": loss.detach()}


def players(config: VocoderConfig, module: VocoderModule) -> dict[str, nn.Module]:
    """Who learns, in turns: the "maker" and, if there is one, the "judge"."""
    turns: dict[str, nn.Module] = {"maker": _Maker(config, module)}
    if module.judge is not None:
        turns["judge"] = _Judge(config, module.judge)
    return turns


@dataclass(frozen=True)
class _Example:
    """The beginning of a validation recording."""

    target: Tensor  # (1, N)
    mel: Tensor  # (1, 80, N / 256)
    decoded: Tensor | None  # what the codec, if there is one, makes of it


class VocoderTask:
    """The vocoder stage for the training loop.

    `codec` is the weight bundle whose decoded spectrograms are learnt from and validated on: a folder, a name, or None
    for the default one if the configuration wants any. `start` is the folder of a bundle, or of a run, whose generator
    goes on learning.
    """

    def __init__(
        self,
        config: VocoderConfig,
        data: Path,
        device: torch.device,
        codec: str | Path | None = None,
        start: Path | None = None,
    ) -> None:
        self.config, self.device = config, device
        self.codec = load_codec(codec).to(device) if codec is not None or config.decoded_share else None
        self.train_sound, self.valid_sound = Pack(data, "train", device), Pack(data, "valid", device)
        self.about = {"recordings": self.train_sound.digest()}
        self.module = VocoderModule(config, start).to(device)
        self.players = players(config, self.module)
        self.networks: tuple[nn.Module, ...] = (self.module.generator,)
        if self.module.judge is not None:
            self.networks += (self.module.judge,)

    @torch.no_grad()
    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Random crops: "target" (B, N), its "target_mel" (B, 80, N / 256), and "mel" to make it from, partly decoded.

        Frame t of a spectrogram is centred on sample 256 t and, even at the ends, sees the sound beyond the crop.
        """
        config = self.config
        share = config.decoded_share * config.batch_size
        decoded = int(share + rng.random())  # how many are decoded, on average the share; the number is never looked up
        wide = config.codec_frames if config.decoded_share else config.frames
        sound = self.train_sound.crops(config.batch_size, (wide - 1) * spec.HOP_LENGTH + spec.N_FFT, rng)
        target_mel = spec.log_mel_frames(sound)  # (B, 80, wide)
        mel = target_mel
        if decoded:
            mel = torch.cat([self._decode(mel[:decoded]), mel[decoded:]])
        starts = torch.from_numpy(rng.integers(0, wide - config.frames + 1, (config.batch_size, 1))).to(self.device)
        frames = starts + torch.arange(config.frames, device=self.device)  # (B, frames)
        length = config.frames * spec.HOP_LENGTH
        samples = spec.N_FFT // 2 + spec.HOP_LENGTH * starts + torch.arange(length, device=self.device)
        frames = frames[:, None].expand(-1, spec.N_MELS, -1)
        return {
            "target": sound.gather(1, samples),
            "target_mel": target_mel.gather(2, frames),
            "mel": mel.gather(2, frames),
        }

    def _decode(self, mel: Tensor) -> Tensor:
        """Spectrograms (B, 80, T) in [0, 1] through the codec."""
        assert self.codec is not None
        decoded = self.codec.decode(self.codec.encode(mel[:, None] * 2.0 - 1.0))[:, 0]
        return ((decoded + 1.0) / 2.0).clamp(0.0, 1.0)

    @cached_property
    def _examples(self) -> list[_Example]:
        examples = []
        for clip in self.valid_sound.clips:
            waveform = self.valid_sound.waveform(clip)[: VALID_FRAMES * spec.HOP_LENGTH]
            missing = -len(waveform) % (COLUMN_FRAMES * spec.HOP_LENGTH)
            target = F.pad(waveform, (0, missing))[None]
            mel = spec.log_mel(target)[..., : target.shape[-1] // spec.HOP_LENGTH]
            examples.append(_Example(target, mel, None if self.codec is None else self._decode(mel)))
        return examples

    def validate(self) -> dict[str, float]:
        """The distances on the beginning (at most 5 s) of every validation recording, averaged over recordings.

        From the originals' spectrograms and, with a codec, from decoded ones.
        """
        totals: dict[str, Tensor] = {}
        for example in self._examples:
            inputs = {"valid": example.mel} | ({} if example.decoded is None else {"valid_decoded": example.decoded})
            for name, mel in inputs.items():
                distances = spectral_distances(self.module.generator(mel), example.target, example.mel)
                for key, value in zip(("stft", "mel_l1"), distances, strict=True):
                    totals[f"{name}_{key}"] = totals.get(f"{name}_{key}", 0.0) + value / len(self._examples)
        return {key: float(value) for key, value in totals.items()}

    def samples(self) -> Samples:
        """The first validation recordings: originals, and what is made of their spectrograms and of decoded ones."""
        sounds = {}
        for number, example in enumerate(self._examples[:4]):
            sounds[f"valid_{number}/original"] = example.target[0]
            sounds[f"valid_{number}/made"] = self.module.generator(example.mel)[0]
            if example.decoded is not None:
                sounds[f"valid_{number}/made_from_decoded"] = self.module.generator(example.decoded)[0]
        return Samples({name: spec.log_mel(sound) for name, sound in sounds.items()}, sounds)


def train_vocoder(
    config: VocoderConfig,
    data: Path,
    run: Path,
    device: torch.device,
    codec: str | Path | None = None,
    start: Path | None = None,
) -> dict[str, float]:
    """Train on a pack; `run` gets last.pt, log.jsonl. Returns the last validation.

    Args:
        config: networks, losses and schedule.
        data: the pack.
        run: folder of the run; one that is there goes on, and has no use for `start`.
        device: to train on.
        codec: weight bundle to decode spectrograms with, the default one if there is a share of them.
        start: folder of a weight bundle, or of a run, whose generator goes on learning.

    Raises:
        UsageError: the pack, the run or `start` does not go with the configuration, or the run with the recordings.
        WeightsError: a bundle is damaged.
    """
    torch.manual_seed(config.loop.seed)
    if (run / "last.pt").exists():
        start = None
    task = VocoderTask(config, data, device, codec, start)
    note_about(run / ABOUT, task.about)
    return train(task, config.loop, run)
