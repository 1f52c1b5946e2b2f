"""train."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train the networks on your own sound.", no_args_is_help=True)

Config = Annotated[str, typer.Argument(help="A TOML file, or the name of a configuration in the package.")]
Data = Annotated[Path, typer.Option(help="Packed sound, from specvq data pack.")]
Out = Annotated[Path, typer.Option(help="Folder of the run; a run that is there goes on.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


@app.command()
def codebook(config: Config, data: Data, out: Out, device: Device = "auto") -> None:
    """Train the autoencoder and its codebook."""
    from ..codec import pick_device
    from ..training.codebook import CodebookConfig, train_codebook
    from ..training.config import load_config

    train_codebook(load_config(CodebookConfig, config), data, out, pick_device(device))


@app.command()
def vocoder(config: Config, data: Data, out: Out, device: Device = "auto") -> None:
    """Train the vocoder."""
    from ..codec import pick_device
    from ..training.config import load_config
    from ..training.vocoder import VocoderConfig, train_vocoder

    train_vocoder(load_config(VocoderConfig, config), data, out, pick_device(device))
