"""Configurations of tiny trainings, shared by tests."""

import json

import torch
from tiny import AUTOENCODER, MELGAN

from specvq_codec.training.codebook import CodebookConfig
from specvq_codec.training.loop import LoopConfig
from specvq_codec.training.vocoder import VocoderConfig

CPU = torch.device("cpu")
CODEBOOK = CodebookConfig(AUTOENCODER, LoopConfig(6, 1e-3, 2, log_every=2, save_every=3), batch_size=3, frames=64)
VOCODER = VocoderConfig(MELGAN, LoopConfig(3, 1e-3, 1, log_every=1, save_every=3), batch_size=2, frames=16)


def contents(folder):
    """The files below a folder, by their paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def log(run):
    """The lines of a run's log, without times."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "per_second"} for line in lines]
