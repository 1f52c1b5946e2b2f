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
