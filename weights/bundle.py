"""One weight bundle: what it holds, and its fingerprint. numpy is imported by what reads or writes tensors."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from unicodedata import bidirectional, category

from ..bitstream import CODEC_RATE, COLUMN_SAMPLES, ROWS, UsageError, WeightsError
from .replacing import CONFIG, replace_files

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..bitstream import CodingModel

Tensors: TypeAlias = "dict[str, npt.NDArray[Any]]"

PARTS = ("codebook", "vocoder", "entropy")
ADDED = ("sampler", "prior", "features")  # to a bundle that is there
BUNDLE_FORMAT = 1
# What a name must not have: controls and separators of lines, halves of characters, and what turns the writing.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
# What turns an index into a spectrogram; the encoder and the vocoder may change without changing what a file means.
_MEANING = ("quantize.", "post_quant_conv.", "decoder.", "linear_out.")


@dataclass(frozen=True)
class Bundle:
    """A weight bundle on disk; tensors are read when they are asked for.

    Attributes:
        name: what its maker called it.
        path: its folder.
        autoencoder: settings of the autoencoder, as in `AutoencoderConfig`.
        melgan: settings of the vocoder, as in `MelGANConfig`, or None if it has none.
        fingerprint: SHA-256 (32 bytes) of everything that changes the meaning of an index or of a probability; its
            first four bytes stand in every file.
        note: where the weights come from, in a sentence.
        default_vocoder: "melgan" or "griffin-lim", whichever its maker found to sound better with these weights.
        sampler: settings of the sampler, as in `TransformerConfig`, or None if it has none.
        labels: of the classes that the sampler knows.
        features: kind of the features of video that the sampler takes, "pixels" or "resnet50", or None if it takes
            none or its maker did not say.
        prior: SHA-256 (32 bytes) of the prior of learned coding, or None if it has none.
    """

    name: str
    path: Path
    autoencoder: dict[str, Any]
    melgan: dict[str, Any] | None
    fingerprint: bytes
    note: str
    default_vocoder: str
    sampler: dict[str, Any] | None = None
    labels: tuple[str, ...] = ()
    features: str | None = None
    prior: bytes | None = None

    def tensors(self, part: str) -> Tensors:
        """The tensors of "codebook", "vocoder", "entropy", "sampler", "prior" or "features" (ResNet-50) by name.

        They are in the precision they are stored in, but for those of a sampler that are int8, which become float32.

        Raises:
            WeightsError: the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        from .stored import restored

        path = self.path / f"{part}.safetensors"
        try:
            tensors = load_file(path)
            return restored(tensors) if part == "sampler" else tensors
        except FileNotFoundError as error:
            raise WeightsError(f"{path} is missing: get the bundle again, or give another with --weights.") from error
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:  # the last three: a strange type
            raise WeightsError(f"{path} is damaged ({error}): get the bundle again.") from error

    def has(self, part: str) -> bool:
        """Whether the bundle has a part."""
        return (self.path / f"{part}.safetensors").is_file()

    def coding_model(self) -> CodingModel:
        """What the bitstream needs to know.

        Raises:
            WeightsError: the tables or the prior are missing, damaged, of the wrong shape, or not what the description
                says.
        """
        return self._coding_model

    @cached_property  # a prior takes longer to get ready than a short file to decode
    def _coding_model(self) -> CodingModel:
        from ..bitstream import CodingModel, Prior

        static = self.tensors("entropy").get("static") if self.has("entropy") else None
        prior = None
        if self.prior is not None:
            prior = Prior(self.tensors("prior"))
            if prior.digest != self.prior:
                raise WeightsError(
                    f"The prior in {self.path} is not what its {CONFIG} says ({prior.digest.hex()[:8]} instead of "
                    f"{self.prior.hex()[:8]}): get the bundle again."
                )
        return CodingModel(int(self.autoencoder["codebook_size"]), static, prior)

    def is_named(self, mark: bytes) -> bool:
        """Whether a file with this mark was made with these weights: by the fingerprint or by the prior."""
        from ..bitstream import learned_mark

        if self.fingerprint.startswith(mark):
            return True
        return self.prior is not None and learned_mark(self.fingerprint, self.prior) == mark

    def verify(self) -> None:
        """Read every tensor but the sampler's, which may be large, and compare what they are with the fingerprint.

        Raises:
            WeightsError: something is missing, damaged, not finite, or not what the fingerprint says.
        """
        import numpy as np

        codebook = self.tensors("codebook")
        tables = self.tensors("entropy") if self.has("entropy") else {}
        found = fingerprint(self.autoencoder, codebook, tables)
        if found != self.fingerprint:
            raise WeightsError(
                f"The weights in {self.path} are not what its {CONFIG} says (fingerprint {found.hex()[:8]} instead of "
                f"{self.fingerprint.hex()[:8]}): get the bundle again."
            )
        self.coding_model()
        for part, settings in (("vocoder", self.melgan), ("sampler", self.sampler), ("prior", self.prior)):
            if (settings is not None) != self.has(part):
                raise WeightsError(f"{self.path} must have {part}.safetensors exactly if {CONFIG} describes one.")
        others = (self.tensors(part) for part in ("vocoder", "features") if self.has(part))
        for tensors in (codebook, *others):
            for key, tensor in tensors.items():
                if not np.isfinite(tensor).all():
                    raise WeightsError(f"{key} in {self.path} is not finite: get the bundle again.")


