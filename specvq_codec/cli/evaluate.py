"""evaluate and spectrogram."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..bitstream.errors import UsageError
from .codec import Device, Force, Json, Weights
from .report import print_json, say, with_progress

if TYPE_CHECKING:
    from torch import Tensor

    from ..evaluation.reconstruction import Row, Section

app = typer.Typer(help="Measure how good a bundle is.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Add the commands."""
    main.add_typer(app, name="evaluate")
    main.command()(spectrogram)


@app.command()
def reconstruction(
    pack: Annotated[Path, typer.Argument(metavar="PACK", help="Packed sound, from specvq data pack.")],
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    weights: Weights = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Measure only this many recordings, evenly spread.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare decoded with original sound, beside Griffin-Lim, the vocoder alone, and k-means without a network.

    Recordings weigh as much as they are long. Spectrogram L1 and log-mel L1 are in units of the spectrogram's range,
    [0, 1], which is 100 dB. The k-means codebooks are fitted to the pack's train split.
    """
    from ..codec import Codec
    from ..evaluation.reconstruction import evaluate, fit_peers, spread
    from ..training.data import Pack
    from ..weights import locate

    recordings = Pack(pack, split)
    bundle = locate(weights)
    vocoders = ["griffin-lim"] if bundle.melgan is None else ["melgan", "griffin-lim"]
    vocoders.sort(key=lambda name: name != bundle.default_vocoder)  # the one that users hear comes first
    codecs = {name: Codec(bundle, device, name) for name in vocoders}
    say("fitting the k-means codebooks ...")
    peers = fit_peers(Pack(pack, "train"), codecs[vocoders[0]].model.codebook_size)
    clips = spread(recordings.clips, limit)
    sounds = ((clip, recordings.waveform(clip)) for clip in clips)
    sections = evaluate(codecs, peers, with_progress(sounds, len(clips), "recordings"))
    if as_json:
        about = {"weights": bundle.name, "fingerprint": bundle.fingerprint.hex(), "split": split}
        print_json({**about, "sections": [dataclasses.asdict(section) for section in sections]})
        return
    print(f"{bundle.name} ({bundle.fingerprint.hex()[:8]}), {split} split")
    for section in sections:
        _print_section(section)


def spectrogram(
    source: Annotated[str, typer.Argument(metavar="IN", help="A sound or an .svq file.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The picture, .png, or - for stdout.")],
    second: Annotated[str | None, typer.Argument(metavar="[IN2]", help="Another, to be drawn below.")] = None,
    weights: Weights = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Draw the log-mel spectrogram of a sound or an .svq file, or of two."""
    from ..files import check_output, output_file

    if target != "-" and Path(target).suffix.lower() != ".png":
        raise UsageError(f"{target} does not end in .png, the only kind of picture there is: rename it.")
    check_output(target, force)
    from ..evaluation.pictures import save_spectrograms

    sources = [source] if second is None else [source, second]
    panels = [(name, _spectrogram(name, weights, device)) for name in sources]
    with output_file(target, force) as temporary:
        save_spectrograms(temporary, panels)


def _spectrogram(source: str, weights: str | None, device: str) -> "Tensor":
    """The log-mel spectrogram (80, T) of a sound, or the decoded one of an .svq file, in [0, 1]."""
    import torch

    from ..audio import SAMPLE_RATE, blocks_of, open_sound, resampled
    from ..codec import Codec
    from ..codes import Codes, bundle_of, read_file
    from ..windows import COLUMN_SAMPLES, STEP, mel_chunks

    if source.lower().endswith(".svq"):
        data = read_file(source)
        bundle = bundle_of(data, weights)
        return torch.from_numpy(Codec(bundle, device).spectrogram(Codes.from_bytes(data, bundle)))
    with open_sound(source) as sound:
        blocks = blocks_of(resampled(sound, sound.sample_rate, SAMPLE_RATE), STEP * COLUMN_SAMPLES)
        return torch.cat(list(mel_chunks(map(torch.from_numpy, blocks))), dim=1)


def _print_section(section: "Section") -> None:
    """A table that Markdown understands."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.MARKDOWN)
    table.add_column(section.domain)
    for heading in ("bit/s", "spectrogram L1", "log-mel L1", "STFT", "usage", "entropy"):
        table.add_column(heading, justify="right")
    for row in section.rows:
        table.add_row(row.name, *_cells(row))
    console = Console(width=200, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(table)
    print(f"\n{section.domain}: {section.recordings} recordings, {section.seconds / 60:.1f} min\n")
    print(capture.get().strip())


def _cells(row: "Row") -> list[str]:
    numbers = (
        (row.bits_per_second, "{:.1f}"),
        (row.spectrogram_l1, "{:.4f}"),
        (row.log_mel_l1, "{:.4f}"),
        (row.stft, "{:.3f}"),
        (row.usage, "{:.1%}"),
        (row.entropy, "{:.3f}"),
    )
    return ["" if value is None else form.format(value) for value, form in numbers]
