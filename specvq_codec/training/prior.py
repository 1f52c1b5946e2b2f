"""Training the prior of learned coding on random windows of codebook indices (see tokens.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..bitstream import BLOCK_COLUMNS, ROWS
from ..bitstream.errors import UsageError, WeightsError
from ..models.prior import PriorConfig, PriorNetwork
from ..weights import Bundle, locate
from .about import parse_about, write_about
from .checkpoints import load_checkpoint, read_checkpoint
from .config import fill
from .loop import LoopConfig, require_batch, train
from .monitor import Samples
from .sampler import mean_of_first
from .tokens import TokenPack

ABOUT = "prior.json"  # in a run: what its checkpoint is of
_VALID_BATCH = 16


@dataclass(frozen=True)
class PriorTraining:
    """Everything that the training of a prior depends on; the size of the codebook comes from the bundle."""

    model: PriorConfig
    loop: LoopConfig
    batch_size: int = 16
    columns: int = 64  # of the windows to learn from

    def __post_init__(self) -> None:
        require_batch(self.batch_size)
        if self.columns < 1:
            raise ValueError(f"columns must be at least 1, not {self.columns}")


class About(NamedTuple):
    """What a run's checkpoint is of.

    Attributes:
        model: the network.
        fingerprint: of the weights whose indices it was trained on.
    """

    model: PriorConfig
    fingerprint: bytes

    def write(self, run: Path) -> None:
        """Put it into a run's folder. UsageError if the run that is there is of something else."""
        described = {"model": asdict(self.model), "fingerprint": self.fingerprint.hex()}
        write_about(run / ABOUT, self, described, read_about)


def read_about(run: Path) -> About:
    """What the checkpoint of a prior's run is of. UsageError if it is none."""
    path = run / ABOUT
    return parse_about(
        path,
        "prior",
        lambda about: About(fill(PriorConfig, about["model"], str(path)), bytes.fromhex(about["fingerprint"])),
    )


class PriorModule(nn.Module):
    """The network as a player."""

    def __init__(self, config: PriorConfig, codebook: Tensor, counts: Tensor) -> None:
        super().__init__()
        self.network = PriorNetwork(config, codebook, counts)

    def forward(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean negative log-likelihood of the first "lengths" of "indices" (B, 5 * columns)."""
        indices = batch["indices"].unflatten(1, (-1, ROWS))
        loss = mean_of_first(self.network.surprise(indices).flatten(1), batch["lengths"])
        return loss, {"train_bits": loss.detach() / math.log(2)}


class PriorTask:
    """The prior stage for the training loop; `bundle` is that of the tokens."""

    def __init__(self, config: PriorTraining, data: Path, bundle: Bundle, device: torch.device) -> None:
        self.config, self.device = config, device
        self.train_tokens = TokenPack(data, "train", bundle, config.columns)
        self.blocks = blocks_of(TokenPack(data, "valid", bundle, config.columns).items)
        self.about = About(config.model, bundle.fingerprint)
        self.module = PriorModule(config.model, codebook_of(bundle), counts_of(self.train_tokens)).to(device)
        self.players: dict[str, nn.Module] = {"prior": self.module}
        self.networks: tuple[nn.Module, ...] = (self.module.network,)

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Random windows; each begins as a block does, with nothing before it."""
        windows = self.train_tokens.draw(self.config.batch_size, rng)
        return {"indices": windows.indices.to(self.device), "lengths": windows.lengths.to(self.device)}

    def validate(self) -> dict[str, float]:
        """Bits per index of all recordings, in blocks as a file has them."""
        return {"valid_bits": bits_per_index(self.module.network, self.blocks, self.device)}

    def samples(self) -> Samples:
        """Nothing: numbers tell all."""
        return Samples()


def bits_per_index(network: PriorNetwork, blocks: Sequence[Tensor], device: torch.device) -> float:
    """What the network, set to evaluation, says of blocks (T, 5), in bits per index."""
    total = 0.0
    with torch.inference_mode():
        for indices, lengths in _batches(sorted(blocks, key=len)):
            surprise = network.surprise(indices.to(device)).flatten(1)
            total += mean_of_first(surprise, lengths.to(device)).item() * int(lengths.sum())
    return total / (ROWS * sum(map(len, blocks))) / math.log(2)


def _batches(blocks: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of similar length, filled up with zeros: (B, T, 5), and how many indices each has."""
    for first in range(0, len(blocks), _VALID_BATCH):
        chosen = list(blocks[first : first + _VALID_BATCH])
        yield nn.utils.rnn.pad_sequence(chosen, batch_first=True), torch.tensor([ROWS * len(one) for one in chosen])


def blocks_of(items: Sequence[Tensor]) -> list[Tensor]:
    """The blocks (T, 5), int64, of recordings' indices (5 T,)."""
    return [block for item in items for block in item.long().unflatten(0, (-1, ROWS)).split(BLOCK_COLUMNS)]


def codebook_of(bundle: Bundle) -> Tensor:
    """A bundle's codebook vectors, float32 (K, E)."""
    try:
        return torch.from_numpy(bundle.tensors("codebook")["quantize.embedding.weight"]).float()
    except KeyError as error:
        raise WeightsError(f"The codebook of {bundle.path} has no vectors: get the bundle again.") from error


def counts_of(tokens: TokenPack) -> Tensor:
    """How often each index occurs in each row: (5, K), float32."""
    rows = torch.cat(tokens.items).long().unflatten(0, (-1, ROWS))  # (T, 5)
    return torch.stack([torch.bincount(row, minlength=tokens.codebook_size) for row in rows.T]).float()


def load_prior(run: Path) -> tuple[PriorNetwork, About]:
    """The network of a run, its averaged weights if there are any, set to evaluation, and what it is of.

    Raises:
        UsageError: it is no run of a prior.
    """
    about = read_about(run)
    saved = read_checkpoint(run / "last.pt")
    try:
        codebook, counts = (saved["module"][f"network.{name}"] for name in ("codebook", "codes_bias"))
    except (KeyError, TypeError) as error:
        raise UsageError(f"{run / 'last.pt'} is damaged or no checkpoint of a prior: train it again.") from error
    module = PriorModule(about.model, codebook, torch.zeros_like(counts))
    load_checkpoint(module, saved, run / "last.pt")
    return module.network.eval(), about


def train_prior(
    config: PriorTraining, data: Path, run: Path, device: torch.device, weights: str | Path | None = None
) -> dict[str, float]:
    """Train on a pack's tokens; `run` gets last.pt, log.jsonl and prior.json. Returns the last validation.

    Args:
        config: what to train.
        data: folder of the pack, after `tokenize`.
        run: folder of the run.
        device: to train on.
        weights: the bundle whose tokens they are; None for the default one.

    Raises:
        UsageError: the pack, its tokens or the run does not go with the configuration.
        WeightsError: the bundle is damaged.
    """
    torch.manual_seed(config.loop.seed)
    task = PriorTask(config, data, locate(weights), device)
    task.about.write(run)
    return train(task, config.loop, run)
