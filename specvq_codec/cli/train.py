"""train."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .places import folder_for
from .report import say

if TYPE_CHECKING:
    import torch

app = typer.Typer(help="Train the networks on your own sound.", no_args_is_help=True)

Config = Annotated[str, typer.Argument(help="A TOML file, or the name of a configuration in the package.")]
Data = Annotated[Path, typer.Option(help="Packed sound, from specvq data pack.")]
Out = Annotated[Path, typer.Option(help="Folder of the run; a run that is there goes on.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


@app.command()
def classifier(config: Config, data: Data, out: Out, device: Device = "auto") -> None:
    """Train the classifier, whose activations give the perceptual loss, on a pack with labels."""
    from ..training.classifier import ClassifierConfig, train_classifier
    from ..training.config import load_config

    loaded = load_config(ClassifierConfig, config)
    with folder_for(out):
        train_classifier(loaded, data, out, _device(device))
    _tell(out, loaded.loop.steps)


@app.command()
def codebook(
    config: Config,
    data: Data,
    out: Out,
    device: Device = "auto",
    start: Annotated[
        Path | None,
        typer.Option(help="A bundle, by folder or name, or the folder of a run, whose codebook goes on learning."),
    ] = None,
    classifier: Annotated[
        Path | None, typer.Option(help="File from specvq train classifier, through which a perceptual loss looks.")
    ] = None,
) -> None:
    """Train the autoencoder and its codebook."""
    from ..training.codebook import CodebookConfig, train_codebook
    from ..training.config import load_config

    loaded = load_config(CodebookConfig, config)
    with folder_for(out):
        train_codebook(loaded, data, out, _device(device), start, classifier)
    _tell(out, loaded.loop.steps)


@app.command()
def sampler(
    config: Config,
    data: Annotated[Path, typer.Option(help="A pack with tokens, from specvq data tokenize.")],
    out: Out,
    device: Device = "auto",
    weights: Annotated[str | None, typer.Option(help="Bundle whose tokens they are; the default one.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="A bundle, by folder or name, or the folder of a run, whose sampler goes on learning."),
    ] = None,
) -> None:
    """Train the sampler, which continues and invents sounds."""
    from ..training.config import load_config
    from ..training.sampler import SamplerConfig, train_sampler

    loaded = load_config(SamplerConfig, config)
    with folder_for(out):
        train_sampler(loaded, data, out, _device(device), weights, start)
    _tell(out, loaded.loop.steps)


@app.command()
def prior(
    config: Config,
    data: Annotated[Path, typer.Option(help="A pack with tokens, from specvq data tokenize.")],
    out: Out,
    device: Device = "auto",
    weights: Annotated[str | None, typer.Option(help="Bundle whose tokens they are; the default one.")] = None,
) -> None:
    """Train the prior, which makes files smaller (learned coding)."""
    from ..training.config import load_config
    from ..training.prior import PriorTraining, train_prior

    loaded = load_config(PriorTraining, config)
    with folder_for(out):
        train_prior(loaded, data, out, _device(device), weights)
    _tell(out, loaded.loop.steps)


@app.command()
def vocoder(
    config: Config,
    data: Data,
    out: Out,
    device: Device = "auto",
    codec: Annotated[
        str | None,
        typer.Option(help="Bundle whose decoded spectrograms it learns from, too; the default one if there are to be."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="A bundle, by folder or name, or the folder of a run, whose vocoder goes on learning."),
    ] = None,
) -> None:
    """Train the vocoder."""
    from ..training.config import load_config
    from ..training.vocoder import VocoderConfig, train_vocoder

    loaded = load_config(VocoderConfig, config)
    with folder_for(out):
        train_vocoder(loaded, data, out, _device(device), codec, start)
    _tell(out, loaded.loop.steps)


def _tell(run: Path, steps: int) -> None:
    """Say that a run is finished, now or since it was before."""
    if os.environ.get("RANK", "0") == "0":  # torchrun's number of the process
        say(f"{run}: done up to step {steps} (docs/training.md tells what can be made of it)")


def _device(name: str) -> "torch.device":
    """The device to train on; under torchrun with several GPUs, this process's own."""
    from ..devices import pick_device
    from ..training.distributed import own_device

    return own_device(pick_device(name))
