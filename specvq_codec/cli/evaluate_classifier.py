"""evaluate classifier: how often a classifier is right."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .codec import Device, Json
from .evaluate import PackFolder, Split
from .report import print_json, print_table, say, with_progress

if TYPE_CHECKING:
    from ..evaluation.verdicts import Section

HEADINGS = {"accuracy": "accuracy", "accuracy_5": "top five", "mAP": "mAP", "mAUC": "mAUC"}


def register(app: typer.Typer) -> None:
    """Add the command to those of evaluate."""
    app.command()(classifier)


def classifier(
    pack: PackFolder,
    split: Split = "test",
    classifiers: Annotated[
        list[Path] | None,
        typer.Option("--classifier", help="From specvq train classifier; the package's if not given; can be repeated."),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Tell how often classifiers name recordings rightly, and so what FID, KID, IS and MKL by them are worth.

    Recordings are heard in windows of ten seconds. mAP and mAUC are average precision and area under the ROC curve,
    means over the classes that occur. "chance" is the accuracy of always naming the class that occurs most often.
    """
    from ..classifiers import default_classifier, load_classifier
    from ..devices import pick_device
    from ..evaluation.verdicts import named, probabilities_of, sections_of
    from ..training.data import Pack

    chosen = pick_device(device)
    judges = {str(path): load_classifier(path) for path in classifiers or []}
    judges = judges or {"the package's": default_classifier()}
    recordings = Pack(pack, split)
    measured: dict[str, list[Section]] = {}
    for name, judge in judges.items():
        judge.network.to(chosen)
        clips = named(recordings.clips, judge.labels)
        if missing := len(recordings.clips) - len(clips):
            say(f"{missing} recordings are left out, since {name} does not know their labels")
        mels = (recordings.mel(clip).float() for clip in with_progress(clips, len(clips), "recordings"))
        measured[name] = sections_of(clips, judge.labels, probabilities_of(judge, mels))
    if as_json:
        results = {name: [dataclasses.asdict(section) for section in sections] for name, sections in measured.items()}
        print_json({"split": split, "classifiers": results})
        return
    headings = ["classifier", "recordings of", "recordings", "classes", "chance", *HEADINGS.values()]
    print(f"{split} split\n")
    print_table(headings, [[name, *_cells(section)] for name, sections in measured.items() for section in sections])


def _cells(section: "Section") -> list[str]:
    metrics = [f"{section.metrics[name]:.3f}" if section.metrics else "" for name in HEADINGS]
    return [section.domain, str(section.recordings), str(section.classes), f"{section.chance:.3f}", *metrics]
