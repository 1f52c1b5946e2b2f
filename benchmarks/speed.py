"""How long encoding and decoding take, stage by stage, beside real time, the targets, and the reference's own code.

    python benchmarks/speed.py [--weights BUNDLE] [--threads 2] [--seconds 9.84 60] [--repeats 5]

The times are those of the real pipeline from a 44.1 kHz stereo WAV file to an .svq file and back to a WAV file; loading
the networks is not in them. The stages are timed from inside, each without those that it waits for.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from common import print_table, processor, reference_bundle, write_stereo
from plain import largest_difference, plain

import specvq_codec.codec as pipeline
from specvq_codec import spectrogram as spec
from specvq_codec.audio import SoundWriter, open_sound
from specvq_codec.codec import Codec
from specvq_codec.codes import Codes
from specvq_codec.models.autoencoder import COLUMN_FRAMES
from specvq_codec.weights import locate
from specvq_codec.windows import WINDOW

TARGETS = {"encode": 40.0, "decode": 20.0}  # times faster than real time, for the default bundle on two cores
# Seconds that the reference's own code took for 9.85 s of sound on two AVX-512 cores of another machine.
REFERENCE_SECONDS = {"encoder and quantiser": 0.71, "decoder": 1.21, "vocoder": 0.87}
ENCODE_STAGES = ("read and resample", "mel", "encoder", "quantiser", "entropy coding", "other")
DECODE_STAGES = ("entropy decoding", "decoder", "vocoder", "resample", "write", "other")


class Stopwatch:
    """Seconds spent in each stage; a stage within another stops the outer one's clock."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block."""
        self._credit()
        self._stack.append(name)
        try:
            yield
        finally:
            self._credit()
            self._stack.pop()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return call

    def timed_stream(self, name: str, function: Callable[..., Iterable[Any]]) -> Callable[..., Iterator[Any]]:
        """A function that returns an iterator, whose steps are timed."""

        def call(*args: Any, **kwargs: Any) -> Iterator[Any]:
            iterator = iter(function(*args, **kwargs))
            while True:
                with self.stage(name):
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                yield item

        return call

    def _credit(self) -> None:
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now


@contextmanager
def watched(codec: Codec) -> Iterator[Stopwatch]:
    """A stopwatch inside the codec's stages."""
    watch = Stopwatch()
    with ExitStack() as stack:

        def replace(owner: Any, name: str, stage: str, wrap: Callable[..., Any] = watch.timed) -> None:
            stack.enter_context(patch.object(owner, name, wrap(stage, getattr(owner, name))))

        replace(pipeline, "blocks_of", "read and resample", watch.timed_stream)
        replace(pipeline, "mel_chunks", "mel", watch.timed_stream)
        replace(pipeline, "resampled", "resample", watch.timed_stream)
        replace(codec.autoencoder, "latents", "encoder")
        replace(codec.autoencoder.quantize, "nearest", "quantiser")
        replace(codec.autoencoder, "decode", "decoder")
        if codec.vocoder is None:
            replace(pipeline, "_griffin_lim", "vocoder")
        else:
            replace(codec.vocoder, "forward", "vocoder")
        yield watch


def encode(codec: Codec, source: Path, target: Path, watch: Stopwatch) -> None:
    """As `specvq encode` does it."""
    with watch.stage("other"):
        with open_sound(source) as stream:
            indices = np.concatenate(list(codec.encode_stream(stream)))
            codes = Codes(indices, stream.sample_rate, stream.num_samples, codec.bundle.fingerprint, codec.model)
        with watch.stage("entropy coding"):
            data = codes.to_bytes()
        target.write_bytes(data)
    watch.seconds["read and resample"] += watch.seconds.pop("resample", 0.0)  # its iterator is within that stage


def decode(codec: Codec, source: Path, target: Path, watch: Stopwatch) -> None:
    """As `specvq decode` does it."""
    with watch.stage("other"):
        data = source.read_bytes()
        with watch.stage("entropy decoding"):
            codes = Codes.from_bytes(data, codec.bundle)
        length = pipeline.output_length(codes, codec.sample_rate)
        with SoundWriter(target, codec.sample_rate, length, force=True) as writer:
            write = watch.timed("write", writer.write)
            for block in codec.decode_stream(codes):
                write(block)


Times = dict[str, list[float]]  # seconds of every run, by stage


