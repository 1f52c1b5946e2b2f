"""One weight bundle: what it holds, and its fingerprint."""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..bitstream import CODEC_RATE, COLUMN_SAMPLES, ROWS, CodingModel, WeightsError

Tensors = dict[str, npt.NDArray[Any]]

CONFIG = "config.json"
PARTS = ("codebook", "vocoder", "entropy")
BUNDLE_FORMAT = 1
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
    """

    name: str
    path: Path
    autoencoder: dict[str, Any]
    melgan: dict[str, Any] | None
    fingerprint: bytes
    note: str
    default_vocoder: str

    def tensors(self, part: str) -> Tensors:
        """The tensors of "codebook", "vocoder" or "entropy" by name, in the precision they are stored in.

        Raises:
            WeightsError: the file is missing or damaged.
        """
        path = self.path / f"{part}.safetensors"
        try:
            return load_file(path)
        except FileNotFoundError as error:
            raise WeightsError(f"{path} is missing: get the bundle again, or give another with --weights.") from error
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is damaged ({error}): get the bundle again.") from error

    def has(self, part: str) -> bool:
        """Whether the bundle has a part."""
        return (self.path / f"{part}.safetensors").is_file()

    def coding_model(self) -> CodingModel:
        """What the bitstream needs to know.

        Raises:
            WeightsError: the tables are missing, damaged or of the wrong shape.
        """
        static = self.tensors("entropy").get("static") if self.has("entropy") else None
        return CodingModel(int(self.autoencoder["codebook_size"]), static)

    def verify(self) -> None:
        """Read every tensor and compare what they are with the fingerprint.

        Raises:
            WeightsError: something is missing, damaged, not finite, or not what the fingerprint says.
        """
        tables = self.tensors("entropy") if self.has("entropy") else {}
        codebook = self.tensors("codebook")
        found = fingerprint(self.autoencoder, codebook, tables)
        if found != self.fingerprint:
            raise WeightsError(
                f"The weights in {self.path} are not what its {CONFIG} says (fingerprint {found.hex()[:8]} instead of "
                f"{self.fingerprint.hex()[:8]}): get the bundle again."
            )
        self.coding_model()
        if (self.melgan is not None) != self.has("vocoder"):
            raise WeightsError(f"{self.path} must have vocoder.safetensors exactly if {CONFIG} describes one.")
        for tensors in (codebook, self.tensors("vocoder") if self.has("vocoder") else {}):
            for key, tensor in tensors.items():
                if not np.isfinite(tensor).all():
                    raise WeightsError(f"{key} in {self.path} is not finite: get the bundle again.")


def fingerprint(autoencoder: dict[str, Any], codebook: Tensors, entropy: Tensors) -> bytes:
    """SHA-256 of what gives indices and probabilities their meaning, as FORMAT.md defines it."""
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
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): get the bundle again.") from error
    try:
        if config["format"] != BUNDLE_FORMAT:
            raise WeightsError(f"{folder} has bundle format {config['format']}: install a newer specvq-codec.")
        mark = bytes.fromhex(config["fingerprint"])
        if len(mark) != 32 or not isinstance(config["autoencoder"], dict):
            raise ValueError("fingerprint or autoencoder")
        int(config["autoencoder"]["codebook_size"])
        if config["default_vocoder"] not in ("griffin-lim", "melgan" if config["melgan"] else ""):
            raise ValueError("default_vocoder")
        return Bundle(
            name=config["name"],
            path=folder,
            autoencoder=config["autoencoder"],
            melgan=config["melgan"],
            fingerprint=mark,
            note=config["note"],
            default_vocoder=config["default_vocoder"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}): get the bundle again.") from error


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
    """Write a bundle; tensors are stored in the precision they have.

    Args:
        folder: where to; made if it is not there. Files of an older bundle there are replaced.
        name: what to call it.
        autoencoder: settings of the autoencoder (`dataclasses.asdict` of its configuration).
        codebook: the autoencoder's tensors by state-dict key.
        melgan: settings of the vocoder, if there is one.
        vocoder: its tensors.
        static: tables for static coding, as `frequency_tables` gives them.
        note: where the weights come from, in a sentence.
        default_vocoder: "melgan" or "griffin-lim"; if not given, MelGAN where there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    autoencoder = json.loads(json.dumps(autoencoder))  # tuples become lists, as they will be read
    entropy: Tensors = {} if static is None else {"static": np.ascontiguousarray(static, dtype=np.int32)}
    for part, tensors in zip(PARTS, (codebook, vocoder or {}, entropy), strict=True):
        path = folder / f"{part}.safetensors"
        path.unlink(missing_ok=True)
        if tensors:
            save_file({key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}, path)
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
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return load_bundle(folder)
