"""Training the codebook: autoencoder and quantiser on log-mel spectrograms.

The networks start as the best linear codec of 16 x 16 patches (principal components and k-means) and learn what is
better; the codebook follows exponential moving averages of the latents assigned to it (van den Oord et al. 2017,
appendix A).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.autoencoder import COLUMN_FRAMES, Autoencoder, AutoencoderConfig
from .data import MelPack, Pack
from .loop import LoopConfig, train
from .patches import assign, k_means, patches_of, principal_patches


@dataclass(frozen=True)
class CodebookConfig:
    """Everything a codebook training depends on."""

    model: AutoencoderConfig
    loop: LoopConfig
    batch_size: int = 12
    frames: int = 208  # length of a training crop
    commitment: float = 0.25  # weight of the pull of latents to their vectors, in units of the latents' variance
    decay: float = 0.99  # of the moving averages of the codebook
    dead_below: float = 0.1  # a vector used less often than this, in latents a batch, starts again at a latent


class CodebookModule(nn.Module):
    """The autoencoder and the running averages of its codebook."""

    usage: Tensor
    sums: Tensor

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(config.model)
        self.autoencoder.quantize.requires_grad_(False)
        codes = self.autoencoder.quantize.embedding.weight
        self.register_buffer("usage", torch.ones(len(codes)))  # latents a batch, averaged
        self.register_buffer("sums", codes.detach().clone())

    @torch.no_grad()
    def start(self, mel: Tensor, seed: int) -> None:
        """Become the best linear codec of the spectrograms (B, 1, 80, T); without a linear path, only k-means."""
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
        generator = torch.Generator().manual_seed(seed)
        centres = k_means(latents.cpu(), self.config.model.codebook_size, 12, generator)
        shares = torch.bincount(assign(latents.cpu(), centres), minlength=len(centres)) / len(latents)
        self.usage.copy_(shares * self.config.batch_size * 5 * (self.config.frames // COLUMN_FRAMES))
        self.sums.copy_(centres.to(self.sums) * self.usage[:, None])
        model.quantize.embedding.weight.copy_(centres)

    @torch.no_grad()
    def follow(self, latents: Tensor, indices: Tensor, rng: np.random.Generator) -> None:
        """Move the codebook to the averages of latents (B, D, H, W) that were assigned to it; restart dead vectors."""
        flat, decay = latents.movedim(1, -1).flatten(0, 2), self.config.decay
        nearest = indices.flatten()
        self.usage.mul_(decay).add_(torch.bincount(nearest, minlength=len(self.usage)), alpha=1 - decay)
        self.sums.mul_(decay).index_add_(0, nearest, flat, alpha=1 - decay)
        dead = (self.usage < self.config.dead_below).nonzero().flatten()[: len(flat)]
        if len(dead):
            picks = torch.from_numpy(rng.choice(len(flat), len(dead), replace=False)).to(flat.device)
            self.usage[dead] = 1.0
            self.sums[dead] = flat[picks]
        self.autoencoder.quantize.embedding.weight.copy_(self.sums / self.usage[:, None])


class CodebookTask:
    """The codebook stage for the training loop; `fresh` networks start as the best linear codec of the data."""

    def __init__(self, config: CodebookConfig, data: Path, device: torch.device, fresh: bool = True) -> None:
        self.config, self.device = config, device
        self.train_mels = MelPack(Pack(data, "train"), config.frames)
        self.valid_mels = MelPack(Pack(data, "valid"), config.frames)
        self.module = CodebookModule(config)
        if fresh:
            crops = self.train_mels.crops(400, config.frames, np.random.default_rng(config.loop.seed))
            self.module.start(crops, config.loop.seed)
        self.module.to(device)
        self.module.autoencoder.channels_last()

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch of random crops; the codebook has moved with it."""
        model = self.module.autoencoder
        mel = self.train_mels.crops(self.config.batch_size, self.config.frames, rng).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            latents = model.latents(mel).float()
            quantized = model.quantize(latents)
            reconstruction = (model.reconstruct(quantized.straight) - mel).abs().mean()
        vectors = model.quantize.lookup(quantized.indices)
        commitment = F.mse_loss(latents, vectors)
        self.module.follow(latents.detach(), quantized.indices, rng)
        used = float((self.module.usage > self.config.dead_below).float().mean())
        shown = {"l1": reconstruction.item() / 2, "commitment": commitment.item(), "used": used}
        return reconstruction + self.config.commitment * commitment, shown

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Log-mel L1 in [0, 1] units over whole recordings (at most one window of 848 frames each)."""
        model = self.module.autoencoder.eval()
        error, frames, counts = 0.0, 0, torch.zeros(self.config.model.codebook_size)
        for item in self.valid_mels.items:
            whole = min(848, item.shape[1] // COLUMN_FRAMES * COLUMN_FRAMES)
            mel = item[None, None, :, :whole].to(self.device).float()
            indices = model.encode(mel * 2 - 1)
            decoded = (model.decode(indices).clamp(-1, 1) + 1) / 2
            error += float((decoded - mel).abs().mean(2).sum())
            frames += mel.shape[3]
            counts += torch.bincount(indices.flatten().cpu(), minlength=len(counts))
        self.module.train()
        share = counts[counts > 0] / counts.sum()
        bits = float(-(share * share.log2()).sum())
        return {"valid_l1": error / frames, "valid_used": float((counts > 0).float().mean()), "valid_bits": bits}


def train_codebook(config: CodebookConfig, data: Path, run: Path, device: torch.device) -> dict[str, float]:
    """Train on a pack; `run` gets last.pt, log.jsonl. Returns the last validation."""
    torch.manual_seed(config.loop.seed)
    fresh = not (run / "last.pt").exists()  # else the checkpoint has everything
    return train(CodebookTask(config, data, device, fresh), config.loop, run)
