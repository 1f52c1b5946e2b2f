"""Training the codebook: autoencoder and quantiser on log-mel spectrograms.

With a linear path, the networks start as the best linear codec of 16 x 16 patches (principal components and k-means)
and learn what is better. The codebook follows exponential moving averages of the latents assigned to it (van den Oord
et al. 2017, appendix A), or learns by gradient as the reference's does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bitstream.errors import UsageError
from ..classifiers import load_classifier
from ..models.autoencoder import COLUMN_FRAMES, Autoencoder, AutoencoderConfig
from ..models.discriminators import PatchConfig, PatchDiscriminator
from ..models.quantizer import Quantized
from ..models.vggishish import VGGish
from ..spectrogram import N_MELS
from .about import note_about
from .data import MelPack, Pack
from .distributed import share_first, sum_over_processes
from .loop import LoopConfig, require_batch, require_from_zero, train
from .losses import gradient_energy
from .monitor import Samples
from .objective import ObjectiveConfig, generator_loss, judge_loss
from .patches import assign, k_means, patches_of, principal_patches
from .perceptual import LPAPS
from .start import load_start

ABOUT = "codebook.json"  # in a run: what its checkpoint is of


@dataclass(frozen=True)
class CodebookConfig:
    """Everything a codebook training depends on."""

    model: AutoencoderConfig
    loop: LoopConfig
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    judge: PatchConfig = field(default_factory=PatchConfig)
    batch_size: int = 12
    frames: int = 208  # length of a training crop
    commitment: float = 0.25  # weight of the pull of latents to their vectors
    decay: float = 0.99  # of the moving averages that the codebook follows; 0: it learns by gradient instead
    dead_below: float = 0.13  # a vector used less often than this share of the mean starts again at a latent

    def __post_init__(self) -> None:
        require_batch(self.batch_size)
        if self.frames < COLUMN_FRAMES or self.frames % COLUMN_FRAMES:
            raise ValueError(f"frames must be a multiple of {COLUMN_FRAMES}, not {self.frames}")
        require_from_zero(self, "commitment")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be from 0 to below 1, not {self.decay}")
        if not 0 < self.dead_below < 1:  # what is never used has no average
            raise ValueError(f"dead_below must be above 0 and below 1, not {self.dead_below}")
        if self.objective.adversarial and min(self.frames, N_MELS) < self.judge.min_size:
            raise ValueError(
                f"a judge of {self.judge.layers} layers needs {self.judge.min_size} mels and frames, and these are "
                f"{N_MELS} and {self.frames}"
            )


class CodebookModule(nn.Module):
    """The autoencoder, the running averages of its codebook, and the judge of what it makes."""

    usage: Tensor
    sums: Tensor

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(config.model)
        self.autoencoder.quantize.requires_grad_(config.decay == 0)
        codes = self.autoencoder.quantize.embedding.weight
        self.register_buffer("usage", torch.ones(len(codes)))  # latents a batch, averaged
        self.register_buffer("sums", codes.detach().clone())
        self.judge = PatchDiscriminator(config.judge) if config.objective.adversarial else None

    @torch.no_grad()
    def start(self, mel: Tensor, seed: int) -> None:
        """Become the best linear codec of the spectrograms (B, 1, 80, T); without a linear path, only k-means.

        Raises UsageError if the spectrograms have fewer latents than the codebook has vectors.
        """
        model = self.autoencoder
        if self.config.model.linear_path:
            basis, scale = principal_patches(patches_of(mel), self.config.model.embed_dim)
            kernel = basis.unflatten(1, (1, COLUMN_FRAMES, COLUMN_FRAMES))
            model.linear_in.weight.copy_(kernel / scale)
            model.linear_out.weight.copy_(kernel * scale)
            quiet = (model.linear_in.bias, model.linear_out.bias, model.quant_conv.bias, model.decoder.conv_out.bias)
            for tensor in (model.quant_conv.weight, model.decoder.conv_out.weight, *quiet):
                assert tensor is not None
                nn.init.zeros_(tensor)
        latents = torch.cat([model.latents(part) for part in mel.split(16)]).movedim(1, -1).flatten(0, 2)
        if len(latents) < self.config.model.codebook_size:
            raise UsageError(
                f"A codebook of {self.config.model.codebook_size} vectors cannot begin at {len(latents)} latents: make "
                "codebook_size smaller, or frames longer."
            )
        generator = torch.Generator().manual_seed(seed)
        centres = k_means(latents.cpu(), self.config.model.codebook_size, 12, generator)
        shares = torch.bincount(assign(latents.cpu(), centres), minlength=len(centres)) / len(latents)
        model.quantize.embedding.weight.copy_(centres)
        self.expect(shares)

    @torch.no_grad()
    def expect(self, shares: Tensor) -> None:
        """Let the running averages of the present codebook begin at vectors used by these shares of latents (K,)."""
        self.usage.copy_(shares * self.config.batch_size * 5 * (self.config.frames // COLUMN_FRAMES))
        self.sums.copy_(self.autoencoder.quantize.embedding.weight * self.usage[:, None])

    @torch.no_grad()
    def follow(self, latents: Tensor, indices: Tensor, rng: np.random.Generator) -> Tensor:
        """Move the codebook to the averages of latents (B, D, H, W) that were assigned to it; restart dead vectors.

        Returns:
            The share of the vectors that were not dead, a scalar.
        """
        flat, decay = latents.movedim(1, -1).flatten(0, 2), self.config.decay
        ones = torch.ones(len(flat), device=flat.device)
        counts = torch.zeros_like(self.usage).index_add_(0, indices.flatten(), ones)
        sums = torch.zeros_like(self.sums).index_add_(0, indices.flatten(), flat)
        self.usage.mul_(decay).add_(sum_over_processes(counts), alpha=1 - decay)
        self.sums.mul_(decay).add_(sum_over_processes(sums), alpha=1 - decay)
        # every vector draws a latent, dead or not: looking for the dead ones would make a GPU wait
        picks = torch.from_numpy(rng.integers(len(flat), size=len(self.usage))).to(flat.device)
        fresh = share_first(flat[picks])
        mean = self.usage.mean()  # batches and codebooks of every size have the same share of dead vectors
        dead = self.usage < self.config.dead_below * mean
        self.usage.copy_(torch.where(dead, mean, self.usage))
        self.sums.copy_(torch.where(dead[:, None], mean * fresh, self.sums))
        self.autoencoder.quantize.embedding.weight.copy_(self.sums / self.usage[:, None])
        return (~dead).float().mean()


class _Maker(nn.Module):
    """The autoencoder as a player; leaves "made" (B, 1, 80, T) in the batch."""

    def __init__(self, module: CodebookModule, perceptual: LPAPS | None) -> None:
        super().__init__()
        self.config = module.config
        self.autoencoder = module.autoencoder
        self._others = (module, perceptual)  # in a tuple, so that they do not become submodules

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        module, perceptual = self._others
        config, model, mel = self.config, self.autoencoder, batch["mel"]
        latents = model.latents(mel).float()
        quantized: Quantized = model.quantize(latents, config.commitment)
        made = model.reconstruct(quantized.straight).float()
        codebook_loss, used = quantized.loss, {}
        if config.decay:
            vectors = model.quantize.lookup(quantized.indices)
            codebook_loss = config.commitment * F.mse_loss(latents, vectors)
            used["used"] = module.follow(latents.detach(), quantized.indices, np.random.default_rng(step))
        last = model.decoder.conv_out.weight
        loss, shown = generator_loss(config.objective, perceptual, module.judge, mel, made, last, step)
        batch["made"] = made.detach()
        return loss + codebook_loss, {**shown, "codebook": codebook_loss.detach(), **used}


class _Judge(nn.Module):
    """The discriminator as a player."""

    def __init__(self, config: ObjectiveConfig, judge: PatchDiscriminator) -> None:
        super().__init__()
        self.config, self.judge = config, judge

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return judge_loss(self.config, self.judge, batch["mel"], batch["made"], step)


class CodebookTask:
    """The codebook stage for the training loop.

    `fresh` networks begin at `start` (the folder of a bundle or of a run) or, without one, as the best linear codec of
    the data. `classifier` is the file that a perceptual loss looks through.
    """

    def __init__(
        self,
        config: CodebookConfig,
        data: Path,
        device: torch.device,
        fresh: bool = True,
        start: Path | None = None,
        classifier: Path | None = None,
    ) -> None:
        perceptual = _perceptual(classifier).to(device) if config.objective.perceptual else None
        self.config, self.device = config, device
        train_pack = Pack(data, "train", device)
        self.about = {"recordings": train_pack.digest()}
        self.train_mels = MelPack(train_pack, config.frames)
        self.valid_mels = MelPack(Pack(data, "valid", device), config.frames)
        self.module = CodebookModule(config).to(device)
        if fresh and start is not None:
            load_start(self.module.autoencoder, start, "codebook", "autoencoder.")
            self.module.expect(torch.full_like(self.module.usage, 1 / config.model.codebook_size))
        elif fresh:
            crops = self.train_mels.crops(400, config.frames, np.random.default_rng(config.loop.seed))
            self.module.start(crops, config.loop.seed)
        self.module.autoencoder.channels_last()
        self.players: dict[str, nn.Module] = {"maker": _Maker(self.module, perceptual)}
        self.networks: tuple[nn.Module, ...] = (self.module.autoencoder.encoder, self.module.autoencoder.decoder)
        if self.module.judge is not None:
            self.players["judge"] = _Judge(config.objective, self.module.judge)
            self.networks += (self.module.judge,)
        if perceptual is not None:
            self.networks += (perceptual,)

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Random crops: "mel" (B, 1, 80, frames) in [-1, 1]."""
        return {"mel": self.train_mels.crops(self.config.batch_size, self.config.frames, rng)}

    def validate(self) -> dict[str, float]:
        """Log-mel L1 in [0, 1] units, and sharpness, over whole recordings (at most one window of 848 frames each)."""
        size = self.config.model.codebook_size
        error = torch.zeros((), device=self.device)
        energy = torch.zeros(2, device=self.device)  # of decoded and of original spectrograms
        counts, frames = torch.zeros(size, device=self.device), 0
        for item in self.valid_mels.items:
            mel = _whole_columns(item)
            indices, decoded = self._code(mel)
            error += (decoded - mel).abs().mean(0).sum()
            energy += torch.stack([gradient_energy(decoded), gradient_energy(mel)])
            counts += torch.bincount(indices.flatten(), minlength=size)
            frames += mel.shape[1]
        share = counts[counts > 0] / counts.sum()
        return {
            "valid_l1": float(error / frames),
            "valid_sharpness": float(energy[0] / energy[1]),
            "valid_used": float((counts > 0).float().mean()),
            "valid_bits": float(-(share * share.log2()).sum()),
        }

    def samples(self) -> Samples:
        """Original above decoded spectrograms of the first validation recordings."""
        pictures = {}
        for number, item in enumerate(self.valid_mels.items[:4]):
            mel = _whole_columns(item)
            pictures[f"valid_{number}"] = torch.cat([self._code(mel)[1], mel])  # the lowest band of the first is lowest
        return Samples(spectrograms=pictures)

    def _code(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Spectrogram (80, T) in [0, 1] -> its indices, and what they decode to."""
        model = self.module.autoencoder
        indices = model.encode(mel[None, None] * 2 - 1)
        return indices, ((model.decode(indices)[0, 0] + 1) / 2).clamp(0, 1)


def _perceptual(classifier: Path | None) -> LPAPS:
    if classifier is None:
        raise UsageError("This configuration has a perceptual loss: give it a trained classifier (--classifier).")
    trained = load_classifier(classifier)
    if not isinstance(trained.network, VGGish):
        raise UsageError(
            f"{classifier} is a Melception, and the perceptual loss looks through a VGGish-ish: train one, with "
            "specvq train classifier classifier-default."
        )
    return LPAPS(trained.network, trained.means, trained.stds)


def _whole_columns(item: Tensor) -> Tensor:
    return item[:, : min(848, item.shape[1] // COLUMN_FRAMES * COLUMN_FRAMES)].float()


def train_codebook(
    config: CodebookConfig,
    data: Path,
    run: Path,
    device: torch.device,
    start: Path | None = None,
    classifier: Path | None = None,
) -> dict[str, float]:
    """Train on a pack; `run` gets last.pt, log.jsonl. Returns the last validation.

    Raises:
        UsageError: the pack, the run, `start` or a missing `classifier` does not go with the configuration.
        WeightsError: the classifier or the bundle to start from is damaged; nothing is loaded in part.
    """
    torch.manual_seed(config.loop.seed)
    fresh = not (run / "last.pt").exists()  # else the checkpoint has everything
    task = CodebookTask(config, data, device, fresh, start, classifier)
    note_about(run / ABOUT, task.about)
    return train(task, config.loop, run)
