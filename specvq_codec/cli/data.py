"""data: preparing recordings for training."""

from pathlib import Path
from typing import Annotated

import typer

from .report import say, with_progress

app = typer.Typer(help="Prepare sound for training.", no_args_is_help=True)


@app.command()
def pack(
    folder: Annotated[
        Path, typer.Argument(help="Folder of sounds, with a manifest.csv (path, split, domain, label) or without.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the pack.")],
    features: Annotated[
        list[str] | None, typer.Option(help="A folder of features of video to pack, too, for VAS and VGGSound.")
    ] = None,
) -> None:
    """Decode and resample all sounds below a folder once, into one memory-mapped file.

    VAS and VGGSound, as the reference publishes them, become packs of spectrograms. What was interrupted goes on.
    """
    from ..training.packing import pack as pack_folder

    packed = pack_folder(folder, out, features or (), lambda entries: with_progress(entries, len(entries), "packing"))
    for line in packed.skipped:
        say(f"specvq: skipped {line}")
    hours = packed.seconds / 3600
    say(f"{out}: {len(packed.clips)} recordings, {hours:.2f} h; {len(packed.skipped)} skipped")


@app.command()
def tokenize(
    pack: Annotated[Path, typer.Argument(help="Folder of a pack.")],
    weights: Annotated[
        str | None, typer.Option(help="Weight bundle with the codebook: a folder or a name; the default one.")
    ] = None,
    shifts: Annotated[
        int, typer.Option(help="Encode each recording so often, columns beginning elsewhere: a sampler overfits less.")
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Encode all recordings of a pack once, for training a sampler."""
    from ..devices import pick_device
    from ..training.tokens import tokenize as tokenize_pack
    from ..weights import locate

    done = tokenize_pack(
        pack, locate(weights), pick_device(device), shifts, lambda clips: with_progress(clips, len(clips), "encoding")
    )
    say(f"{done.path}: {done.recordings} recordings, {done.indices} indices")
