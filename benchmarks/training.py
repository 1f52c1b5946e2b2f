"""Steps and examples per second of every training stage, and where a step's time goes.

    python benchmarks/training.py PACK [--steps 10] [--device cpu] [--stages classifier ...]

Each stage runs as the configurations of the default bundle have it, from random weights (their values do not change the
time), the vocoder with its discriminators. A step's parts are timed apart: the batch, each player's loss, its gradient,
and the optimiser.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from common import print_table, processor

from specvq_codec.classifiers import Classifier, save_classifier
from specvq_codec.devices import pick_device
from specvq_codec.models.vggishish import VGGish, VGGishConfig
from specvq_codec.training.classifier import ClassifierConfig, ClassifierTask
from specvq_codec.training.codebook import CodebookConfig, CodebookTask
from specvq_codec.training.config import load_config
from specvq_codec.training.loop import Task
from specvq_codec.training.vocoder import VocoderConfig, VocoderTask
from specvq_codec.weights import locate

CLIPS = 40  # of each split; their spectrograms are in memory before the first step


def small_pack(pack: Path, folder: Path) -> Path:
    """A pack of a few of another's recordings."""
    index = json.loads((pack / "index.json").read_text())
    index["clips"] = [
        clip
        for split in ("train", "valid")
        for clip in [clip for clip in index["clips"] if clip["split"] == split][::5][:CLIPS]
    ]
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "samples.i16").symlink_to((pack / "samples.i16").resolve())
    return folder


def classifier_stage(data: Path, device: torch.device, _: Path) -> tuple[Task, int]:
    """The classifier."""
    config = load_config(ClassifierConfig, "classifier-default")
    return ClassifierTask(config, data, device), config.batch_size


def codebook_stage(data: Path, device: torch.device, folder: Path) -> tuple[Task, int]:
    """The codebook with all losses, and a classifier of the default shape for LPAPS."""
    config = load_config(CodebookConfig, "codebook-sharpen")
    model = load_config(ClassifierConfig, "classifier-default").model
    network = VGGish(VGGishConfig(model.channels, model.convs, model.hidden, 2, model.pooled))
    path = folder / "classifier.safetensors"
    save_classifier(path, Classifier(network, torch.full((80,), 0.5), torch.full((80,), 0.2), ("a", "b")))
    return CodebookTask(config, data, device, classifier=path), config.batch_size


def reconstruction_stage(data: Path, device: torch.device, _: Path) -> tuple[Task, int]:
    """The codebook with its first loss alone."""
    config = load_config(CodebookConfig, "codebook-default")
    return CodebookTask(config, data, device), config.batch_size


def vocoder_stage(data: Path, device: torch.device, _: Path) -> tuple[Task, int]:
    """The vocoder with its discriminators, on sound decoded by the default bundle."""
    config = load_config(VocoderConfig, "vocoder-default")
    config = dataclasses.replace(config, adversary_from=0)
    return VocoderTask(config, data, device, codec=str(locate(None).path)), config.batch_size


STAGES: dict[str, Callable[[Path, torch.device, Path], tuple[Task, int]]] = {
    "classifier": classifier_stage,
    "codebook, reconstruction": reconstruction_stage,
    "codebook, all losses": codebook_stage,
    "vocoder": vocoder_stage,
}


def step_times(task: Task, steps: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each part of a step."""
    optimizers = {
        name: torch.optim.AdamW([p for p in player.parameters() if p.requires_grad])
        for name, player in task.players.items()
    }
    times: dict[str, list[float]] = {}

    def timed(part: str, started: float) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        times.setdefault(part, []).append(now - started)
        return now

    for step in range(steps + 2):
        now = time.perf_counter()
        batch = task.batch(np.random.default_rng(step))
        now = timed("batch", now)
        for name, player in task.players.items():
            loss, _ = player(batch, step)
            now = timed(f"{name}'s loss", now)
            optimizers[name].zero_grad()
            loss.backward()
            now = timed(f"{name}'s gradient", now)
            optimizers[name].step()
            now = timed("optimiser", now)
    turns = len(task.players)
    return {
        part: float(np.median(values[2 * len(values) // (steps + 2) :])) * (turns if part == "optimiser" else 1)
        for part, values in times.items()
    }


def main() -> None:
    """Time the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="packed sound with labels")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    args = parser.parse_args()
    device = pick_device(args.device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    print(f"{where}, {torch.get_num_threads()} threads, medians of {args.steps} steps")
    for stage in args.stages:
        with TemporaryDirectory() as folder:
            torch.manual_seed(0)
            task, batch_size = STAGES[stage](small_pack(args.pack, Path(folder)), device, Path(folder))
            parts = step_times(task, args.steps, device)
        total = sum(parts.values())
        print(f"\n{stage}: {1 / total:.2f} steps/s, {batch_size / total:.1f} examples/s")
        rows = [[part, f"{1000 * seconds:.0f}", f"{seconds / total:.0%}"] for part, seconds in parts.items()]
        print_table(["part", "ms", "share"], rows)


if __name__ == "__main__":
    main()
