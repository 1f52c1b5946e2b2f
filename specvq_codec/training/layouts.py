"""What there is to pack in a folder: sounds, or one of the reference's two data sets of spectrograms.

The reference (v-iashin/SpecVQGAN) publishes spectrograms, not sound, of its data sets:

    vas/features/CLASS/melspec_10s_22050hz/NAME_mel.npy       vas_train.txt, vas_valid.txt: lines CLASS/NAME
    vggsound/melspec_10s_22050hz/ID_FROM_TO_mel.npy           vggsound_train.txt, ... : lines ID_FROM_TO
                                                              vggsound.csv: rows ID, second, label, train or test

ID has 11 characters. Features of the video lie beside the folder of spectrograms, as NAME.pkl in a folder of their own
kind. The lists are looked for in the folder that is packed and in the two above it.
"""

from __future__ import annotations

import csv
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from ..bitstream.errors import UsageError
from ..files import files_below, reason_of

SPLITS = ("train", "valid", "test")
MELS = "melspec_10s_22050hz"  # the folders of spectrograms
_SUFFIX = "_mel.npy"
_ID = 11  # characters of a video's name on YouTube
_VAS_LARGE = ("baby", "dog", "drum", "fireworks")  # classes of which 128 clips are for validation, of the others 64


@dataclass(frozen=True)
class Entry:
    """A recording to pack; its path is relative to the folder of the listing."""

    path: str
    split: str
    domain: str = "sound"
    label: str = ""


@dataclass(frozen=True)
class Listing:
    """The recordings to pack, all of one kind, and sentences about what is left out."""

    kind: Literal["sound", "mels"]
    folder: Path
    entries: list[Entry]
    left_out: list[str] = field(default_factory=list)


def listing_of(folder: Path, out: Path | None = None) -> Listing:
    """What to pack of a folder: what its manifest.csv says, a data set of the reference, or all but what is in `out`.

    Raises UsageError if there is no such folder, or lists in it make no sense.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}: give one with sound files.")
    if (folder / "manifest.csv").exists():
        return Listing("sound", folder, _manifest(folder / "manifest.csv"))
    for base in (folder, folder / "features"):
        if (base / MELS).is_dir():
            return _vggsound(base)
        if any(base.glob(f"*/{MELS}")):
            return _vas(base)
    inside, left_out = out.resolve() if out is not None else None, list[str]()
    found = files_below(
        folder, None, lambda path, reason: left_out.append(f"{os.path.relpath(path, folder)}: {reason}")
    )
    files = (path for path in found if inside not in path.resolve().parents)
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    return Listing("sound", folder, [Entry(name, split_by_name(name)) for name in names], left_out)


def split_by_name(name: str) -> str:
    """A split that follows from a recording's name alone: 5 % valid, 5 % test."""
    share = zlib.crc32(os.fsencode(name)) % 100  # of the name's bytes, which need not be UTF-8
    return "test" if share < 5 else "valid" if share < 10 else "train"


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A list to read. Raises UsageError if what is read of it is no text in UTF-8, or no CSV where it should be."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield file
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({reason_of(error)}): it has to be a file, and open to you."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        kind = "CSV file" if path.suffix == ".csv" else "list"
        raise UsageError(f"{path} is no {kind} in UTF-8 ({error}): save it as one.") from error


def _put(splits: dict[str, str], name: str, split: str, where: str) -> None:
    """Note the split of a recording. Raises UsageError if it has another one already."""
    if splits.setdefault(name, split) != split:
        raise UsageError(f"{where} have {name} in two splits, {splits[name]} and {split}: leave it in one.")


def _manifest(path: Path) -> list[Entry]:
    with _opened(path) as file:
        rows = list(csv.DictReader(file))
    splits: dict[str, str] = {}
    for row in rows:
        if not row.get("path") or row.get("split") not in SPLITS:
            raise UsageError(f"{path} needs columns path and split (one of {', '.join(SPLITS)}), not {row}.")
        _put(splits, row["path"], row["split"], f"The rows of {path}")
    return [Entry(row["path"], row["split"], row.get("domain") or "sound", row.get("label") or "") for row in rows]


