"""Verdicts of a classifier that are kept in a folder, so that originals are judged once and not in every evaluation.

A file holds the verdict on some spectrograms: a checksum (SHA-256) of what follows, and then safetensors. Its name is a
digest of all that the verdict follows from: the kind of file, the classifier (weights, configuration, statistics), the
kind of device that computed it, and the spectrograms themselves. So nothing there is ever out of date, and everything
there may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from ..bitstream.errors import UsageError
from ..classifiers import Classifier
from ..files import write_file
from .relevance import Verdict, verdict

_FORMAT = b"specvq verdict 1"


class VerdictCache:
    """Verdicts of one classifier, read from a folder where they are there, and written to it where they are not."""

    def __init__(self, classifier: Classifier, folder: Path | None) -> None:
        """Create the folder if there is none.

        Args:
            classifier: in eval mode.
            folder: where verdicts are kept; None for nowhere.

        Raises:
            UsageError: the folder cannot be created.
        """
        self.classifier = classifier
        self._folder = folder
        self._begin = hashlib.sha256(_FORMAT + _digest(classifier))
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot be created ({error.strerror}): choose another with --cache.") from error

    def __call__(self, mels: Sequence[Tensor] | Tensor) -> Verdict:
        """`relevance.verdict` of spectrograms (80, T). A file that is damaged is made anew.

        Raises:
            UsageError: the folder cannot be written to.
        """
        if self._folder is None:
            return verdict(self.classifier, mels)
        path = self._folder / f"{self._name(mels)}.verdict"
        found = _read(path)
        if found is None:
            found = verdict(self.classifier, mels)
            data = save({key: part.contiguous() for key, part in found._asdict().items()})
            write_file(path, hashlib.sha256(data).digest() + data, force=True)
        return found

    def _name(self, mels: Sequence[Tensor] | Tensor) -> str:
        digest = self._begin.copy()
        for mel in mels:
            digest.update(f"{tuple(mel.shape)}".encode())
            digest.update(mel.float().cpu().numpy().tobytes())
        return digest.hexdigest()


def _digest(classifier: Classifier) -> bytes:
    """Of all that decides what a classifier makes of a spectrogram."""
    network = classifier.network
    device = next(network.parameters()).device.type
    about = [type(network).__name__, asdict(network.config), device]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    tensors = {**network.state_dict(), "means": classifier.means, "stds": classifier.stds}
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()


def _read(path: Path) -> Verdict | None:
    """The verdict in a file; None if there is no such file, or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    return Verdict(**load(data[size:])) if hashlib.sha256(data[size:]).digest() == data[:size] else None
