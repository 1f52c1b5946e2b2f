"""evaluate reconstruction."""

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..bitstream.errors import UsageError
from .codec import Device, Force, Json
from .report import print_json, print_table, say, with_progress

if TYPE_CHECKING:
    from ..classifiers import Classifier
    from ..evaluation.columns import Column
    from ..evaluation.folder import LeftOut, Recordings
    from ..evaluation.reconstruction import Section
    from ..evaluation.systems import DecodedSystem, System
    from ..weights import Bundle

PackFolder = Annotated[Path, typer.Argument(metavar="PACK", help="Packed sound, from specvq data pack.")]
Split = Annotated[str, typer.Option(help="train, valid or test.")]
Bundles = Annotated[
    list[str] | None,
    typer.Option(
        "--weights", help="Bundle of weights: a folder, a name, or hf://owner/name; can be given several times."
    ),
]
Judging = Annotated[
    Path | None, typer.Option(help="A file from specvq train classifier; the package's own if not given.")
]
K_MEANS = "k-means"
RATE = 22_050  # Hz, of what is measured

app = typer.Typer(help="Measure how good a bundle is.", no_args_is_help=True)


@app.command()
def reconstruction(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of sound files, or packed sound, from specvq data pack.")
    ],
    split: Annotated[str, typer.Option(help="Of packed sound: train, valid or test.")] = "test",
    weights: Bundles = None,
    peers: Annotated[
        str,
        typer.Option(
            help="Others, by commas: codec2-700c, codec2-3200, opus-6k (or more), encodec, dac, snac, k-means."
        ),
    ] = "",
    decoded: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER[:BITS]",
            help="A folder where something else decoded the same files, and its bits per second; can be given often.",
        ),
    ] = None,
    vocoder: Annotated[str | None, typer.Option(help="Only this one: auto, melgan or griffin-lim.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Measure only this many recordings, evenly spread.")] = None,
    longest: Annotated[
        float, typer.Option(min=1, help="Seconds; of longer recordings the beginning is measured.")
    ] = 300,
    speech: Annotated[str, typer.Option(help="Domains that are speech, by commas; 'all' if everything is.")] = "speech",
    classifier: Judging = None,
    csv: Annotated[Path | None, typer.Option(help="Write the tables to this file, too.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page to this file, too, with drawings, spectrograms and sounds.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Recordings of each domain to see and hear on the page.")] = 1,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare decoded with original sound, for bundles and for codecs of others, beside the vocoders alone.

    Sub-folders of a folder of sounds are its domains. Recordings weigh as much as they are long. L1 is in units of the
    spectrogram's range, [0, 1], which is 100 dB; "mel" columns are of the spectrogram before any vocoder. Sharpness is
    1 for the original and less for blur. FID, KID and MKL are what the classifier makes of windows of ten seconds.
    Speeds are times real time. k-means quantises patches of spectrograms without a network, fitted to the train split
    of packed sound.
    """
    from ..evaluation.columns import as_csv, columns_of
    from ..evaluation.exhibits import Exhibits
    from ..evaluation.folder import measurable
    from ..evaluation.html_report import report
    from ..evaluation.pictures import check_drawing
    from ..evaluation.reconstruction import evaluate, spread
    from ..evaluation.systems import bundle_systems, peer_system
    from ..files import check_output, write_file

    for target in (csv, html):
        if target is not None:
            check_output(target, force)
    if html is not None:
        check_drawing()
    judging = loaded_classifier(classifier)
    made_elsewhere = [_decoded_system(words) for words in decoded or []]
    others = [peer_system(name, device) for name in _names(peers) if name != K_MEANS]
    recordings, left_out = _recordings(folder, split, round(longest * RATE))
    bundles = located(weights)
    systems = [*bundle_systems(bundles, device, vocoder), *others, *made_elsewhere]
    if K_MEANS in _names(peers):
        systems += _patches(folder, bundles[0])
    clips = []
    for clip in spread(recordings.clips, limit):
        absent = [system.label for system in made_elsewhere if not system.has(clip.path)]
        if absent:
            left_out.append(_absent(clip.path, absent))
        else:
            clips.append(clip)
    domains = _names(speech)
    if any(clip.domain in domains for clip in clips):
        _tell_of_missing_measures()
    sounds = measurable(recordings, with_progress(clips, len(clips), "recordings"), round(longest * RATE), left_out)
    exhibits = Exhibits(clips, examples if html else 0)
    sections = evaluate(systems, sounds, domains, judging, left_out, exhibits)
    for path, reason in left_out:
        say(f"specvq: left out {path}: {reason}")
    if csv is not None:
        write_file(csv, as_csv(sections).encode(), force)
    names = [f"{bundle.name} ({bundle.fingerprint.hex()[:8]})" for bundle in bundles]
    about = f"{', '.join(names)}, {f'{split} split' if _is_pack(folder) else folder}"
    if html is not None:
        write_file(html, report(about, sections, exhibits.shown, left_out).encode(), force)
    if as_json:
        print_json(
            {
                "weights": [{"name": bundle.name, "fingerprint": bundle.fingerprint.hex()} for bundle in bundles],
                "split": split if _is_pack(folder) else None,
                "sections": [dataclasses.asdict(section) for section in sections],
                "left_out": [item._asdict() for item in left_out],
            }
        )
        return
    print(about)
    for section in sections:
        _print_section(section, columns_of(sections))


def loaded_classifier(path: Path | None) -> "Classifier":
    """The classifier in a file, or that of the package."""
    from ..classifiers import default_classifier, load_classifier

    return default_classifier() if path is None else load_classifier(path)


def located(weights: list[str] | None) -> "list[Bundle]":
    """The bundles that were asked for, or the default one."""
    from ..weights import locate

    return [locate(name) for name in weights] if weights else [locate(None)]


def _names(words: str) -> list[str]:
    return [name.strip() for name in words.split(",") if name.strip()]


def _is_pack(folder: Path) -> bool:
    return (folder / "index.json").exists()


def _recordings(folder: Path, split: str, longest: int) -> "tuple[Recordings, list[LeftOut]]":
    """What is to be measured, and what cannot be opened."""
    from ..evaluation.folder import SoundFolder
    from ..training.data import Pack

    if _is_pack(folder):
        return Pack(folder, split), []
    sounds = SoundFolder(folder, longest)
    return sounds, list(sounds.left_out)


def _patches(folder: Path, bundle: "Bundle") -> "list[System]":
    """Quantisers without a network, with as many codewords as a bundle has."""
    from ..evaluation.systems import fit_patch_systems
    from ..training.data import Pack

    if not _is_pack(folder):
        raise UsageError("k-means is fitted to the train split of packed sound: make that with specvq data pack.")
    say("fitting the k-means codebooks ...")
    return fit_patch_systems(Pack(folder, "train"), bundle.coding_model().codebook_size)


def _decoded_system(words: str) -> "DecodedSystem":
    """What --decoded names."""
    from ..evaluation.systems import DecodedSystem

    found = re.fullmatch(r"(?P<name>[^=]+)=(?P<folder>.+?)(?::(?P<bits>\d+(?:\.\d+)?))?", words)
    if found is None:
        raise UsageError(
            f"--decoded is NAME=FOLDER or NAME=FOLDER:BITS_PER_SECOND, as in lyra=lyra/:3200, not {words!r}."
        )
    folder = Path(found["folder"])
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}: give the one with the files that {found['name']} decoded.")
    return DecodedSystem(found["name"], folder, float(found["bits"]) if found["bits"] else None)


def _absent(path: str, labels: list[str]) -> "LeftOut":
    from ..evaluation.folder import LeftOut

    return LeftOut(path, f"there is no such file of {' and '.join(labels)}.")


def _tell_of_missing_measures() -> None:
    """Say which measures of speech cannot be computed."""
    from ..evaluation.metrics import pesq_is_there, stoi_is_there

    if not stoi_is_there():
        say("STOI is left out, since it needs pystoi: pip install 'specvq-codec[eval]'.")
    if not pesq_is_there():
        say("PESQ is left out, since it needs pesq: pip install 'specvq-codec[pesq]'.")


def _print_section(section: "Section", columns: "list[Column]") -> None:
    of = "recording" if section.recordings == 1 else "recordings"
    print(f"\n{section.domain}: {section.recordings} {of}, {section.seconds / 60:.1f} min\n")
    rows = [[row.name, *(column.cell(row) for column in columns)] for row in section.rows]
    print_table([section.domain, *(column.heading for column in columns)], rows)
