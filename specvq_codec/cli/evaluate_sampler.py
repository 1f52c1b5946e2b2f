"""evaluate sampler and evaluate diversity: how good a sampler is."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..bitstream.errors import UsageError
from .codec import Device, Force, Json, Weights
from .evaluate import Judging, PackFolder, Split, judge_name, loaded_classifier
from .report import print_json, print_table, say, with_progress
from .sampler import Seed, TopK, Vocoder

if TYPE_CHECKING:
    from ..codec import Codec
    from ..evaluation.conditioning import Conditioning
    from ..evaluation.continuations import Report
    from ..evaluation.diversity import Point
    from ..evaluation.likelihood import Likelihood
    from ..training.data import Clip

TOP_KS = "1,16,64,256,512,1024"


def register(app: typer.Typer) -> None:
    """Add the commands to those of evaluate."""
    app.command("sampler")(likelihood_and_continuations)
    app.command()(diversity)


def likelihood_and_continuations(
    pack: PackFolder,
    split: Split = "test",
    count: Annotated[int, typer.Option("--continue", min=0, help="Recordings to continue; 0 for none.")] = 20,
    samples: Annotated[int, typer.Option("-n", min=1, max=64, help="Continuations of each.")] = 4,
    top_k: TopK = None,
    seed: Seed = 0,
    weights: Weights = None,
    vocoder: Vocoder = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Bits per index of held-out sound beside what needs no network, and continuations of its first halves.

    Bits are of all whole columns, each once; in recordings longer than the sampler's window, at least half a window is
    before them. The pack needs tokens: specvq data tokenize.

    Recordings of at least 6 s are continued. A step is the mean absolute difference over mel bands, in dB, between the
    means of 1 or 16 frames before and after a place; the inner step is the median over all places of the original.
    "within" is the share of seams whose step is no larger, "median" their median step in units of it. The distance is
    between the statistics (mean and deviation of every mel band over time) of the first half and of what follows, in
    dB.
    """
    from ..evaluation.conditioning import Conditioning
    from ..evaluation.continuations import continued, long_enough
    from ..evaluation.likelihood import likelihood
    from ..sampling import Sampling
    from ..training.tokens import TokenPack

    sampling = Sampling(top_k, seed=seed)
    codec = _codec(weights, device, vocoder)
    tokens = TokenPack(pack, split, codec.bundle, codec.sampler.config.columns)
    known = Conditioning(codec, tokens.pack)
    if count and tokens.pack.kind != "sound":
        raise UsageError("Spectrograms cannot be continued as sound: measure bits per index alone, by --continue 0.")
    clips = long_enough(tokens.pack, count) if count else []
    tell_of_strangers([known], tokens.pack.clips)
    sections = likelihood(known, tokens, lambda items: with_progress(items, len(items), "recordings"))
    tracked = partial(with_progress, total=len(clips), what="continuing")
    report = continued(known, clips, samples, sampling, tracked) if clips else None
    if as_json:
        result: dict[str, Any] = {"likelihood": [dataclasses.asdict(section) for section in sections]}
        result |= {"continuations": dataclasses.asdict(report)} if report else {}
        print_json(_about(codec, split) | {"sampling": dataclasses.asdict(sampling)} | result)
        return
    print(f"{_title(codec, split)}: bits per index, windows of {codec.sampler.config.columns} columns\n")
    print_table(["", *(section.domain for section in sections)], _likelihood_rows(sections))
    if report:
        _print_continuations(report, sampling.top_k)


def _likelihood_rows(sections: "Sequence[Likelihood]") -> list[list[str]]:
    rows = [[name, *(str(getattr(one, name)) for one in sections)] for name in ("recordings", "indices")]
    return rows + [[name, *(f"{one.bits[name]:.3f}" for one in sections)] for name in sections[0].bits]


def _print_continuations(report: "Report", top_k: int | None) -> None:
    drawn = "half of all indices" if top_k is None else f"top-X {top_k}"
    print(f"\n{len(report.recordings)} first halves, {report.samples} continuations of each from {drawn}.")
    print(f"Primed columns that came back identical: {report.kept_columns} of {report.primed_columns}.\n")
    widths = [step.frames for step in report.rows[0].steps]
    steps = [name for frames in widths for name in (f"step, {frames} fr", "median", "within")]
    headings = ["what follows", *steps, "distance"]
    inner = ["inner step of the original", *(c for value in report.inner for c in (f"{value:.2f}", "1 x", "50%")), ""]
    rows = []
    for row in report.rows:
        cells = [
            cell
            for step in row.steps
            for cell in (with_error(step.mean, step.error), f"{step.typical:.2f} x", f"{step.below:.0%}")
        ]
        cells += [""] * (len(steps) - len(cells))
        rows.append([row.name, *cells, with_error(row.distance, row.distance_error)])
    print_table(headings, [inner, *rows])