def measure(codec: Codec, seconds: float, repeats: int, folder: Path) -> tuple[Times, Times]:
    """Times of encoding and of decoding; the first run of each does not count."""
    sound, svq, decoded = (folder / name for name in ("sound.wav", "sound.svq", "decoded.wav"))
    write_stereo(sound, seconds)
    times: list[Times] = []
    for work, source, target in ((encode, sound, svq), (decode, svq, decoded)):
        runs: Times = defaultdict(list)
        for number in range(repeats + 1):
            with watched(codec) as watch:
                work(codec, source, target, watch)
            if number:
                for stage, value in watch.seconds.items():
                    runs[stage].append(value)
                runs["total"].append(sum(watch.seconds.values()))
        times.append(runs)
    return times[0], times[1]


def report(name: str, results: dict[float, tuple[Times, Times]], targets: dict[str, float]) -> None:
    """Tables for one set of networks: totals, then stages."""
    totals, lengths = [], list(results)
    for seconds, both in results.items():
        for what, times in zip(("encode", "decode"), both, strict=True):
            total = statistics.median(times["total"])
            target = f"{targets[what]:g}" if what in targets else "1"
            totals.append(
                [f"{what} {seconds:g} s", f"{total:.3f}", f"{total / seconds:.4f}", f"{seconds / total:.1f}", target]
            )
    print(name)
    print_table(["median", "seconds", "s per s of sound", "times real time", "target"], totals)
    stages = []
    for which, (what, names) in enumerate((("encode", ENCODE_STAGES), ("decode", DECODE_STAGES))):
        for stage in names:
            cells = []
            for seconds in lengths:
                times = results[seconds][which]
                median = statistics.median(times.get(stage, [0.0]))
                share = median / statistics.median(times["total"])
                cells += [f"{1000 * median / seconds:.2f}", f"{share:.1%}"]
            stages.append([f"{what}: {stage}", *cells])
    headings = [heading for seconds in lengths for heading in (f"ms per s ({seconds:g} s)", "share")]
    print_table(["stage", *headings], stages)


def compare_networks(codec: Codec, repeats: int) -> None:
    """The networks alone on one window, beside themselves run plainly, in turns, so that both meet the same moments."""
    mel = torch.rand(1, 1, spec.N_MELS, WINDOW * COLUMN_FRAMES)
    grid = torch.randint(codec.model.codebook_size, (1, 5, WINDOW))
    runs: dict[tuple[str, bool], list[float]] = defaultdict(list)
    with torch.inference_mode():
        for number in range(repeats + 1):  # the first one does not count
            for plainly in (False, True):
                with plain(codec) if plainly else nullcontext(codec) as networks:
                    assert networks.vocoder is not None
                    for name, work, given in (
                        ("encoder and quantiser", networks.autoencoder.encode, mel),
                        ("decoder", networks.autoencoder.decode, grid),
                        ("vocoder", networks.vocoder, mel[0]),
                    ):
                        started = time.perf_counter()
                        work(given)
                        if number:
                            runs[name, plainly].append(time.perf_counter() - started)
    rows = []
    for name, limit in REFERENCE_SECONDS.items():
        ours, peer = runs[name, False], runs[name, True]
        numbers = [min(ours), statistics.median(ours), min(peer), statistics.median(peer)]
        faster = [numbers[2] / numbers[0], numbers[3] / numbers[1]]
        rows.append([name, *(f"{n:.3f}" for n in numbers), *(f"{n:.2f}" for n in faster), f"{limit:.2f}"])
    apart = largest_difference(codec)
    print(f"the networks alone, seconds for one window; spectrograms of both ways differ by at most {apart:.1e}")
    headings = ["networks", "best", "median", "plain, best", "plain, median", "times faster, best", "median"]
    print_table([*headings, "reference's own code elsewhere"], rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="bundle; the default one if not given")
    parser.add_argument("--vocoder", default="auto", help="of the bundle: auto, melgan or griffin-lim")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[9.84, 60.0], help="lengths of sound; 9.84 is one window"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=["bundle", "reference"], help="leave the other networks out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{processor()}, {options.threads} threads, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only != "reference":
            codec = Codec(locate(options.weights), "cpu", options.vocoder)
            lengths = {seconds: measure(codec, seconds, options.repeats, folder) for seconds in options.seconds}
            report(f"{codec.bundle.name} ({codec.bundle.fingerprint.hex()[:8]})", lengths, TARGETS)
        if options.only != "bundle":
            codec = Codec(reference_bundle(folder / "reference"), "cpu", "melgan")
            lengths = {seconds: measure(codec, seconds, options.repeats, folder) for seconds in options.seconds}
            report(codec.bundle.name, lengths, {})
            compare_networks(codec, options.repeats)


if __name__ == "__main__":
    main()
