"""evaluate pictures and spectrogram."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..bitstream.errors import UsageError
from .codec import Device, Force, Weights
from .evaluate import Bundles, PackFolder, Split, located
from .report import say, with_progress

if TYPE_CHECKING:
    from torch import Tensor

PICTURE_FRAMES = 689  # of a spectrogram: 8 s


def register(main: typer.Typer, evaluate: typer.Typer) -> None:
    """Add the commands."""
    evaluate.command()(pictures)
    main.command()(spectrogram)


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
    codecs = [Codec(bundle, device, "griffin-lim") for bundle in located(weights)]  # spectrograms need no vocoder
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
    second: Annotated[str | None, typer.Argument(metavar="[IN2]", help="Another, to be drawn beside it.")] = None,
    weights: Weights = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Draw the log-mel spectrogram of a sound or an .svq file, or of two side by side."""
    from ..files import check_output, output_file

    if target != "-" and Path(target).suffix.lower() != ".png":
        raise UsageError(f"{target} does not end in .png, the only kind of picture there is: rename it.")
    check_output(target, force)
    from ..evaluation.pictures import save_spectrograms

    sources = [source] if second is None else [source, second]
    panels = [(name, _spectrogram(name, weights, device)) for name in sources]
    with output_file(target, force) as temporary:
        save_spectrograms(temporary, panels, beside=True)


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