def _vas(base: Path) -> Listing:
    """CLASS/MELS/NAME_mel.npy; without lists the last clips of each class are for validation, as in the reference's."""
    names = [f"{path.parent.parent.name}/{_name(path)}" for path in sorted(base.glob(f"*/{MELS}/*{_SUFFIX}"))]
    splits, left_out = _listed(base, "vas", names)
    if not splits:
        for label in sorted({name.split("/")[0] for name in names}):
            clips = [name for name in names if name.startswith(label + "/")]
            valid = min(128 if label in _VAS_LARGE else 64, len(clips) // 2)
            splits.update(
                {name: "valid" if place >= len(clips) - valid else "train" for place, name in enumerate(clips)}
            )
    entries = []
    for name in names:
        label, _, clip = name.partition("/")
        if name in splits:
            entries.append(Entry(f"{label}/{MELS}/{clip}{_SUFFIX}", splits[name], label=label))
    return Listing("mels", base, entries, left_out)


def _vggsound(base: Path) -> Listing:
    """MELS/ID_FROM_TO_mel.npy; without lists as many videos of each label are for validation as for the test."""
    names = [_name(path) for path in sorted((base / MELS).glob(f"*{_SUFFIX}"))]
    table = _find(base, "vggsound.csv")
    if table is None:
        raise UsageError(f"{base} lacks vggsound.csv, which tells the labels: get it from the data set's authors.")
    with _opened(table) as file:
        rows = {row[0]: row for row in csv.reader(file) if row}
    if any(len(row) < 4 for row in rows.values()):
        raise UsageError(f"{table} needs four columns: video, second, label, and train or test.")
    splits, left_out = _listed(base, "vggsound", names)
    if not splits:
        videos = _split_videos(rows)
        splits = {name: videos.get(name[:_ID], "train") for name in names}
    unknown = [name for name in names if name in splits and name[:_ID] not in rows]
    left_out += [f"{name}{_SUFFIX}: {table.name} does not list its video" for name in unknown]
    known = [name for name in names if name in splits and name[:_ID] in rows]
    entries = [Entry(f"{MELS}/{name}{_SUFFIX}", splits[name], label=rows[name[:_ID]][2]) for name in known]
    return Listing("mels", base, entries, left_out)


def _split_videos(rows: dict[str, list[str]]) -> dict[str, str]:
    """The split of every video: test as the table says, and of each label as many for validation, by hash."""
    splits = {video: "test" if row[3] == "test" else "train" for video, row in rows.items()}
    wanted = Counter(row[2] for row in rows.values() if row[3] == "test")
    for video in sorted(rows, key=lambda video: zlib.crc32(video.encode())):
        label = rows[video][2]
        if splits[video] == "train" and wanted[label] > 0:
            splits[video] = "valid"
            wanted[label] -= 1
    return splits


def _listed(base: Path, name: str, there: list[str]) -> tuple[dict[str, str], list[str]]:
    """The splits of the clips that `name`_train.txt, _valid.txt and _test.txt list, and what does not fit them."""
    splits: dict[str, str] = {}
    left_out = []
    present = set(there)
    for split in SPLITS:
        path = _find(base, f"{name}_{split}.txt")
        if path is None:
            continue
        with _opened(path) as file:
            clips = file.read().split()
        absent = [clip for clip in clips if clip not in present]
        if absent:
            left_out.append(
                f"{len(absent)} of the {len(clips)} clips of {path.name}, which are not there: {absent[0]}, ..."
            )
        for clip in clips:
            _put(splits, clip, split, f"The lists {name}_*.txt")
    if splits:
        left_out += [f"{clip}{_SUFFIX}: no list has it" for clip in there if clip not in splits]
    return splits, left_out


def _find(base: Path, name: str) -> Path | None:
    folders = (base, *base.resolve().parents[:2])
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _name(path: Path) -> str:
    return path.name.removesuffix(_SUFFIX)
