"""weights: list, show, verify, import, build, add-sampler, add-prior, import-classifier."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..bitstream.errors import UsageError
from .report import print_json, say

if TYPE_CHECKING:
    from ..weights import Bundle

app = typer.Typer(help="Weight bundles: what is there, whether it is whole, and new ones.", no_args_is_help=True)
Name = Annotated[str | None, typer.Argument(metavar="[BUNDLE]", help="A folder or a name; the default if not given.")]


@app.command("list")
def list_bundles() -> None:
    """List the bundles that are installed (in the package, and below the folders in SPECVQ_WEIGHTS).

    First come the marks by which files name them, that of files in learned coding behind that of all others.
    """
    from ..weights import find_bundles

    for bundle in find_bundles():
        learned = _learned_mark(bundle) if bundle.prior is not None else ""
        print(f"{bundle.fingerprint.hex()[:8]}  {learned:<8}  {bundle.name:<20} {bundle.path}")


@app.command()
def show(bundle: Name = None) -> None:
    """Print what a bundle is, as JSON."""
    from ..weights import locate

    found = locate(bundle)
    sizes = {path.name: path.stat().st_size for path in sorted(found.path.iterdir()) if path.is_file()}
    print_json(
        {
            "name": found.name,
            "path": str(found.path),
            "fingerprint": found.fingerprint.hex(),
            "note": found.note,
            "default_vocoder": found.default_vocoder,
            "autoencoder": found.autoencoder,
            "melgan": found.melgan,
            "sampler": found.sampler,
            "labels": found.labels,
            "features": found.features,
            "prior": found.prior.hex() if found.prior else None,
            "bytes": sizes,
        }
    )


@app.command()
def verify(bundle: Name = None) -> None:
    """Read a bundle whole, and compare it with its fingerprint and its networks."""
    from ..codec import Codec
    from ..weights import locate

    found = locate(bundle)
    codec = Codec(found, device="cpu", sampler_precision="float32")
    print(f"{found.name}: intact, {found.fingerprint.hex()}")
    if found.sampler is not None:
        print(f"sampler: intact, {sum(weight.numel() for weight in codec.sampler.parameters())} weights")
    if found.prior is not None:
        print(f"prior: intact, {found.prior.hex()}; files in learned coding name {_learned_mark(found)}")


@app.command("import")
def import_bundle(
    out: Annotated[Path, typer.Argument(help="Folder of the new bundle.")],
    codebook: Annotated[
        Path | None, typer.Option(help="The reference's codebook checkpoint (.ckpt); the sampler's if not given.")
    ] = None,
    vocoder: Annotated[Path | None, typer.Option(help="The reference's MelGAN checkpoint (best_netG.pt).")] = None,
    sampler: Annotated[Path | None, typer.Option(help="The reference's transformer checkpoint (last.ckpt).")] = None,
    heads: Annotated[
        int | None, typer.Option("--sampler-heads", min=1, help="Attention heads; 64 wide, as published, if not given.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the bundle; the folder's name if not given.")] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Half precision: half the size, and a few indices change.")
    ] = False,
    sampler_precision: Annotated[
        str | None, typer.Option(help="Of the sampler on disk: float32, float16 or int8; as --half says if not given.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Text file with the names of the sampler's classes, one a line, in their order.")
    ] = None,
    video_weights: Annotated[
        str | None, typer.Option(help="ResNet-50 for features of video: a file, or an address with #sha256=.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", "-f", help="Replace a bundle that is there, with its sampler, prior and features."),
    ] = False,
) -> None:
    """Make a bundle from checkpoints of the reference implementation; nothing in them is executed."""
    from ..reference import import_reference
    from ..weights import add_features, check_name, load_bundle
    from ..weights.stored import checked_precision

    _check_empty(out, force)
    check_name(name or out.resolve().name)
    resnet = None
    if video_weights is not None:
        from ..features import load_resnet50

        resnet = load_resnet50(video_weights)
    if labels is not None and sampler is None:
        raise UsageError("--labels names the classes of a sampler: give --sampler, too.")
    other = checked_precision(sampler_precision) if sampler_precision is not None else None
    import_reference(codebook, vocoder, out, name, "float16" if half else "float32", sampler, heads, other, labels)
    if resnet is not None:
        add_features(load_bundle(out), {key: tensor.numpy() for key, tensor in resnet.state_dict().items()})
    say(f"{out}: {load_bundle(out).fingerprint.hex()}")


@app.command()
def build(
    out: Annotated[Path, typer.Argument(help="Folder of the new bundle.")],
    data: Annotated[Path, typer.Option(help="Packed sound, whose train split the coding tables are counted on.")],
    codebook: Annotated[tuple[str, Path], typer.Option(help="Configuration and run of a codebook training.")],
    vocoder: Annotated[tuple[str, Path], typer.Option(help="Configuration and run of a vocoder training.")],
    name: Annotated[str | None, typer.Option(help="What to call the bundle; the folder's name if not given.")] = None,
    note: Annotated[str, typer.Option(help="Where the weights come from, in a sentence.")] = "",
    default_vocoder: Annotated[str, typer.Option(help="Which sounds better: melgan or griffin-lim.")] = "melgan",
    force: Annotated[
        bool,
        typer.Option("--force", "-f", help="Replace a bundle that is there, with its sampler, prior and features."),
    ] = False,
) -> None:
    """Make a bundle from training runs."""
    from ..training.codebook import CodebookConfig
    from ..training.config import load_config
    from ..training.data import Pack
    from ..training.export import export_bundle
    from ..training.vocoder import VocoderConfig
    from ..weights import check_name
    from .report import with_progress

    if default_vocoder not in ("melgan", "griffin-lim"):
        raise UsageError(f"--default-vocoder is melgan or griffin-lim, not {default_vocoder!r}.")
    _check_empty(out, force)
    check_name(name or out.resolve().name)
    codebook_run = load_config(CodebookConfig, codebook[0]), codebook[1]
    vocoder_run = load_config(VocoderConfig, vocoder[0]), vocoder[1]
    recordings = len(Pack(data, "train").clips)
    bundle = export_bundle(
        out,
        name or out.resolve().name,
        codebook_run,
        vocoder_run,
        data,
        note,
        default_vocoder,
        lambda items: with_progress(items, recordings, "counting indices"),
    )
    say(f"{out}: {bundle.fingerprint.hex()}")


@app.command("add-sampler")
def add_sampler_of_run(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle whose indices the sampler was trained on.")],
    run: Annotated[Path, typer.Argument(help="Folder of its training run.")],
    precision: Annotated[str, typer.Option(help="On disk: float32, float16 or int8.")] = "float16",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a sampler that is there.")] = False,
) -> None:
    """Put a trained sampler into a bundle, whose fingerprint stays."""
    from ..training.export import export_sampler
    from ..weights import load_bundle
    from ..weights.stored import checked_precision

    stored = checked_precision(precision)
    found = load_bundle(bundle)
    if found.sampler is not None and not force:
        raise UsageError(f"{bundle} has a sampler already: use -f to replace it.")
    export_sampler(found, run, stored)
    say(f"{bundle}: {(bundle / 'sampler.safetensors').stat().st_size} bytes of sampler")


@app.command("add-prior")
def add_prior_of_run(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle whose indices the prior was trained on.")],
    run: Annotated[Path, typer.Argument(help="Folder of its training run.")],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace a prior; files in learned coding need the old one.")
    ] = False,
) -> None:
    """Put a trained prior for learned coding into a bundle, whose fingerprint stays."""
    from ..training.export import export_prior
    from ..weights import load_bundle

    found = load_bundle(bundle)
    if found.prior is not None and not force:
        raise UsageError(f"{bundle} has a prior already: use -f to replace it, and keep the old one for its files.")
    mark = _learned_mark(export_prior(found, run))
    size = (bundle / "prior.safetensors").stat().st_size
    say(f"{bundle}: {size} bytes of prior; files in learned coding name {mark}")


@app.command("import-classifier")
def import_classifier_file(
    checkpoint: Annotated[Path, typer.Argument(help="VGGish-ish (vggishish16.pt) or Melception (melception-*.pt).")],
    statistics: Annotated[Path, typer.Argument(help="Means and deviations of mel bands, the text file beside it.")],
    out: Annotated[Path, typer.Argument(help="File of the new classifier (.safetensors).")],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there.")] = False,
) -> None:
    """Make a classifier from a checkpoint of the reference: VGGish-ish, for the perceptual loss, or Melception.

    Melception judges with --classifier in specvq evaluate. Nothing in the file is executed.
    """
    from ..files import check_output
    from ..reference import import_classifier

    check_output(out, force)
    import_classifier(checkpoint, statistics, out)
    say(f"{out}: whole")


def _learned_mark(bundle: "Bundle") -> str:
    """What files in learned coding carry to name a bundle that has a prior."""
    from ..bitstream import learned_mark

    return learned_mark(bundle.fingerprint, bundle.prior or b"").hex()


def _check_empty(out: Path, force: bool) -> None:
    if not force and (out / "config.json").exists():
        raise UsageError(f"{out} holds a bundle already: use -f to replace it, or name another folder.")
