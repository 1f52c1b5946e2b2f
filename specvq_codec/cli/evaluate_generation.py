"""evaluate generation: the tables of the paper, for one sampler or several."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .codec import Device, Force, Json
from .evaluate import Bundles, Judging, PackFolder, Split, judge_name, loaded_classifier, located
from .evaluate_sampler import numbers, tell_of_strangers, with_error
from .report import print_json, print_table, say, with_progress, write_text
from .sampler import Seed

if TYPE_CHECKING:
    from ..evaluation.generation import Row, Section

TOP_KS = "64,256,1024"


def register(app: typer.Typer) -> None:
    """Add the command to those of evaluate."""
    app.command()(generation)


def generation(
    pack: PackFolder,
    split: Split = "test",
    weights: Bundles = None,
    classifier: Judging = None,
    top_k: Annotated[str, typer.Option(help="Numbers of likeliest indices to draw from, by commas.")] = TOP_KS,
    features: Annotated[
        str | None,
        typer.Option(
            help="Numbers of features of a video to tell, by commas; all that the samplers take if not given."
        ),
    ] = None,
    with_class: Annotated[
        bool | None, typer.Option("--class/--no-class", help="Tell the class, or do not; both if not given.")
    ] = None,
    samples: Annotated[int, typer.Option("-n", "--samples", min=1, max=64, help="New sounds for each original.")] = 2,
    limit: Annotated[int | None, typer.Option(min=2, help="Only so many originals, evenly spread.")] = None,
    seed: Seed = 0,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for what the classifier finds in originals; in the user's cache.")
    ] = None,
    as_csv: Annotated[Path | None, typer.Option("--csv", help="Also write all rows to this file.")] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare what samplers make of the conditions of recordings with the recordings: FID, KID, IS and MKL.

    Recordings of a second at least are the originals, their first ten seconds at most; samples are as long. A sampler
    has one number of features, so several are compared by giving a bundle with each: --weights A --weights B. FID and
    KID are those of the classifier's features, and comparable only for the same classifier and as many sounds. Under
    torchrun, processes share the originals; the result is the same.
    """
    from ..codec import Codec
    from ..devices import pick_device
    from ..downloads import cache_folder
    from ..evaluation.caching import VerdictCache
    from ..evaluation.conditioning import Conditioning
    from ..evaluation.drawing import originals_of, settings_of
    from ..evaluation.generation import judge, sections_of
    from ..files import check_outputs
    from ..training.data import Pack
    from ..training.distributed import joined, own_device

    wanted = numbers(top_k, "--top-k", TOP_KS)
    counts = None if features is None else numbers(features, "--features", "0,5,212", least=0)
    check_outputs([as_csv], force)
    chosen = own_device(pick_device(device))
    judging = loaded_classifier(classifier)
    judging.network.to(chosen)
    recordings = Pack(pack, split)
    bundles = located(weights)
    codecs = [Codec(bundle, str(chosen), "griffin-lim") for bundle in bundles]  # spectrograms need no vocoder
    known = [Conditioning(codec, recordings) for codec in codecs]
    settings = settings_of(known, wanted, counts, with_class)
    originals = originals_of(settings, limit)
    kept = VerdictCache(judging, cache_folder() / "verdicts" if cache is None else cache)
    with joined(chosen) as processes:
        if processes.leads and with_class is not False:
            tell_of_strangers(known, [one.clip for one in originals])

        def track(places: Sequence[int]) -> Iterable[int]:
            return with_progress(places, len(places), "originals") if processes.leads else places

        parts = processes.gather(judge(settings, originals, kept, samples, seed, processes, track))
    if parts is None:
        return
    sections = sections_of(settings, originals, (one for part in parts for one in part))
    try:
        if as_json:
            about = {"weights": [{"name": bundle.name, "fingerprint": bundle.fingerprint.hex()} for bundle in bundles]}
            told = {"classifier": judge_name(classifier), "split": split, "samples": samples, "seed": seed}
            told["originals"] = [one.clip.path for one in originals]
            print_json(about | told | {"sections": [dataclasses.asdict(section) for section in sections]})
        else:
            names = dict.fromkeys(f"{bundle.name} ({bundle.fingerprint.hex()[:8]})" for bundle in bundles)
            each = f"{samples} sample{'s' * (samples > 1)} for each"
            print(f"{', '.join(names)}, {split} split: {len(originals)} originals, {each}\n")
            _print(*sections)
    finally:  # where nobody looks, too
        if as_csv is not None:
            write_text(as_csv, _csv(sections), force)
            say(str(as_csv))


def _cells(row: "Row") -> list[str]:
    scores = row.scores
    return [
        row.name,
        str(row.sounds),
        "" if row.top_k is None else str(row.top_k),
        "" if scores.fid is None else with_error(scores.fid, None),
        "" if scores.kid is None else with_error(scores.kid, scores.kid_deviation, 4 if abs(scores.kid) < 10 else 1),
        "" if scores.inception is None else with_error(scores.inception, scores.inception_deviation),
        "" if scores.mkl is None else with_error(scores.mkl, scores.mkl_error),
    ]


def _print(total: "Section", *classes: "Section") -> None:
    """The table of all originals, and for each measure one of the classes: a column there is a row of the first."""
    print_table(["", "sounds", "top-X", "FID", "KID", "IS", "MKL"], map(_cells, total.rows))
    for measure in ("mkl", "fid"):
        rows = [(place, row) for place, row in enumerate(total.rows) if getattr(row.scores, measure) is not None]
        headings = [row.name + ("" if row.top_k is None else f", top-{row.top_k}") for _, row in rows]
        lines = []
        for section in classes:
            values = [getattr(section.rows[place].scores, measure) for place, _ in rows]
            if any(value is not None for value in values):
                cells = ["" if value is None else with_error(value, None) for value in values]
                lines.append([section.label, str(section.originals), *cells])
        if lines:
            print(f"\n{measure.upper()} by class\n")
            print_table(["class", "originals", *headings], lines)


def _csv(sections: "Sequence[Section]") -> str:
    """A line for each row of each section, with all digits."""
    lines = []
    for section in sections:
        for row in section.rows:
            fields = dataclasses.asdict(row)
            scores = fields.pop("scores")
            lines.append({"class": section.label, "originals": section.originals, **fields, **scores})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
