"""Writes packs: decodes a folder of recordings once, so that training never does. An interrupted packing goes on.

A pack is a folder:

    index.json      for each recording its path, split, domain, label, and where it lies in
    samples.i16     mono sound at 22 050 Hz, 16 bit, all recordings one after another; or
    mels.f16        log-mel spectrograms in [0, 1], half precision, 80 numbers a frame, all recordings one after another
    features.f16    where asked for: features of the video, half precision, 215 rows a recording, ten seconds

While it is being made there are `packing.*` instead: what is done so far, and a journal of it. The index names what the
pack was made of by a fingerprint, so that nothing is packed twice, or replaced unasked.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .. import spectrogram as spec
from ..bitstream.errors import SpecVQError, UsageError
from ..conditions import kind_of_features, load_features
from ..files import write_file
from .data import FEATURE_FRAMES, STORES, Clip, Pack
from .layouts import Entry, Listing, listing_of

Track = Callable[[Sequence[Entry]], Iterable[Entry]]
_HALF = np.dtype("<f2")


class Packed(NamedTuple):
    """What went into a pack, and what did not: a line each with the reason.

    Attributes:
        clips: the recordings.
        skipped: what was left out.
        seconds: how long the recordings are together.
        new: whether the pack was made; else it was there already, and what was left out then is not known.
    """

    clips: list[Clip]
    skipped: list[str]
    seconds: float
    new: bool = True


def pack(folder: Path, out: Path, features: Sequence[str] = (), track: Track = iter, force: bool = False) -> Packed:
    """Write the recordings below `folder` as a pack.

    Sounds are chosen and split by a `manifest.csv` with columns path, split (train, valid or test) and, if there,
    domain and label; without one every file is tried and split by a hash of its name. The reference's data sets are
    recognised by their folders (see layouts.py). A packing of the same recordings that was interrupted goes on, and a
    pack of them that is there stays as it is.

    Args:
        folder: of the recordings.
        out: folder of the pack.
        features: folders of features (T, D) of videos to pack, side by side, cut or repeated to 215 rows. For sounds
            they hold a NAME.npz, .npy or .pkl for each NAME.wav or the like, at the same place below; for the
            reference's data sets they lie beside the folders of spectrograms, and hold pickles. A recording without
            them is skipped.
        track: iterates over recordings, and may show how far it is.
        force: whether a pack that is there, with its tokens, is replaced in the end.

    Raises:
        UsageError: none can be read, or lists of them make no sense; or `out` is a pack of others and `force` not set,
            or it holds the folder of the recordings.
    """
    if folder.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"{folder} lies in the folder of the pack, {out}: name another folder, for the pack alone.")
    listing = listing_of(folder, out)
    if listing.kind == "sound":
        for absent in (name for name in features if not Path(name).is_dir()):
            raise UsageError(f"There is no folder {absent}: make the features with specvq data features.")
    fingerprint = _fingerprint(listing, features)
    if (out / "index.json").exists() and not force:
        if _packed_before(out / "index.json") != fingerprint:
            raise UsageError(
                f"{out} is a pack already, of other or changed recordings: name another folder, or use -f "
                "(force=True) to replace it in the end and to remove its tokens."
            )
        clips = Pack(out, None).clips
        return Packed(clips, [], _seconds(listing, clips), new=False)
    out.mkdir(parents=True, exist_ok=True)
    files = [STORES[listing.kind].file, *(["features.f16"] if features else [])]
    with _Packing(out, files, fingerprint) as packing:
        for entry in track(listing.entries[packing.done :]):
            source = listing.folder / entry.path
            try:
                if listing.kind == "sound":
                    length = _append_sound(packing.stores[0], source)
                else:
                    length = _append_mel(packing.stores[0], source)
                if features:
                    files_of = [_feature_file(listing, entry.path, name) for name in features]
                    _append_features(packing.stores[1], files_of, packing.feature_width())
            except SpecVQError as error:
                packing.skip(f"{entry.path}: {error}")
            else:
                packing.add(entry, length)
        skipped = listing.left_out + packing.skipped
        if not packing.clips:
            packing.remove()
            reason = f" ({skipped[0]})" if skipped else ""
            raise UsageError(f"No recording below {folder} could be read{reason}: give a folder with sound files.")
        about: dict[str, Any] = {"sample_rate": spec.SAMPLE_RATE, "packing": fingerprint}
        if listing.kind != "sound":
            about["kind"] = listing.kind
        if features:
            about |= {"features": list(features), "feature_width": packing.feature_width()}
            if len(features) == 1:
                about["feature_kind"] = kind_of_features(_feature_file(listing, packing.clips[0].path, features[0]))
        packing.finish(about)
    return Packed(packing.clips, skipped, _seconds(listing, packing.clips))


def _seconds(listing: Listing, clips: Sequence[Clip]) -> float:
    unit = 1 if listing.kind == "sound" else spec.HOP_LENGTH
    return sum(clip.length for clip in clips) * unit / spec.SAMPLE_RATE


def _fingerprint(listing: Listing, features: Sequence[str]) -> str:
    """Of everything that decides what the pack will hold; of the recordings' contents, their sizes and times."""
    entries = [[asdict(entry), *_size_and_time(listing.folder / entry.path)] for entry in listing.entries]
    parts = [listing.kind, str(listing.folder.resolve()), list(features), entries]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _size_and_time(path: Path) -> tuple[int, int]:
    """Of a file, in bytes and in nanoseconds; zeros where there is none, which will be told."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _packed_before(index: Path) -> str | None:
    """The fingerprint of what a pack was made of; None if its index is damaged, or older than fingerprints."""
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["packing"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class _Packing:
    """The unfinished files of a pack, and a journal with one line for each recording that is done."""

    def __init__(self, out: Path, files: list[str], fingerprint: str) -> None:
        self.clips: list[Clip] = []
        self.skipped: list[str] = []
        self.stores: list[IO[bytes]] = []
        self._out, self._files, self._fingerprint = out, files, fingerprint
        self._journal_path = out / "packing.jsonl"
        self._ends = [0] * len(files)  # bytes of each store that are done
        self._end = 0  # the same in units of length

    @property
    def done(self) -> int:
        """How many of the listing's recordings are done."""
        return len(self.clips) + len(self.skipped)

    def __enter__(self) -> Self:
        journal = self._read_journal()
        if not journal:
            self.remove()
            journal = json.dumps({"packing": self._fingerprint}).encode() + b"\n"
        self._journal_path.write_bytes(journal)
        with ExitStack() as stack:  # opened and closed as one
            self._journal = stack.enter_context(self._journal_path.open("ab"))
            for file in self._files:
                self.stores.append(stack.enter_context((self._out / f"packing.{file}").open("ab")))
            self._truncate()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _read_journal(self) -> bytes:
        """Take over what an interrupted packing has done; returns its journal as far as it is good."""
        if not self._journal_path.exists():
            return b""
        sizes = [path.stat().st_size if path.exists() else 0 for path in map(self._unfinished, self._files)]
        lines = self._journal_path.read_bytes().splitlines(keepends=True)
        good = b""
        for line in lines:
            try:
                noted = json.loads(line)
                if not good and noted["packing"] != self._fingerprint:
                    return b""
                if good and "skipped" in noted:
                    self.skipped.append(noted["skipped"])
                elif good:
                    if any(end > size for end, size in zip(noted["ends"], sizes, strict=True)):
                        break
                    self._take(Clip(**noted["clip"]), noted["ends"])
            except (ValueError, KeyError, TypeError):
                break  # a line that was being written when it ended
            good += line
        return good

    def _unfinished(self, file: str) -> Path:
        return self._out / f"packing.{file}"

    def _take(self, clip: Clip, ends: list[int]) -> None:
        self.clips.append(clip)
        self._ends, self._end = ends, clip.start + clip.length

    def add(self, entry: Entry, length: int) -> None:
        """What has been written to the stores is a recording."""
        for store in self.stores:
            store.flush()
        clip = Clip(entry.path, entry.split, entry.domain, self._end, length, entry.label)
        self._take(clip, [store.tell() for store in self.stores])
        self._note({"clip": asdict(clip), "ends": self._ends})

    def skip(self, reason: str) -> None:
        """What has been written to the stores since the last recording is none."""
        self._truncate()
        self.skipped.append(reason)
        self._note({"skipped": reason})

    def _note(self, what: dict[str, Any]) -> None:
        self._journal.write(json.dumps(what).encode() + b"\n")
        self._journal.flush()

    def _truncate(self) -> None:
        for store, end in zip(self.stores, self._ends, strict=True):
            store.truncate(end)
            store.seek(end)

    def feature_width(self) -> int:
        """Numbers in a row of features, 0 before there is any."""
        return self._ends[1] // (_HALF.itemsize * FEATURE_FRAMES * len(self.clips)) if self.clips else 0

    def remove(self) -> None:
        """Remove all unfinished files."""
        for path in (self._journal_path, *map(self._unfinished, self._files)):
            path.unlink(missing_ok=True)

    def finish(self, about: dict[str, Any]) -> None:
        """Make it the pack."""
        self._stack.close()
        index = self._out / "index.json"
        # of a pack that was there; until all is in its place there is none
        for name in ("index.json", "features.f16", *(store.file for store in STORES.values())):
            (self._out / name).unlink(missing_ok=True)
        for tokens in self._out.glob("tokens-*.npz"):  # of those recordings
            tokens.unlink()
        for file in self._files:
            os.replace(self._unfinished(file), self._out / file)
        write_file(index, json.dumps({**about, "clips": [asdict(clip) for clip in self.clips]}).encode())
        self._journal_path.unlink()


