"""A weight bundle of tiny random networks: quick, made in a second, and of no use for listening."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from specvq_codec import spectrogram as spec
from specvq_codec.bitstream import frequency_tables
from specvq_codec.models.autoencoder import Autoencoder, AutoencoderConfig
from specvq_codec.models.melgan import Generator, MelGANConfig
from specvq_codec.weights import Bundle, write_bundle

AUTOENCODER = AutoencoderConfig(
    channels=(32, 32, 32),
    num_res_blocks=1,
    attention_levels=(2,),
    z_channels=32,
    embed_dim=16,
    codebook_size=64,
    patch=4,
    linear_path=True,
)
MELGAN = MelGANConfig(channels=(32, 16, 8, 8, 4), num_res_layers=2)


def sound(seconds: float, rate: int = 22_050, seed: int = 0) -> np.ndarray:
    """Noise and tones that change all the time, float32 (N,) within [-0.9, 0.9]."""
    rng = np.random.default_rng(seed)
    time = np.arange(max(1, round(seconds * rate))) / rate
    sweep = np.sin(2 * np.pi * (200 * time + 150 * np.sin(2 * np.pi * 0.7 * time)) * (1 + time % 3))
    level = 10 ** (-2 * (1 + np.sin(2 * np.pi * 0.9 * time)) / 2)
    return (level * (0.6 * sweep + 0.3 * rng.uniform(-1, 1, len(time)))).astype(np.float32)


def amplify(generator: Generator) -> None:
    """Make the output of a freshly initialised vocoder depend on its input by more than rounding errors."""
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.ndim == 3:
                parameter.mul_(1.5)


def write_tiny_bundle(folder: Path, seed: int = 0, vocoder: bool = True, static: bool = True) -> Bundle:
    """Write a bundle, called as its folder. Its codebook holds latents of real inputs, so that many codes are hit."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        autoencoder, generator = Autoencoder(AUTOENCODER).eval(), Generator(MELGAN).eval()
        latents = autoencoder.latents(spec.log_mel(torch.from_numpy(sound(9.5)))[None, None, :, :816] * 2 - 1)
        flat = latents[0].flatten(1).mT  # (255, 16)
        autoencoder.quantize.embedding.weight.copy_(flat[torch.randperm(len(flat))[: AUTOENCODER.codebook_size]])
        amplify(generator)
    counts = np.random.default_rng(seed).integers(0, 1000, (5, AUTOENCODER.codebook_size))
    return write_bundle(
        folder,
        folder.name,
        asdict(AUTOENCODER),
        {key: tensor.numpy() for key, tensor in autoencoder.state_dict().items()},
        asdict(MELGAN) if vocoder else None,
        {key: tensor.numpy() for key, tensor in generator.state_dict().items()} if vocoder else None,
        frequency_tables(counts) if static else None,
        "Random numbers, for tests.",
    )
