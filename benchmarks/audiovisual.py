"""What seeing gives: samplers that see 212, 5, 1 or no frames of a video, on a set in which one sees what sounds.

    python benchmarks/audiovisual.py SET PACK RUNS [--samples 3] [--top-k 64] [--limit CLIPS] [--picture FILE]

docs/audiovisual.md has the commands that make the set, its pack and the runs. For every clip of the test split each
sampler makes some sounds. Measured are

    bits        that the sampler needs for an index of the true sound; 10 if it knew nothing of the codebook's 1024
    FID         Fréchet distance, over activations before the classifier's logits, to the original sounds
    MKL         mean divergence of the classifier's verdict on the original from that on the sound, in nats
    kind        share of sounds that the classifier takes for the kind of the clip
    onsets      F1, precision and recall of the onsets of the sound against the times of the events that one sees,
                within a tolerance; and F1 by chance, against the events of all other clips

All these are of spectrograms before any vocoder. "vocoded" is F1 of the sound as it is written, for the first sample of
a part of the clips. After ± stands, for FID, the standard deviation over the seeds of samples; for the others, the
standard error over clips. Ceilings are the original sound and what the codec makes of it; chance is the sound of
another clip.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from common import print_table
from torch import Tensor

from specvq_codec.bitstream import SpecVQError
from specvq_codec.classifiers import Classifier, load_classifier
from specvq_codec.codec import Codec
from specvq_codec.codes import Codes
from specvq_codec.conditions import clip_places, frame_indices
from specvq_codec.evaluation.distributions import divergences, frechet_distance
from specvq_codec.evaluation.metrics import mean_and_error
from specvq_codec.evaluation.onsets import Alignment, Times, add_up, align, align_by_chance, onsets
from specvq_codec.evaluation.pictures import save_spectrograms
from specvq_codec.evaluation.reconstruction import spectrogram_of
from specvq_codec.evaluation.relevance import Verdict, verdict
from specvq_codec.models.autoencoder import to_grid
from specvq_codec.models.transformer import ROWS, Condition, Transformer
from specvq_codec.sampling import Sampling, generate
from specvq_codec.training.sampler import read_about
from specvq_codec.training.start import load_start
from specvq_codec.training.tokens import TokenPack
from specvq_codec.video import read_frames
from specvq_codec.weights import locate
from specvq_codec.windows import COLUMN_SAMPLES

RUNS = {"212": "212 frames", "5": "5 frames", "1": "1 frame", "none": "nothing"}  # folder of the run: what it sees
FRAMES = 848  # of a spectrogram, ten seconds without what fills no column
BATCH = 32
RESAMPLED = 1000  # times that clips are drawn again for a standard error
SHOWN = 20  # frames in a picture
CHANGE = 0.1  # of a grey value, which is the set's background unless something is seen


@dataclass(frozen=True)
class Clips:
    """The test split: N clips.

    Attributes:
        tokens: of the true sounds, int64 (N, 265).
        mels: of the true sounds, (N, 80, 848) in [0, 1].
        features: of all their frames, (N, 215, 512).
        classes: places of their kinds among the classifier's, (N,).
        times: of the events of each.
        paths: of the sounds.
    """

    tokens: Tensor
    mels: Tensor
    features: Tensor
    classes: Tensor
    times: list[Times]
    paths: list[str]

    def seen(self, frames: int) -> Tensor:
        """The features that a sampler with so many frames is given, (N, frames, 512)."""
        return self.features[:, torch.from_numpy(clip_places(frames))]


@dataclass(frozen=True)
class Sounds:
    """Spectrograms (samples, N, 80, 848) in [0, 1] for every clip, and onsets of some waveforms of the first sample."""

    mels: Tensor
    vocoded: list[Times]

    @classmethod
    def of(cls, mels: Tensor) -> Sounds:
        """Originals (N, 80, 848), with no vocoder between them and what one hears."""
        return cls(mels[None], [])


def read_clips(folder: Path, tokens: TokenPack, labels: Sequence[str], limit: int | None) -> Clips:
    """The clips of a split, whose events are listed in the set's manifest."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    chosen = tokens.pack.clips[:limit]
    return Clips(
        torch.stack([item[: ROWS * FRAMES // 16].long() for item in tokens.items[:limit]]),
        torch.stack([tokens.pack.mel(clip)[:, :FRAMES].float() for clip in chosen]),
        torch.stack([tokens.pack.features(clip) for clip in chosen]),
        torch.tensor([labels.index(clip.label) for clip in chosen]),
        [np.array([float(time) for time in rows[clip.path]["times"].split()]) for clip in chosen],
        [clip.path for clip in chosen],
    )


def parts(count: int) -> Iterator[slice]:
    """Batches."""
    return (slice(first, first + BATCH) for first in range(0, count, BATCH))


class Maker:
    """The codec, which makes spectrograms and sound of indices (N, 265)."""

    def __init__(self, codec: Codec, vocoded: int) -> None:
        self._codec, self._vocoded = codec, vocoded

    @torch.inference_mode()
    def sounds(self, samples: Sequence[Tensor]) -> Sounds:
        """Sounds of several samples, of which the first clips of the first one are vocoded."""
        waveforms = map(self._waveform, samples[0][: self._vocoded])
        return Sounds(
            torch.stack([self._spectrograms(indices) for indices in samples]),
            [onsets(spectrogram_of(waveform)) for waveform in waveforms],
        )

    def _spectrograms(self, indices: Tensor) -> Tensor:
        grids = [self._codec.autoencoder.decode(to_grid(indices[part]))[:, 0] for part in parts(len(indices))]
        return ((torch.cat(grids) + 1) / 2).clamp(0, 1)

    def _waveform(self, indices: Tensor) -> Tensor:
        """As `specvq generate` writes it."""
        codec, grid = self._codec, indices.view(-1, ROWS).short().numpy()
        length = len(grid) * COLUMN_SAMPLES
        codes = Codes(grid, codec.sample_rate, length, codec.bundle.fingerprint, codec.model)
        return torch.from_numpy(codec.decode(codes))


def load_sampler(run: Path) -> Transformer:
    """The network of a run."""
    network = Transformer(read_about(run).model)
    load_start(network, run, "sampler", "network.")
    return network.eval().requires_grad_(False)


def condition_of(network: Transformer, clips: Clips, part: slice) -> Condition:
    """What a sampler is given of some clips."""
    frames = network.config.feature_frames
    return Condition(clips.seen(frames)[part]) if frames else Condition()


@torch.inference_mode()
def bits(network: Transformer, clips: Clips) -> Tensor:
    """For each clip, the mean bits that the network needs for an index."""
    surprises = [network.surprise(clips.tokens[p], condition_of(network, clips, p)) for p in parts(len(clips.tokens))]
    return torch.cat(surprises).mean(1) / math.log(2)


def sampled(network: Transformer, clips: Clips, count: int, top_k: int) -> list[Tensor]:
    """Indices of new sounds: (N, 265) for each of `count` samples."""
    samples = []
    for sample in range(count):
        made = []
        for number, part in enumerate(parts(len(clips.tokens))):
            condition = condition_of(network, clips, part)
            prime = clips.tokens[part, :0]
            sampling = Sampling(top_k, seed=sample * 1000 + number)
            made.append(generate(network, prime, clips.tokens.shape[1], sampling, condition))
        samples.append(torch.cat(made))
    return samples


class Judge:
    """The classifier, and the originals that it compares with."""

    def __init__(self, classifier: Classifier, clips: Clips, tolerance: float) -> None:
        self._classifier, self._clips, self._tolerance = classifier, clips, tolerance
        self._real = self._verdict(clips.mels)

    def cells(self, sounds: Sounds) -> list[str]:
        """FID, MKL, share of kinds, F1, precision and recall of onsets, F1 by chance, and F1 of what was vocoded."""
        verdicts = [self._verdict(mels) for mels in sounds.mels]
        distances = [frechet_distance(self._real.hidden, one.hidden) for one in verdicts]
        mkl = torch.stack([divergences(self._real.probabilities, one.probabilities) for one in verdicts]).mean(0)
        hits = torch.stack([one.probabilities.argmax(1) == self._clips.classes for one in verdicts]).double().mean(0)
        return [
            with_error(float(np.mean(distances)), float(np.std(distances, ddof=1)) if len(distances) > 1 else None),
            with_error(*mean_and_error(mkl)),
            with_error(*mean_and_error(100 * hits), digits=0) + " %",
            *self._of_onsets(sounds),
        ]

    def _of_onsets(self, sounds: Sounds) -> list[str]:
        true = self._clips.times
        found = [[onsets(mel) for mel in mels] for mels in sounds.mels]
        scores = [Score.of(times, true, self._tolerance) for times in found]
        score = Score.together(scores)
        chance = np.mean([align_by_chance(times, true, self._tolerance).f1 for times in found])
        vocoded = Score.of(sounds.vocoded, true[: len(sounds.vocoded)], self._tolerance)
        total = score.total
        return [
            with_error(total.f1, score.error_of_f1()),
            *(f"{value:.2f}" for value in (total.precision, total.recall, chance)),
            with_error(vocoded.total.f1, vocoded.error_of_f1()) if sounds.vocoded else "",
        ]

    def _verdict(self, mels: Tensor) -> Verdict:
        found = [verdict(self._classifier, mels[part]) for part in parts(len(mels))]
        return Verdict.together(found)


@dataclass(frozen=True)
class Score:
    """How the onsets of every clip agree with its events."""

    clips: Sequence[Alignment]

    @classmethod
    def of(cls, found: Sequence[Times], true: Sequence[Times], tolerance: float) -> Score:
        """Of one sample of each clip."""
        return cls([align(*pair, tolerance) for pair in zip(found, true, strict=True)])

    @classmethod
    def together(cls, scores: Sequence[Score]) -> Score:
        """Of several samples of the same clips."""
        return cls([add_up(samples) for samples in zip(*(score.clips for score in scores), strict=True)])

    @property
    def total(self) -> Alignment:
        """All clips counted together."""
        return add_up(self.clips)

    def error_of_f1(self) -> float:
        """Standard error of the total's F1, by drawing the clips again."""
        counts = np.array(self.clips)  # (N, 3)
        drawn = np.random.default_rng(0).integers(0, len(counts), (RESAMPLED, len(counts)))
        return float(np.std([Alignment(*total).f1 for total in counts[drawn].sum(1).tolist()]))


def with_error(value: float, error: float | None, digits: int = 2) -> str:
    """A number and how uncertain it is."""
    value = abs(value) if abs(value) < 0.5 * 10.0**-digits else value  # no minus before a zero
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def visible(clips: Clips, frames: int) -> float:
    """In which share of the clips something is visible in at least one of the frames that a sampler is given."""
    greys = clips.seen(frames)[:, :, : clips.features.shape[2] // 2]
    return float((greys.abs().amax((1, 2)) > CHANGE).double().mean())


def film_of(sound: Path) -> list[npt.NDArray[np.uint8]]:
    """Frames of the video beside a sound, evenly spread over it."""
    frames = list(read_frames(sound.with_suffix(".mp4")))
    return [frames[place] for place in frame_indices(len(frames), SHOWN)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="folder from examples/make_audiovisual.py")
    parser.add_argument("pack", type=Path, help="the set, packed with features and tokenised")
    parser.add_argument("runs", type=Path, help="folder of the runs: classifier, 212, 5, 1 and none")
    parser.add_argument("--weights", help="bundle whose tokens they are; the default one if not given")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), help="samplers to measure")
    parser.add_argument("--samples", type=int, default=3, help="sounds made for each clip")
    parser.add_argument("--top-k", type=int, default=64)
    parser.add_argument("--tolerance", type=float, default=0.1, help="of onsets, seconds")
    parser.add_argument("--vocoded", type=int, default=40, help="clips whose sound is vocoded")
    parser.add_argument("--limit", type=int, help="measure only this many clips")
    parser.add_argument("--picture", type=Path, help="PNG file to draw one clip and the first sound of each kind in")
    parser.add_argument("--drawn", type=int, default=0, help="number of the clip in the picture")
    args = parser.parse_args()
    bundle = locate(args.weights)
    classifier = load_classifier(args.runs / "classifier" / "classifier.safetensors")
    clips = read_clips(args.set, TokenPack(args.pack, "test", bundle, FRAMES // 16), classifier.labels, args.limit)
    maker, judge = Maker(Codec(bundle), args.vocoded), Judge(classifier, clips, args.tolerance)
    print(f"{bundle.name}, {len(clips.times)} clips, {args.samples} samples of each, top-X {args.top_k}")
    table = [["original sound", "", "", *judge.cells(Sounds.of(clips.mels))]]
    table.append(["encoded and decoded", "", "", *judge.cells(maker.sounds([clips.tokens]))])
    panels = [("original", clips.mels[args.drawn])]
    for folder in args.only:
        name = RUNS[folder]
        network = load_sampler(args.runs / folder)
        frames = network.config.feature_frames
        made = maker.sounds(sampled(network, clips, args.samples, args.top_k))
        share = f"{visible(clips, frames):.0%}" if frames else "0%"
        panels.append((f"for {name}", made.mels[0, args.drawn]))
        table.append([name, share, with_error(*mean_and_error(bits(network, clips))), *judge.cells(made)])
    # the next clip is one of another kind, since kinds take turns
    table.append(["sound of another clip", "", "", *judge.cells(Sounds.of(clips.mels.roll(1, 0)))])
    onset = [f"onset F1, {args.tolerance:g} s", "precision", "recall", "by chance", "vocoded"]
    print_table(["seen", "event in it", "bits", "FID", "MKL", "kind", *onset], table)
    if args.picture is not None:
        save_spectrograms(args.picture, panels, film_of(args.set / clips.paths[args.drawn]))


if __name__ == "__main__":
    try:
        main()
    except SpecVQError as error:
        sys.exit(str(error))