def _append_sound(store: IO[bytes], path: Path) -> int:
    """Append a recording's samples; returns their number."""
    from ..audio import open_sound, resampled  # a machine without audio libraries can read packs

    length = 0
    with open_sound(path) as sound:
        for block in resampled(sound, sound.sample_rate, spec.SAMPLE_RATE):
            store.write((block.clip(-1.0, 1.0) * 32767.0).round().astype("<i2").tobytes())
            length += len(block)
    return length


def _append_mel(store: IO[bytes], path: Path) -> int:
    """Append the spectrogram (80, T) of a numpy file; returns T."""
    try:
        mel = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a header cannot ask for more than there is
    except (OSError, ValueError, EOFError) as error:
        raise SpecVQError(f"it is no array of numpy ({error})") from error
    if not isinstance(mel, np.ndarray) or mel.ndim != 2 or len(mel) != spec.N_MELS or mel.dtype.kind != "f":
        raise SpecVQError("it is no spectrogram of 80 mels")
    if not mel.size or not (mel.min() >= 0.0 and mel.max() <= 1.0):  # NaN is neither
        raise SpecVQError("it is empty, or not within [0, 1]")
    store.write(mel.T.astype(_HALF).tobytes())
    return int(mel.shape[1])


def _append_features(store: IO[bytes], paths: Sequence[Path], width: int) -> None:
    """Append the features (215, D) of files, side by side; D must be `width`, if that is not 0."""
    rows = np.concatenate([_features(path) for path in paths], 1)
    if width and rows.shape[1] != width:
        raise SpecVQError(f"its features have {rows.shape[1]} numbers a frame, and those before it {width}")
    store.write(rows.tobytes())


def _feature_file(listing: Listing, recording: str, folder: str) -> Path:
    """The file in a folder of features that belongs to a recording."""
    if listing.kind == "mels":
        path = listing.folder / recording
        return path.parent.with_name(folder) / (path.name.removesuffix("_mel.npy") + ".pkl")
    place = Path(folder) / recording
    found = [path for suffix in (".npz", ".npy", ".pkl") if (path := place.with_suffix(suffix)).is_file()]
    if not found:
        raise SpecVQError(f"it has no features {place.with_suffix('.npz')}")
    return found[0]


def _features(path: Path) -> NDArray[np.float16]:
    """A file of features as 215 rows; a shorter video begins again, as it does when a sampler is used.

    The reference's training has zeros there, and no file so short that its samplers saw them.
    """
    try:
        found = load_features(path)
    except SpecVQError as error:
        raise SpecVQError(f"its features {path.parent.name} cannot be used: {error}") from error
    with np.errstate(over="ignore"):
        rows = found[np.arange(FEATURE_FRAMES) % len(found)].astype(_HALF)
    if not np.isfinite(rows).all():
        raise SpecVQError(f"its features {path.parent.name} are not finite in half precision")
    return rows
