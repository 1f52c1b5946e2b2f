"""evaluate reconstruction."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..bitstream.errors import UsageError
from .codec import Device, Force, Json
from .report import print_json, print_table, say, with_progress, write_text

if TYPE_CHECKING:
    from ..classifiers import Classifier
    from ..evaluation.columns import Column
    from ..evaluation.folder import LeftOut, Recordings
    from ..evaluation.reconstruction import Section
    from ..evaluation.systems import DecodedSystem, System
    from ..training.data import Clip
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
        float, typer.Option(help="Seconds, 1 to 86400; of longer recordings the beginning is measured.")
    ] = 300,
    speech: Annotated[
        str | None,
        typer.Option(
            help="Domains that are speech, by commas, or 'all' if everything is; that called speech if not given."
        ),
    ] = None,
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

    Sub-folders of a folder of sounds are its domains. Recordings weigh as much as they are long, but for FID, KID
    and MKL, for which windows of ten seconds, or what is left of a recording, all count the same. L1 is in units of
    the spectrogram's range, [0, 1], which is 100 dB; "mel" columns are of the spectrogram before any vocoder.
    Sharpness is 1 for the original and less for blur. FID, KID and MKL are what the classifier makes of these
    windows. Speeds are times real time. k-means quantises patches of spectrograms without a network, fitted to the
    train split of packed sound.
    """
    from ..evaluation.columns import as_csv, columns_of
    from ..evaluation.exhibits import Exhibits
    from ..evaluation.folder import measurable
    from ..evaluation.html_report import report
    from ..evaluation.pictures import check_drawing
    from ..evaluation.reconstruction import evaluate, spread
    from ..evaluation.systems import bundle_systems, peer_system
    from ..files import check_outputs

    check_outputs((csv, html), force)
    most = _samples(longest)
    if html is not None:
        check_drawing()
    judging = loaded_classifier(classifier)
    made_elsewhere = [_decoded_system(words) for words in decoded or []]
    others = [peer_system(name, device) for name in _names(peers) if name != K_MEANS]
    recordings, left_out = _recordings(folder, split, most)
    spoken = _spoken(speech, recordings.clips)
    bundles = located(weights)
    systems = [*bundle_systems(bundles, device, vocoder), *others, *made_elsewhere]
    if K_MEANS in _names(peers):
        systems += _patches(folder, bundles[0])
    lacking = {system.label: system.lacks(clip.path for clip in recordings.clips) for system in made_elsewhere}
    clips = []
    for clip in spread(recordings.clips, limit):
        absent = [label for label, paths in lacking.items() if clip.path in paths]
        if absent:
            left_out.append(_absent(clip.path, absent))
        else:
            clips.append(clip)
    if any(clip.domain in spoken for clip in clips):
        _tell_of_missing_measures()
    sounds = measurable(recordings, with_progress(clips, len(clips), "recordings"), most, left_out)
    exhibits = Exhibits(clips, examples if html else 0)
    sections = evaluate(systems, sounds, spoken, judging, left_out, exhibits)
    for path, reason in left_out:
        say(f"specvq: left out {path}: {reason}")
    names = [f"{bundle.name} ({bundle.fingerprint.hex()[:8]})" for bundle in bundles]
    about = f"{', '.join(names)}, {f'{split} split' if _is_pack(folder) else folder}"
    about += "" if classifier is None else f", judged by {classifier}"
    # shown before anything is written, so that nothing is lost where that fails, and written where nobody looks
    try:
        if as_json:
            print_json(
                {
                    "weights": [{"name": bundle.name, "fingerprint": bundle.fingerprint.hex()} for bundle in bundles],
                    "split": split if _is_pack(folder) else None,
                    "classifier": judge_name(classifier),
                    "sections": [dataclasses.asdict(section) for section in sections],
                    "left_out": [item._asdict() for item in left_out],
                }
            )
        else:
            print(about)
            for section in sections:
                _print_section(section, columns_of(sections))
    finally:
        try:
            if csv is not None:
                write_text(csv, as_csv(sections), force)
        finally:
            if html is not None:
                write_text(html, report(about, sections, exhibits.shown, left_out), force)


def loaded_classifier(path: Path | None) -> "Classifier":
    """The classifier in a file, or that of the package."""
    from ..classifiers import default_classifier, load_classifier

    return default_classifier() if path is None else load_classifier(path)


def judge_name(path: Path | None) -> str:
    """What to call the classifier in a file, or that of the package."""
    return "the package's" if path is None else str(path)


def located(weights: list[str] | None) -> "list[Bundle]":
    """The bundles that were asked for, or the default one; UsageError if one of them was named twice."""
    from ..weights import locate

    if not weights:
        return [locate(None)]
    bundles: dict[Path, Bundle] = {}
    for name in weights:
        bundle = locate(name)
        if bundle.path.resolve() in bundles:
            raise UsageError(f"{name} is a bundle that was named before: name every one once.")
        bundles[bundle.path.resolve()] = bundle
    return list(bundles.values())


def _names(words: str) -> list[str]:
    return [name.strip() for name in words.split(",") if name.strip()]


def _samples(longest: float) -> int:
    """What --longest means, at 22 050 Hz."""
    if not 1 <= longest <= 86_400:  # NaN is not, either
        raise UsageError(f"--longest takes seconds, from 1 to 86400, and not {longest:g}.")
    return round(longest * RATE)


def _spoken(speech: str | None, clips: "Sequence[Clip]") -> set[str]:
    """The domains that are speech."""
    from ..evaluation.labels import ALL, section_name
    from ..evaluation.reconstruction import SPEECH

    domains = {section_name(clip.domain): clip.domain for clip in clips}
    if speech is None:
        return {SPEECH}
    names = _names(speech)
    if ALL in names:
        return set(domains.values())
    for name in names:
        if name not in domains:
            known = ", ".join(filter(None, sorted(domains)))
            there = f"these are there: {known}" if known else "there are no domains here"
            raise UsageError(f"--speech names {name!r}, which is no domain: {there}; or say all.")
    return {domains[name] for name in names}


def _is_pack(folder: Path) -> bool:
    from ..training.data import STORES

    return (folder / "index.json").exists() and any((folder / store.file).exists() for store in STORES.values())


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
    bits = float(found["bits"]) if found["bits"] else None
    if bits is not None and not 0 < bits < 1e9:
        raise UsageError(f"--decoded takes bits per second above 0 and below 1e9, and not {found['bits']}.")
    folder = Path(found["folder"])
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}: give the one with the files that {found['name']} decoded.")
    return DecodedSystem(found["name"], folder, bits)


def _absent(path: str, labels: list[str]) -> "LeftOut":
    from ..evaluation.folder import LeftOut

    return LeftOut(path, f"there is no such file of {' and '.join(labels)}")


def _tell_of_missing_measures() -> None:
    """Say which measures of speech cannot be computed."""
    from ..evaluation.metrics import pesq_is_there, stoi_is_there

    if not stoi_is_there():
        say("STOI is left out, since it needs pystoi: pip install 'specvq-codec[eval]', or '.[eval]' in a checkout.")
    if not pesq_is_there():
        say("PESQ is left out, since it needs pesq: pip install 'specvq-codec[pesq]', or '.[pesq]' in a checkout.")


def _print_section(section: "Section", columns: "list[Column]") -> None:
    of = "recording" if section.recordings == 1 else "recordings"
    print(f"\n{section.domain}: {section.recordings} {of}, {section.seconds / 60:.1f} min\n")
    rows = [[row.name, *(column.cell(row) for column in columns)] for row in section.rows]
    print_table([section.domain, *(column.heading for column in columns)], rows)
