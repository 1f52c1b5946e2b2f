"""continue, generate: sounds that a sampler makes."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..bitstream.errors import UsageError
from .codec import Device, Force, Json, Weights
from .report import print_json, progress_bar, say

Target = Annotated[str, typer.Argument(metavar="OUT", help="The sound or .svq file, or - for WAV on stdout.")]
TopK = Annotated[int | None, typer.Option(help="Draw from so many of the likeliest indices; half of all if not given.")]
Temperature = Annotated[float, typer.Option(help="Above 1 for more diversity, below for less.")]
Nucleus = Annotated[float, typer.Option(help="Draw from the likeliest indices of this probability together.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same sound.")]
Variants = Annotated[int, typer.Option("-n", min=1, max=64, help="So many, OUT-1, OUT-2, ..., at once.")]
Label = Annotated[str | None, typer.Option("--class", help="Class, for a sampler that knows some.")]
FeatureFiles = Annotated[
    list[Path] | None,
    typer.Option(help="Features of a video (.npy, .npz, .pkl), for a sampler that takes some; one file a stream."),
]
Video = Annotated[Path | None, typer.Option(help="A video to invent the sound of its first ten seconds for.")]
VideoWeights = Annotated[
    str | None, typer.Option(help="ResNet-50 for features of the video: a file, or an address with #sha256=.")
]
Mux = Annotated[
    Path | None, typer.Option(help="Also write the video with its new sound: .mp4, .m4v, .mov, .mkv or .webm.")
]
Precision = Annotated[
    str, typer.Option(help="Of the sampler: float32, int8, bfloat16, or auto for the quickest of the same quality.")
]
Vocoder = Annotated[str, typer.Option(help="auto, melgan or griffin-lim.")]

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    from rich.progress import Progress

    from ..audio import SoundStream
    from ..codec import Codec
    from ..codes import Codes
    from ..conditions import Features
    from ..models.transformer import Condition
    from ..weights import Bundle


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("continue")(continue_sound)
    app.command("generate")(generate_sound)


def continue_sound(
    target: Target,
    prime: Annotated[str, typer.Option(metavar="IN", help="The sound or .svq file to continue, or - for stdin.")],
    seconds: Annotated[float, typer.Option(help="How much longer it is to be.")],
    prime_seconds: Annotated[
        float | None, typer.Option(help="Use only the beginning of the sound, of this length.")
    ] = None,
    top_k: TopK = None,
    temperature: Temperature = 1.0,
    nucleus: Nucleus = 1.0,
    seed: Seed = 0,
    variants: Variants = 1,
    label: Label = None,
    features: FeatureFiles = None,
    weights: Weights = None,
    vocoder: Vocoder = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Continue a sound."""
    targets = _targets(target, prime, variants, force, as_json)
    if not 0 < seconds < float("inf"):
        raise UsageError(
            f"--seconds must be a number above 0, not {seconds:g}: it tells how much longer the sound is to be."
        )
    if prime_seconds is not None and not prime_seconds > 0:
        raise UsageError(f"--prime-seconds must be above 0, not {prime_seconds:g}.")
    with progress_bar() as progress, ExitStack() as stack:
        bundle, opened = _opened(prime, weights, stack)
        from ..codec import Codec, Codes
        from ..continuation import continuations
        from ..sampling import Sampling

        sampling = Sampling(top_k, temperature, nucleus, seed)
        codec = Codec(bundle, device, vocoder, precision)
        condition = _condition(codec, _loaded(features), label)
        codes = opened if isinstance(opened, Codes) else codec.encode_opened(opened)
        if prime_seconds is not None:
            codes = codes.beginning(prime_seconds)
        started = time.perf_counter()
        results = continuations(codec, codes, seconds, variants, sampling, condition, _shown(progress))
        elapsed = time.perf_counter() - started
        for path, result in zip(targets, results, strict=True):
            _write(codec, result, path, force)
    length = results[0].duration
    if as_json:
        about = {"seconds": length, "prime_seconds": codes.duration, "seed": seed, "sampling_seconds": elapsed}
        print_json({"input": prime, "outputs": targets} | about)
    else:
        said = f"{codes.duration:.2f} s continued to {length:.2f} s, sampled in {elapsed:.2f} s"
        say(f"{prime} -> {', '.join(targets)}: {said}")


