"""data: preparing recordings for training."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ..bitstream.errors import SpecVQError
from .codec import Device, Force
from .places import Job, folder_for, jobs_below, make_folder
from .report import say, with_progress

app = typer.Typer(help="Prepare sound for training.", no_args_is_help=True)


@app.command()
def pack(
    folder: Annotated[
        Path, typer.Argument(help="Folder of sounds, with a manifest.csv (path, split, domain, label) or without.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the pack.")],
    features: Annotated[
        list[str] | None,
        typer.Option(help="A folder of features of video to pack, too; for VAS and VGGSound its name alone."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace a pack that is there, and remove its tokens.")
    ] = False,
) -> None:
    """Decode and resample all sounds below a folder once, into one memory-mapped file.

    VAS and VGGSound, as the reference publishes them, become packs of spectrograms. What was interrupted goes on.
    """
    from ..training.layouts import SPLITS
    from ..training.packing import pack as pack_folder

    with folder_for(out):
        packed = pack_folder(
            folder, out, features or (), lambda entries: with_progress(entries, len(entries), "packing"), force
        )
    for line in packed.skipped:
        say(f"specvq: skipped {line}")
    counts = Counter(clip.split for clip in packed.clips)
    shares = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    what = f"{len(packed.clips)} recordings ({shares}), {packed.seconds / 3600:.2f} h"
    if packed.new:
        say(f"{out}: {what}; {len(packed.skipped)} skipped")
    else:
        say(f"{out}: {what}; packed already, and left as it is (-f packs it again, and removes its tokens)")
        if any(out.glob("packing.*")):
            say(f"{out}: what an interrupted packing with -f has done is there, too; -f goes on with it")


@app.command()
def features(
    clips: Annotated[Path, typer.Argument(help="A video, or a folder with all videos below it.")],
    out: Annotated[Path, typer.Argument(help="Folder for a NAME.npz of each.")],
    kind: Annotated[str, typer.Option(help="pixels, or resnet50 as the reference's.")],
    video_weights: Annotated[
        str | None, typer.Option(help="ResNet-50: a file, or an address with #sha256= and its checksum.")
    ] = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Compute features of the first ten seconds of videos, for training a sampler that sees."""
    from ..devices import pick_device
    from ..features import features_of_video, make_extractor, save_features
    from ..files import check_output
    from ..video import VIDEO_SUFFIXES, import_av

    import_av()  # told once where it is missing, and not for each video
    jobs = [Job(clips, out / f"{clips.stem}.npz")]
    if clips.is_dir():
        jobs = jobs_below(clips, out, VIDEO_SUFFIXES, ".npz")
    extract = make_extractor(kind, video_weights, device=pick_device(device))
    failed: list[SpecVQError] = []
    for job in with_progress(jobs, len(jobs), "looking"):
        try:
            make_folder(job.target.parent)
            check_output(job.target, force)
            save_features(job.target, features_of_video(job.source, extract), kind, force)
        except SpecVQError as error:
            say(f"specvq: {job.source}: {error}")
            failed.append(error)
    say(f"{out}: features of {len(jobs) - len(failed)} videos; {len(failed)} could not be done")
    if failed:
        raise typer.Exit(max(error.exit_code for error in failed))


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
