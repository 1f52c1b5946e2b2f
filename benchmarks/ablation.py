"""Which loss gives what: one small codebook that goes on with four objectives.

    python benchmarks/ablation.py PACK CLASSIFIER OUT [--steps 400] [--further 150]

It learns to reconstruct for `steps`, and from there each row makes `further` steps on the same batches. Log-mel L1
(lower is better) rewards blur, and sharpness (the gradient energy of decoded spectrograms by that of the originals', 1
is ideal) shows it. A run that is in OUT goes on, so that the table can be printed again.
"""

import argparse
from pathlib import Path

import torch
from common import print_table

from specvq_codec.models.autoencoder import AutoencoderConfig
from specvq_codec.models.discriminators import PatchConfig
from specvq_codec.training.codebook import CodebookConfig, train_codebook
from specvq_codec.training.loop import LoopConfig
from specvq_codec.training.objective import ObjectiveConfig

MODEL = AutoencoderConfig(
    channels=(32, 64, 128),
    num_res_blocks=1,
    attention_levels=(2,),
    z_channels=128,
    embed_dim=64,
    patch=4,
    linear_path=True,
)


def main() -> None:
    """Train what is not trained yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="packed sound")
    parser.add_argument("classifier", type=Path, help="file from specvq train classifier")
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--further", type=int, default=150)
    args = parser.parse_args()
    cpu = torch.device("cpu")
    loop = LoopConfig(args.steps, learning_rate=5e-4, warmup=50, save_every=args.steps)
    begun = args.out / "begun"
    table = [_row("reconstruction, before", train_codebook(CodebookConfig(MODEL, loop), args.pack, begun, cpu))]
    perceptual, adversarial = {"perceptual": 0.02}, {"adversarial": 0.8, "adversary_from": 0}
    rows = {
        "reconstruction": ObjectiveConfig(),
        "+ LPAPS": ObjectiveConfig(**perceptual),
        "+ adversarial": ObjectiveConfig(**adversarial),
        "+ LPAPS + adversarial": ObjectiveConfig(**perceptual, **adversarial),
    }
    loop = LoopConfig(args.further, learning_rate=3e-4, warmup=20, log_every=10, save_every=args.further)
    for number, (name, objective) in enumerate(rows.items()):
        config = CodebookConfig(MODEL, loop, objective, PatchConfig(channels=24))
        run = args.out / str(number)
        table.append(_row(name, train_codebook(config, args.pack, run, cpu, begun, args.classifier)))
    print(f"{args.further} steps of {config.batch_size} crops of {config.frames} frames each, validation split")
    print_table(["objective", "log-mel L1", "sharpness", "codebook used"], table)


def _row(name: str, numbers: dict[str, float]) -> list[str]:
    cells = ("valid_l1", "{:.4f}"), ("valid_sharpness", "{:.3f}"), ("valid_used", "{:.1%}")
    return [name, *(form.format(numbers[key]) for key, form in cells)]


if __name__ == "__main__":
    main()
