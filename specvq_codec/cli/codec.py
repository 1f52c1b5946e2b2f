"""encode, decode and info."""

import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..bitstream import (
    CODEC_RATE,
    COLUMN_SAMPLES,
    ENTROPY_CHOICES,
    AudioError,
    BitstreamError,
    SpecVQError,
    UsageError,
    inspect,
)
from ..files import SOUND_SUFFIXES, read_file, reason_of
from .places import Job, jobs_below, make_folder, named
from .report import print_json, progress_bar, say

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..codec import Codec
    from ..weights import Bundle

Weights = Annotated[str | None, typer.Option(help="Bundle of weights: a folder, a name, or hf://owner/name.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite files that exist.")]
Skip = Annotated[bool, typer.Option("--skip-existing", help="In a folder, pass over files whose result is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Result = dict[str, Any]
Failure = tuple[Job, SpecVQError]
VOCODERS = ("auto", "melgan", "griffin-lim")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(encode)
    app.command()(decode)
    app.command()(info)


def encode(
    source: Annotated[str, typer.Argument(metavar="IN", help="A sound, a folder of sounds, or - for stdin.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The .svq file, a folder, or - for stdout.")],
    weights: Weights = None,
    entropy: Annotated[str, typer.Option(help="auto, fixed, static or learned.")] = "auto",
    target_bps: Annotated[float | None, typer.Option(help="Bits per second that a file may take, at a loss.")] = None,
    device: Device = "auto",
    force: Force = False,
    skip: Skip = False,
    as_json: Json = False,
) -> None:
    """Encode a sound, or all sounds below a folder, to .svq."""
    if entropy not in ENTROPY_CHOICES:
        raise UsageError(f"There is no entropy coding {entropy!r}: use one of {', '.join(ENTROPY_CHOICES)}.")
    if target_bps is not None and entropy not in ("auto", "learned"):
        raise UsageError(f"--target-bps counts the bits of learned coding: leave out --entropy {entropy}.")
    folder = Path(source).is_dir()
    if not folder and Path(source).suffix.lower() == ".svq":
        raise AudioError(f"{source} is the name of an encoded sound: specvq decode decodes it.")
    if not folder and Path(target).suffix.lower() in SOUND_SUFFIXES:
        raise UsageError(f"{target} is the name of a sound: give the encoded file one that ends in .svq.")
    jobs = _jobs(source, target, SOUND_SUFFIXES, ".svq", force, skip, as_json)
    with progress_bar() as progress:
        load = cache(partial(_encoder, weights, device))
        if folder:
            load()  # wrong weights are one error, not one for each file
        work = partial(_encode_one, load, entropy, target_bps, force, progress)
        done, failed = _run_all(jobs, progress, work, force) if folder else ([work(jobs[0])], [])
    _conclude(done, failed, folder, force, as_json)


def decode(
    source: Annotated[str, typer.Argument(metavar="IN", help="An .svq file, a folder of them, or - for stdin.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The sound, a folder, or - for WAV on stdout.")],
    rate: Annotated[str | None, typer.Option(help="Hz, or 'original'; 22050 if not given, 24000 for Opus.")] = None,
    weights: Weights = None,
    vocoder: Annotated[str, typer.Option(help="auto, melgan or griffin-lim.")] = "auto",
    lenient: Annotated[
        bool, typer.Option(help="Decode the intact blocks (47.6 s) of a damaged file, silence for the rest.")
    ] = False,
    conceal: Annotated[bool, typer.Option(help="As --lenient, but the sampler invents the rest.")] = False,
    device: Device = "auto",
    force: Force = False,
    skip: Skip = False,
    as_json: Json = False,
) -> None:
    """Decode an .svq file, or all below a folder, to sound."""
    if rate not in (None, "original") and not (re.fullmatch("[0-9]{4,6}", rate) and 8000 <= int(rate) <= 192_000):
        raise UsageError(f"--rate is 'original' or a number of Hz from 8000 to 192000, not {rate!r}.")
    if vocoder not in VOCODERS:
        raise UsageError(f"There is no vocoder {vocoder!r}: use one of {', '.join(VOCODERS)}.")
    folder = Path(source).is_dir()
    if not folder and Path(source).suffix.lower() in SOUND_SUFFIXES:
        raise BitstreamError(f"{source} is the name of a sound, and decode reads .svq files: specvq encode encodes it.")
    jobs = _jobs(source, target, frozenset({".svq"}), ".wav", force, skip, as_json)
    with progress_bar() as progress:
        decoder = _Decoder(weights, device, vocoder, lenient, conceal, rate, force, progress)
        work = decoder.decode
        done, failed = _run_all(jobs, progress, work, force) if folder else ([work(jobs[0])], [])
    _conclude(done, failed, folder, force, as_json)


def info(
    source: Annotated[str, typer.Argument(metavar="FILE", help="An .svq file, or - for stdin.")],
    as_json: Json = False,
) -> None:
    """Tell what is in an .svq file; exit with 3 if it is damaged."""
    from ..weights import bundle_for

    data = read_file(source)
    about = inspect(data)
    header = about.header
    bundle = bundle_for(header.fingerprint)
    kbps = 8 / header.duration / 1000
    result = {
        "file": source,
        "bytes": about.size,
        "seconds": header.duration,
        "sample_rate": header.sample_rate,
        "num_samples": header.num_samples,
        "columns": header.columns,
        "indices": 5 * header.columns,
        "entropy": header.coding.name.lower(),
        "kbps": about.size * kbps,
        "kbps_by_part": {
            "header": about.header_bytes * kbps,
            "indices": about.payload_bytes * kbps,
            "block_lengths": about.length_bytes * kbps,
            "checks": about.check_bytes * kbps,
            "damaged": about.damaged_bytes * kbps,
        },
        "weights": header.fingerprint.hex(),
        "weights_name": bundle.name if bundle else None,
        "blocks": about.blocks,
        "damaged_blocks": [number for number, intact in enumerate(about.intact) if not intact],
        "intact": about.is_intact,
    }
    if as_json:
        print_json(result)
    else:
        _print_info(result)
    if not about.is_intact:
        left = ", or decode what is left with --lenient" if any(about.intact) else ""
        raise BitstreamError(f"{source} is damaged: get another copy of it{left}.")


def _print_info(result: Result) -> None:
    shown = [(name, value) for name, value in result["kbps_by_part"].items() if value or name != "damaged"]
    parts = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in shown)
    named = result["weights_name"] or "not installed here"
    damaged = result["damaged_blocks"]
    lines = {
        "duration": f"{result['seconds']:.3f} s ({result['num_samples']} samples at {result['sample_rate']} Hz)",
        "size": f"{result['bytes']} bytes, {8 * result['bytes']} bits",
        "rate": f"{result['kbps']:.4f} kbps ({parts})",
        "indices": f"{result['indices']} in {result['columns']} columns, {result['entropy']} coding",
        "weights": f"{result['weights']} ({named})",
        "integrity": "intact" if result["intact"] else f"damaged: {len(damaged)} of {result['blocks']} blocks lost",
    }
    for name, text in lines.items():
        print(f"{name:<10} {text}")


def _jobs(
    source: str, target: str, suffixes: frozenset[str], new_suffix: str, force: bool, skip: bool, as_json: bool
) -> list[Job]:
    """What is to be done; a single target that cannot be written is refused before hours of work."""
    from ..files import check_output

    if skip and force:
        raise UsageError("--skip-existing keeps what is there, and -f overwrites it: leave out one of them.")
    if as_json and target == "-":
        raise UsageError("--json and the result cannot both go to the standard output: name a file.")
    if Path(source).is_dir():
        if target == "-":
            raise UsageError("A folder needs a folder to write to, not the standard output.")
        jobs = jobs_below(Path(source), Path(target), suffixes, new_suffix)
        left = [job for job in jobs if not (skip and os.path.isfile(job.target))]
        if len(left) < len(jobs):
            say(f"specvq: {len(jobs) - len(left)} of {len(jobs)} files were there already")
        return left
    if skip:
        raise UsageError("--skip-existing is for folders: leave it out.")
    if source != "-" and not os.path.lexists(source):
        raise AudioError(f"There is no file {source}: check the path.")
    check_output(target, force)
    if target != "-" and source != "-" and Path(target).exists() and Path(target).samefile(source):
        raise UsageError(f"{target} would be written over what is read: name another file.")
    return [Job(named(source), named(target))]


def _encoder(weights: str | None, device: str) -> "Codec":
    from ..codec import Codec

    return Codec.from_pretrained(weights, device, "griffin-lim")  # encoding needs no vocoder


def _encode_one(
    load: "Callable[[], Codec]", entropy: str, target_bps: float | None, force: bool, progress: "Progress", job: Job
) -> Result:
    from ..audio import open_sound

    with open_sound(str(job.source)) as stream, ExitStack() as stack:
        codec = load()  # not sooner: what is no sound is told at once
        from ..bitstream import check_coding
        from ..files import write_file

        check_coding(entropy, codec.model)

        started = time.perf_counter()  # loading the networks does not count
        total = stream.expected_samples
        columns = total and total * CODEC_RATE / stream.sample_rate / COLUMN_SAMPLES
        task = progress.add_task(job.source.name, total=columns or None)
        stack.callback(progress.remove_task, task)
        codes = codec.encode_opened(stream, target_bps, partial(progress.advance, task))
    data = codes.to_bytes(entropy)
    write_file(job.target, data, force)
    return {
        "input": str(job.source),
        "output": str(job.target),
        "seconds": codes.duration,
        "bytes": len(data),
        "bits_per_second": 8 * len(data) / codes.duration,
        "elapsed_seconds": time.perf_counter() - started,
    }


class _Decoder:
    """Decodes files, each with the weights it needs; networks are loaded once for each bundle."""

    def __init__(
        self,
        weights: str | None,
        device: str,
        vocoder: str,
        lenient: bool,
        conceal: bool,
        rate: str | None,
        force: bool,
        progress: "Progress",
    ) -> None:
        self.weights, self.device, self.vocoder = weights, device, vocoder
        self.lenient, self.conceal, self.rate, self.force, self.progress = lenient, conceal, rate, force, progress
        self._codecs: dict[Path, Codec] = {}  # by the bundle's: those with one fingerprint may have other vocoders
        self._named: Bundle | None = None  # what weights means, once it is known

    def decode(self, job: Job) -> Result:
        from ..audio import SoundWriter
        from ..codes import Codes, bundle_of
        from ..sound_writer import fitting_rate
        from ..weights import locate

        data = read_file(job.source)
        if self.weights is not None and self._named is None:
            self._named = locate(self.weights)
        bundle = self._named or bundle_of(data)
        codes = Codes.from_bytes(data, bundle, self.lenient or self.conceal)
        from ..codec import Codec, output_length  # not sooner: what is no .svq file is told at once

        if bundle.path not in self._codecs:
            self._codecs[bundle.path] = Codec(bundle, self.device, self.vocoder)
        codec = self._codecs[bundle.path]
        started = time.perf_counter()  # as for encoding, loading the networks does not count
        if self.rate is None:
            rate = fitting_rate(job.target, codec.sample_rate)
        else:
            rate = codes.sample_rate if self.rate == "original" else int(self.rate)
        lost = codes.lost
        if self.conceal and lost:
            from ..continuation import concealed

            codes = concealed(codec, codes)
        for first, end in lost:
            seconds = [min(codes.duration, column * COLUMN_SAMPLES / CODEC_RATE) for column in (first, end)]
            instead = "invented" if self.conceal else "silent"
            say(f"specvq: {job.source}: lost {seconds[0]:.1f} s to {seconds[1]:.1f} s, {instead} in the output")
        length = output_length(codes, rate)
        with SoundWriter(job.target, rate, length, self.force) as writer, ExitStack() as stack:
            task = self.progress.add_task(job.source.name, total=length)
            stack.callback(self.progress.remove_task, task)
            for block in codec.decode_stream(codes, rate):
                writer.write(block)
                self.progress.advance(task, len(block))
        return {
            "input": str(job.source),
            "output": str(job.target),
            "seconds": codes.duration,
            "bytes": len(data),
            "sample_rate": rate,
            "num_samples": length,
            "lost_columns": [list(span) for span in lost],
            "elapsed_seconds": time.perf_counter() - started,
        }


def _run_all(
    jobs: list[Job], progress: "Progress", work: Callable[[Job], Result], force: bool
) -> tuple[list[Result], list[Failure]]:
    """Do all jobs of a folder; one that fails does not keep the others from being done."""
    from ..files import check_output

    done: list[Result] = []
    failed: list[Failure] = []
    for job in progress.track(jobs, description="files"):
        try:
            make_folder(job.target.parent)
            check_output(job.target, force)
            done.append(work(job))
        except (SpecVQError, OSError) as error:
            failure = error if isinstance(error, SpecVQError) else SpecVQError(f"it failed ({reason_of(error)}).")
            say(f"specvq: {job.source}: {failure}")
            failed.append((job, failure))
    return done, failed


def _conclude(done: list[Result], failed: list[Failure], folder: bool, force: bool, as_json: bool) -> None:
    if as_json:
        errors = [{"input": str(job.source), "error": str(error)} for job, error in failed]
        print_json({"files": done, "failed": errors} if folder else done[0])
    else:
        for result in done:
            speed = result["seconds"] / result["elapsed_seconds"]
            rate = 8 * result["bytes"] / result["seconds"]
            say(
                f"{result['input']} -> {result['output']}: {result['seconds']:.2f} s, {result['bytes']} bytes, "
                f"{rate:.0f} bit/s, {speed:.0f} times real time"
            )
    if failed:
        rest = "; the others are written" if done else ""
        there = any(os.path.isfile(job.target) for job, error in failed if isinstance(error, UsageError))
        hint = ". --skip-existing leaves out what is there" if there and not force else ""
        say(f"specvq: {len(failed)} of {len(done) + len(failed)} files could not be done{rest}{hint}.")
        raise typer.Exit(max(error.exit_code for _, error in failed))
