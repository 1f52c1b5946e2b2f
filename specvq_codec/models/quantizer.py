"""The codebook: nearest vector, look-up, and the loss that moves vectors and encoder towards one another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Quantized:
    """What the quantiser gives a training step."""

    straight: Tensor  # (B, D, H, W) codebook vectors whose gradient goes to the latents (straight-through)
    indices: Tensor  # (B, H, W) int64
    loss: Tensor  # scalar


class VectorQuantizer(nn.Module):
    """Nearest-vector quantisation (van den Oord et al., "Neural Discrete Representation Learning", 2017).

    The loss has the reference's form, mean((sg[e] - z)^2) + beta * mean((e - sg[z])^2): beta scales the term that moves
    the codebook, not the commitment term.
    """

    def __init__(self, codebook_size: int, embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codebook_size, embed_dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / codebook_size, 1.0 / codebook_size)

    def distances(self, latents: Tensor) -> Tensor:
        """Squared distances of latents (N, D) from all vectors: (N, K), float32, with rounding errors."""
        flat = latents.float()
        codes = self.embedding.weight.float()  # (K, D)
        # |z|^2 is the same for every code, but keeping it makes ties round as in the reference
        return flat.square().sum(1, keepdim=True) + codes.square().sum(1) - 2.0 * flat @ codes.t()

    def nearest(self, z: Tensor) -> Tensor:
        """Latents (B, D, H, W) -> index of the nearest vector in squared distance (B, H, W), int64. In float32."""
        flat = z.movedim(1, -1).reshape(-1, z.shape[1])  # (B*H*W, D)
        return self.distances(flat).argmin(1).reshape(z.shape[0], *z.shape[2:])

    def lookup(self, indices: Tensor) -> Tensor:
        """Indices (B, H, W), int64 -> codebook vectors (B, D, H, W)."""
        return self.embedding(indices).movedim(-1, 1)

    def forward(self, z: Tensor, beta: float = 0.25) -> Quantized:
        """Quantise latents (B, D, H, W) for training; gradients pass straight through."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            indices = self.nearest(z.detach())
            e = self.lookup(indices)
            loss = F.mse_loss(z, e.detach()) + beta * F.mse_loss(e, z.detach())
            return Quantized(z + (e - z).detach(), indices, loss)
