"""evaluate and spectrogram."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..bitstream.errors import UsageError
from .codec import Device, Force, Json, Weights
from .report import print_json, print_table, say, with_progress

if TYPE_CHECKING:
    from torch import Tensor

    from ..evaluation.reconstruction import Row, Section
    from ..weights import Bundle

PackFolder = Annotated[Path, typer.Argument(metavar="PACK", help="Packed sound, from specvq data pack.")]
Split = Annotated[str, typer.Option(help="train, valid or test.")]
Bundles = Annotated[
    list[str] | None,
    typer.Option(
        "--weights", help="Bundle of weights: a folder, a name, or hf://owner/name; can be given several times."
    ),
]
K_MEANS = "k-means"
COLUMNS = {  # heading: the measure and how it is written
    "bit/s": ("bits_per_second", "{:.1f}"),
    "mel L1": ("spectrogram_l1", "{:.4f}"),
    "mel sharpness": ("spectrogram_sharpness", "{:.2f}"),
    "log-mel L1": ("log_mel_l1", "{:.4f}"),
    "sharpness": ("sharpness", "{:.2f}"),
    "STFT": ("stft", "{:.3f}"),
    "STOI": ("stoi", "{:.3f}"),
    "usage": ("usage", "{:.1%}"),
    "entropy": ("entropy", "{:.3f}"),
    "encode x": ("encode_speed", "{:.1f}"),
    "decode x": ("decode_speed", "{:.1f}"),
}
PICTURE_FRAMES = 689  # of a spectrogram: 8 s

app = typer.Typer(help="Measure how good a bundle is.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Add the commands."""
    main.add_typer(app, name="evaluate")
    main.command()(spectrogram)


@app.command()
def reconstruction(
    pack: PackFolder,
    split: Split = "test",
    weights: Bundles = None,
    peers: Annotated[
        str,
        typer.Option(help="Others to compare with, by commas: codec2-700c, codec2-3200, opus-6k, opus-12k, k-means."),
    ] = "",
    vocoder: Annotated[str | None, typer.Option(help="Only this one: auto, melgan or griffin-lim.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Measure only this many recordings, evenly spread.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare decoded with original sound, for bundles and for codecs of others, beside the vocoders alone.

    Recordings weigh as much as they are long. L1 is in units of the spectrogram's range, [0, 1], which is 100 dB;
    "mel" columns are of the spectrogram before any vocoder. Sharpness is 1 for the original and less for blur. Speeds
    are times real time. k-means quantises patches of spectrograms without a network, fitted to the train split.
    """
    from ..evaluation.external import external_codec
    from ..evaluation.metrics import stoi_is_there
    from ..evaluation.reconstruction import SPEECH, evaluate, spread
    from ..evaluation.systems import ExternalSystem, System, bundle_systems, fit_patch_systems
    from ..training.data import Pack

    wanted = [name.strip() for name in peers.split(",") if name.strip()]
    others: list[System] = [ExternalSystem(external_codec(name)) for name in wanted if name != K_MEANS]
    recordings = Pack(pack, split)
    bundles = _located(weights)
    systems = bundle_systems(bundles, device, vocoder) + others
    if K_MEANS in wanted:
        say("fitting the k-means codebooks ...")
        systems += fit_patch_systems(Pack(pack, "train"), bundles[0].coding_model().codebook_size)
    clips = spread(recordings.clips, limit)
    with_stoi = stoi_is_there()
    if not with_stoi and any(clip.domain == SPEECH for clip in clips):
        say("STOI is left out, since it needs pystoi: pip install 'specvq-codec[eval]'.")
    sounds = ((clip, recordings.waveform(clip)) for clip in clips)
    sections = evaluate(systems, with_progress(sounds, len(clips), "recordings"), with_stoi)
    if as_json:
        about = [{"name": bundle.name, "fingerprint": bundle.fingerprint.hex()} for bundle in bundles]
        measured = [dataclasses.asdict(section) for section in sections]
        print_json({"weights": about, "split": split, "sections": measured})
        return
    names = [f"{bundle.name} ({bundle.fingerprint.hex()[:8]})" for bundle in bundles]
    print(f"{', '.join(names)}, {split} split")
    for section in sections:
        _print_section(section)


@app.command()
def pictures(
    pack: PackFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="The folder for the pictures.")],
    split: Split = "test",
    weights: Bundles = None,
    count: Annotated[int, typer.Option(min=1, help="Recordings of each domain.")] = 1,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Draw original beside decoded spectrograms, DOMAIN-1.png and so on: the same recordings every time.

    Of longer recordings the first 8 s are drawn.
    """
    from torch import from_numpy

    from ..codec import Codec
    from ..evaluation.pictures import examples, save_spectrograms
    from ..evaluation.reconstruction import spectrogram_of
    from ..files import check_output, output_file
    from ..training.data import Pack
    from .places import make_folder

    recordings = Pack(pack, split)
    targets = {str(out / f"{name}.png"): clip for name, clip in examples(recordings.clips, count).items()}
    make_folder(out)
    for target in targets:
        check_output(target, force)
    codecs = [Codec(bundle, device, "griffin-lim") for bundle in _located(weights)]  # spectrograms need no vocoder
    for target, clip in with_progress(targets.items(), len(targets), "pictures"):
        waveform = recordings.waveform(clip)
        panels = [(f"{clip.path}, original", spectrogram_of(waveform)[:, :PICTURE_FRAMES])]
        for codec in codecs:
            codes = codec.encode(waveform, codec.sample_rate)
            title = f"decoded with {codec.bundle.name}, {codes.bitrate:.0f} bit/s"
            panels.append((title, from_numpy(codec.spectrogram(codes))[:, :PICTURE_FRAMES]))
        with output_file(target, force) as temporary:
            save_spectrograms(temporary, panels)
        say(target)


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
    from ..codes import Codes, bundle_of
    from ..files import read_file
    from ..windows import COLUMN_SAMPLES, STEP, mel_chunks

    if source.lower().endswith(".svq"):
        data = read_file(source)
        bundle = bundle_of(data, weights)
        return torch.from_numpy(Codec(bundle, device).spectrogram(Codes.from_bytes(data, bundle)))
    with open_sound(source) as sound:
        blocks = blocks_of(resampled(sound, sound.sample_rate, SAMPLE_RATE), STEP * COLUMN_SAMPLES)
        return torch.cat(list(mel_chunks(map(torch.from_numpy, blocks))), dim=1)


def _located(weights: list[str] | None) -> "list[Bundle]":
    """The bundles that were asked for, or the default one."""
    from ..weights import locate

    return [locate(name) for name in weights] if weights else [locate(None)]


def _print_section(section: "Section") -> None:
    print(f"\n{section.domain}: {section.recordings} recordings, {section.seconds / 60:.1f} min\n")
    print_table([section.domain, *COLUMNS], [[row.name, *_cells(row)] for row in section.rows])


def _cells(row: "Row") -> list[str]:
    values = [(getattr(row, name), form) for name, form in COLUMNS.values()]
    return ["" if value is None else form.format(value) for value, form in values]