def diversity(
    pack: PackFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The picture, .png.")],
    classifier: Judging = None,
    top_k: Annotated[str, typer.Option(help="Numbers of likeliest indices to draw from, by commas.")] = TOP_KS,
    split: Split = "test",
    count: Annotated[int, typer.Option("-n", min=2, help="Originals, evenly spread.")] = 100,
    samples: Annotated[int, typer.Option(min=2, max=64, help="Samples for each original.")] = 2,
    seconds: Annotated[float, typer.Option(help="Length of originals and samples.")] = 5.0,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw fidelity and diversity of new sounds against the number of indices they are drawn from (top-X).

    For every original, sounds are made from what the sampler can be told of it: class, features, or nothing. MKL is the
    mean divergence of the classifier's verdicts on original and sample, FID the Fréchet distance of its hidden
    features (comparable only with that of the same classifier and as many sounds), difference the mean absolute one of
    samples for the same original.
    """
    from ..evaluation.conditioning import Conditioning
    from ..evaluation.continuations import long_enough
    from ..evaluation.curves import save_curves
    from ..evaluation.diversity import trade_off
    from ..evaluation.pictures import check_drawing
    from ..files import check_output, output_file
    from ..training.data import Pack

    if out.suffix.lower() != ".png":
        raise UsageError(f"{out} does not end in .png, the only kind of picture there is: rename it.")
    check_output(out, force)
    check_drawing()
    wanted = numbers(top_k, "--top-k", TOP_KS)
    judge = loaded_classifier(classifier)
    codec = _codec(weights, device, "griffin-lim")  # spectrograms need no vocoder
    judge.network.to(codec.device)
    recordings = Pack(pack, split)
    clips = long_enough(recordings, count, seconds)
    known = Conditioning(codec, recordings)
    tell_of_strangers([known], clips)
    points = trade_off(
        known, judge, clips, seconds, wanted, samples, seed, lambda items: with_progress(items, len(items), "sampling")
    )
    try:
        if as_json:
            about: dict[str, Any] = {"classifier": judge_name(classifier), "seconds": seconds, "seed": seed}
            about |= {"originals": [clip.path for clip in clips], "samples": samples}
            print_json(_about(codec, split) | about | {"points": [dataclasses.asdict(point) for point in points]})
        else:
            print(f"{_title(codec, split)}: {len(clips)} originals of {seconds:g} s, {samples} samples for each\n")
            print_table(["", "top-X", "MKL", "FID", "difference, dB", "distinct indices"], map(_point_cells, points))
    finally:  # where nobody looks, too
        with output_file(out, force) as temporary:
            save_curves(temporary, points)
        say(str(out))


def _point_cells(point: "Point") -> list[str]:
    return [
        point.name,
        "" if point.top_k is None else str(point.top_k),
        with_error(point.mkl, point.mkl_error),
        "" if point.fid is None else f"{point.fid:.2f}",
        "" if point.difference is None else with_error(point.difference, point.difference_error),
        "" if point.indices is None else f"{point.indices:.0f}",
    ]


def _codec(weights: str | None, device: str, vocoder: str) -> "Codec":
    """The codec of a bundle that has a sampler."""
    from ..codec import Codec
    from ..weights import locate

    codec = Codec(locate(weights), device, vocoder)
    _ = codec.sampler  # is an error where there is none
    return codec


def tell_of_strangers(known: "Sequence[Conditioning]", clips: "Sequence[Clip]") -> None:
    """Say how many of the recordings are of classes that samplers do not know."""
    for one in known:
        if count := one.strangers(clips):
            sampler = f"the sampler of {one.codec.bundle.name}"
            say(f"{count} of {len(clips)} recordings are of no class that {sampler} knows: they count, untold, too")


def numbers(text: str, option: str, example: str, least: int = 1) -> list[int]:
    """Numbers in ascending order from what an option lists by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 9 and int(part) >= least for part in parts):
        raise UsageError(f"{option} takes numbers from {least} on, by commas, such as {example}, and not {text!r}.")
    return sorted({int(part) for part in parts})


def _about(codec: "Codec", split: str) -> dict[str, Any]:
    bundle = {"name": codec.bundle.name, "fingerprint": codec.bundle.fingerprint.hex()}
    return {"weights": bundle, "split": split}


def _title(codec: "Codec", split: str) -> str:
    return f"{codec.bundle.name} ({codec.bundle.fingerprint.hex()[:8]}), {split} split"


def with_error(mean: float, error: float | None, digits: int = 2) -> str:
    """A mean and how uncertain it is."""
    mean = round(mean, digits) + 0.0  # no minus before a zero
    return f"{mean:.{digits}f}" if error is None else f"{mean:.{digits}f} ± {error:.{digits}f}"