def fingerprint(autoencoder: dict[str, Any], codebook: Tensors, entropy: Tensors) -> bytes:
    """SHA-256 of what gives indices and probabilities their meaning, as FORMAT.md defines it."""
    import numpy as np

    digest = hashlib.sha256(b"specvq weights 1\n")
    digest.update(struct.pack("<3I", CODEC_RATE, COLUMN_SAMPLES, ROWS))
    settings = json.dumps(autoencoder, sort_keys=True, separators=(",", ":")).encode("ascii")
    digest.update(struct.pack("<I", len(settings)) + settings)
    chosen = {key: tensor for key, tensor in codebook.items() if key.startswith(_MEANING)} | entropy
    for key in sorted(chosen):
        tensor = np.ascontiguousarray(chosen[key])
        data = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()
        digest.update(f"\n{key} {tensor.dtype.name} {','.join(map(str, tensor.shape))}\n".encode())
        digest.update(data)
    return digest.digest()


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle's description (its tensors stay on disk).

    Raises:
        WeightsError: there is no bundle, or its description is damaged or of a newer version.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} is not a weight bundle (it has no {CONFIG}): give the folder of one.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): get the bundle again.") from error
    try:
        if config["format"] != BUNDLE_FORMAT:
            raise WeightsError(f"{folder} has bundle format {config['format']}: install a newer specvq-codec.")
        bundle = Bundle(
            name=config["name"],
            path=folder,
            autoencoder=config["autoencoder"],
            melgan=config["melgan"],
            fingerprint=bytes.fromhex(config["fingerprint"]),
            note=config["note"],
            default_vocoder=config["default_vocoder"],
            sampler=config.get("sampler"),
            labels=tuple(config.get("labels", ())),
            features=config.get("features"),
            prior=bytes.fromhex(config["prior"]) if "prior" in config else None,
        )
        _check_types(bundle)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}): get the bundle again.") from error
    return bundle


def check_name(name: str) -> None:
    """Raise UsageError if a bundle cannot be called so."""
    if _has_controls(name):
        raise UsageError(f"A bundle cannot be called {name!r}: give a name without control characters.")


def _has_controls(name: str) -> bool:
    """Whether a name, which is printed as it is, could forge lines, or change what stands around it."""
    return any(category(letter) in _CONTROLS or bidirectional(letter) in _TURNS for letter in name)


def _check_types(bundle: Bundle) -> None:
    if not (isinstance(bundle.name, str) and isinstance(bundle.note, str) and len(bundle.fingerprint) == 32):
        raise ValueError("name, note or fingerprint")
    if _has_controls(bundle.name):
        raise ValueError("control characters in its name")
    if bundle.prior is not None and len(bundle.prior) != 32:
        raise ValueError("prior")
    if not (isinstance(bundle.autoencoder, dict) and isinstance(bundle.melgan, dict | None)):
        raise ValueError("autoencoder or melgan")
    if not isinstance(bundle.sampler, dict | None) or not all(isinstance(label, str) for label in bundle.labels):
        raise ValueError("sampler or labels")
    if len(bundle.labels) != (bundle.sampler or {}).get("num_classes", 0):
        raise ValueError("labels")
    if not isinstance(bundle.features, str | None):
        raise ValueError("features")
    if type(bundle.autoencoder["codebook_size"]) is not int:
        raise ValueError("codebook_size")
    if bundle.default_vocoder not in ("griffin-lim", "melgan" if bundle.melgan else ""):
        raise ValueError("default_vocoder")