def generate_sound(
    target: Target,
    seconds: Annotated[
        float | None, typer.Option(help="How long it is to be; 10, or as long as the video, if that is shorter.")
    ] = None,
    label: Label = None,
    video: Video = None,
    video_weights: VideoWeights = None,
    mux: Mux = None,
    features: FeatureFiles = None,
    top_k: TopK = None,
    temperature: Temperature = 1.0,
    nucleus: Nucleus = 1.0,
    seed: Seed = 0,
    variants: Variants = 1,
    weights: Weights = None,
    vocoder: Vocoder = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Invent a sound, of a class, for a video or features of one, or any."""
    targets = _targets(target, None, variants, force, as_json)
    muxed = _muxed(mux, video, variants, force)
    if video is None and video_weights is not None:
        raise UsageError("--video-weights is for the features of a video: give --video, too.")
    if video is not None and features:
        raise UsageError("--video and --features both tell what is seen: give one of them.")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise UsageError(f"--seconds must be a number above 0, not {seconds:g}: it tells how long the sound is to be.")
    with progress_bar() as progress:
        from ..codec import Codec
        from ..continuation import inventions
        from ..sampling import Sampling
        from ..weights import locate

        sampling = Sampling(top_k, temperature, nucleus, seed)
        bundle = locate(weights)
        if video is None:
            seen, length = _loaded(features), 10.0
        else:
            seen, length = _seen(video, bundle, video_weights, device)
        seconds = length if seconds is None else seconds
        codec = Codec(bundle, device, vocoder, precision)
        condition = _condition(codec, seen, label)
        started = time.perf_counter()
        results = inventions(codec, seconds, variants, sampling, condition, _shown(progress))
        elapsed = time.perf_counter() - started
        for path, result in zip(targets, results, strict=True):
            _write(codec, result, path, force)
        if muxed:  # after all sounds: a damaged clip costs none
            from ..muxing import replace_sound

            for path, result in zip(muxed, results, strict=True):
                replace_sound(str(video), path, codec.decode(result), codec.sample_rate, force)
    length = results[0].duration
    if as_json:
        print_json({"outputs": targets, "videos": muxed, "seconds": length, "seed": seed, "sampling_seconds": elapsed})
    else:
        say(f"{', '.join(targets + muxed)}: {length:.2f} s, sampled in {elapsed:.2f} s")


def _loaded(features: list[Path] | None) -> "Features | None":
    from ..conditions import load_features

    return load_features(*features) if features else None


def _seen(video: Path, bundle: "Bundle", video_weights: str | None, device: str) -> "tuple[Features, float]":
    """The features of a video that a bundle's sampler takes, and how long it lasts, in seconds, ten at most."""
    from ..devices import pick_device
    from ..features import features_of_sampler, make_extractor, seen_in_video

    extract = make_extractor(features_of_sampler(bundle), video_weights, bundle, pick_device(device))
    return seen_in_video(video, extract, (bundle.sampler or {})["feature_frames"])


def _condition(codec: "Codec", features: "Features | None", label: str | None) -> "Condition":
    from ..conditions import condition_for

    return condition_for(codec.sampler.config, codec.bundle.labels, features, label, codec.device)


def _shown(progress: "Progress") -> "Callable[[int, int], None]":
    """Shows how many columns there are."""
    task = progress.add_task("sampling", total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def _targets(target: str, prime: str | None, count: int, force: bool, as_json: bool) -> list[str]:
    """The files to write, all of which can be written."""
    from ..files import check_output

    if target == "-" and (as_json or count > 1):
        raise UsageError("The standard output takes one result and nothing else: name a file.")
    path = Path(target)
    targets = _numbered(target, count)
    for one in map(Path, targets):
        check_output(one, force)
        if prime is not None and one.exists() and Path(prime).exists() and one.samefile(prime):
            raise UsageError(f"{one} would be written over what is read: name another file.")
    if path.suffix.lower() != ".svq":
        from ..sound_writer import check_suffix

        check_suffix(target)
    return targets


def _muxed(mux: Path | None, video: Path | None, count: int, force: bool) -> list[str]:
    """The videos to write, all of which can be written."""
    if mux is None:
        return []
    if video is None:
        raise UsageError("--mux writes the video of --video with its new sound: give --video, too.")
    from ..files import check_output
    from ..muxing import check_pictures

    targets = _numbered(str(mux), count)
    for one in map(Path, targets):
        check_output(one, force)
        if one.exists() and video.exists() and one.samefile(video):
            raise UsageError(f"{one} would be written over what is read: name another file.")
    check_pictures(video, targets[0])
    return targets


def _numbered(target: str, count: int) -> list[str]:
    path = Path(target)
    return [target] if count == 1 else [str(path.with_stem(f"{path.stem}-{i + 1}")) for i in range(count)]


def _opened(prime: str, weights: str | None, stack: ExitStack) -> "tuple[Bundle, Codes | SoundStream]":
    """The sound to continue, and the weights to do it with; what is neither is told before networks are loaded."""
    from ..bitstream import MAGIC
    from ..weights import locate

    piped = cast("BufferedReader", sys.stdin.buffer).peek(len(MAGIC)) if prime == "-" else b""
    if Path(prime).suffix.lower() != ".svq" and not piped.startswith(MAGIC):
        from ..audio import open_sound

        return locate(weights), stack.enter_context(open_sound(prime))
    from ..codes import Codes, bundle_of
    from ..files import read_file

    data = read_file(prime)
    bundle = locate(weights) if weights is not None else bundle_of(data)
    return bundle, Codes.from_bytes(data, bundle)


def _write(codec: "Codec", codes: "Codes", path: str, force: bool) -> None:
    """Write a sound or .svq file."""
    if Path(path).suffix.lower() == ".svq":
        codes.save(path, force=force)
        return
    from ..audio import SoundWriter
    from ..codec import output_length
    from ..sound_writer import fitting_rate

    rate = fitting_rate(path, codec.sample_rate)
    with SoundWriter(path, rate, output_length(codes, rate), force) as writer:
        for block in codec.decode_stream(codes, rate):
            writer.write(block)
