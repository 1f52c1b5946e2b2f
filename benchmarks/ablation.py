"""Which loss gives what: four small codebooks, trained alike but for their objective.

    python benchmarks/ablation.py PACK CLASSIFIER OUT [--steps 500]

Every row starts as the same linear codec and sees the same batches. Log-mel L1 (lower is better) rewards blur, and
sharpness (the gradient energy of decoded spectrograms by that of the originals', 1 is ideal) shows it. A run that is
in OUT goes on, so that the table can be printed again.
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
    parser.add_argument("--steps", type=int, default=500)
    args = parser.parse_args()
    perceptual = {"perceptual": 0.02}
    adversarial = {"adversarial": 0.8, "adversary_from": args.steps // 4}
    rows = {
        "reconstruction": ObjectiveConfig(),
        "+ LPAPS": ObjectiveConfig(**perceptual),
        "+ adversarial": ObjectiveConfig(**adversarial),
        "+ LPAPS + adversarial": ObjectiveConfig(**perceptual, **adversarial),
    }
    loop = LoopConfig(args.steps, learning_rate=5e-4, warmup=min(50, args.steps // 4), save_every=args.steps)
    table = []
    for number, (name, objective) in enumerate(rows.items()):
        config = CodebookConfig(MODEL, loop, objective, PatchConfig(channels=24))
        numbers = train_codebook(
            config, args.pack, args.out / str(number), torch.device("cpu"), classifier=args.classifier
        )
        cells = ("valid_l1", "{:.4f}"), ("valid_sharpness", "{:.3f}"), ("valid_used", "{:.1%}")
        table.append([name, *(form.format(numbers[key]) for key, form in cells)])
    print(f"{args.steps} steps of {config.batch_size} crops of {config.frames} frames, validation split")
    print_table(["objective", "log-mel L1", "sharpness", "codebook used"], table)


if __name__ == "__main__":
    main()