def write_bundle(
    folder: Path,
    name: str,
    autoencoder: dict[str, Any],
    codebook: Tensors,
    melgan: dict[str, Any] | None = None,
    vocoder: Tensors | None = None,
    static: npt.NDArray[np.int32] | None = None,
    note: str = "",
    default_vocoder: str | None = None,
) -> Bundle:
    """Write a bundle without sampler and prior (see `add_sampler`, `add_prior`); tensors keep their precision.

    Args:
        folder: where to; made if it is not there. An older bundle there is replaced once the new one is written, also
            its sampler, prior and features; if that fails, all of it stays as it was.
        name: what to call it, without control characters.
        autoencoder: settings of the autoencoder (`dataclasses.asdict` of its configuration).
        codebook: the autoencoder's tensors by state-dict key.
        melgan: settings of the vocoder, if there is one.
        vocoder: its tensors.
        static: tables for static coding, as `frequency_tables` gives them.
        note: where the weights come from, in a sentence.
        default_vocoder: "melgan" or "griffin-lim"; if not given, MelGAN where there is one.

    Raises:
        UsageError: the folder cannot be written to, or there are control characters in the name.
    """
    import numpy as np
    from safetensors.numpy import save

    check_name(name)
    autoencoder = json.loads(json.dumps(autoencoder))  # tuples become lists, as they will be read
    entropy: Tensors = {} if static is None else {"static": np.ascontiguousarray(static, dtype=np.int32)}
    mark = fingerprint(autoencoder, codebook, entropy)
    config = {
        "format": BUNDLE_FORMAT,
        "name": name,
        "fingerprint": mark.hex(),
        "note": note,
        "default_vocoder": default_vocoder or ("melgan" if melgan else "griffin-lim"),
        "autoencoder": autoencoder,
        "melgan": melgan,
    }
    files: dict[str, bytes] = {}
    for part, tensors in zip(PARTS, (codebook, vocoder or {}, entropy), strict=True):
        if tensors:
            files[f"{part}.safetensors"] = save({key: np.ascontiguousarray(tensors[key]) for key in tensors})
    files[CONFIG] = (json.dumps(config, indent=1) + "\n").encode()
    absent = [f"{part}.safetensors" for part in (*PARTS, *ADDED) if f"{part}.safetensors" not in files]
    return _replaced(folder, files, absent)


def add_sampler(
    bundle: Bundle,
    settings: dict[str, Any],
    tensors: Tensors,
    labels: Sequence[str] = (),
    features: str | None = None,
) -> Bundle:
    """Put a sampler into a bundle, or another one in its place; the bundle's fingerprint stays.

    Args:
        bundle: whose indices the sampler was trained on.
        settings: of the sampler (`dataclasses.asdict` of its configuration).
        tensors: its tensors by state-dict key, stored in the precision they have, or as `reduced` gives them.
        labels: of the classes that it knows.
        features: kind of the features of video that it takes.

    Raises:
        UsageError: the folder cannot be written to.
    """
    described = {"sampler": json.loads(json.dumps(settings)), "labels": list(labels), "features": features}
    return _with_part(bundle, "sampler", tensors, described)


def add_prior(bundle: Bundle, tensors: Tensors) -> Bundle:
    """Put a prior of learned coding into a bundle, or another one in its place; the bundle's fingerprint stays.

    Files in learned coding need the very prior that they were made with, all others need none.

    Args:
        bundle: whose indices the prior was trained on.
        tensors: its tensors, as `Prior` takes them.

    Raises:
        WeightsError: they are not those of a prior for this bundle.
        UsageError: the folder cannot be written to.
    """
    from ..bitstream import CodingModel, Prior

    prior = Prior(tensors)
    CodingModel(int(bundle.autoencoder["codebook_size"]), prior=prior)  # compares the sizes
    return _with_part(bundle, "prior", tensors, {"prior": prior.digest.hex()})


def _with_part(bundle: Bundle, part: str, tensors: Tensors, described: dict[str, Any]) -> Bundle:
    """The bundle after a part was put into it, and into its description what describes it."""
    import numpy as np
    from safetensors.numpy import save

    config = json.loads((bundle.path / CONFIG).read_text(encoding="utf-8")) | described
    files = {
        f"{part}.safetensors": save({key: np.ascontiguousarray(tensors[key]) for key in tensors}),
        CONFIG: (json.dumps(config, indent=1) + "\n").encode(),
    }
    return _replaced(bundle.path, files, [])


def add_features(bundle: Bundle, tensors: Tensors) -> Bundle:
    """Put the ResNet-50 that features of video are computed with into a bundle; the bundle's fingerprint stays.

    Raises:
        UsageError: the folder cannot be written to.
    """
    from safetensors.numpy import save

    files = {"features.safetensors": save(tensors), CONFIG: (bundle.path / CONFIG).read_bytes()}
    return _replaced(bundle.path, files, [])


def _replaced(folder: Path, files: dict[str, bytes], absent: Sequence[str]) -> Bundle:
    """The bundle in a folder, after files were put there and others taken away: all of them, or none if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_files(folder, files, absent)
    except OSError as error:
        raise UsageError(f"The bundle {folder} cannot be written ({error}): choose another folder.") from error
    return load_bundle(folder)
