"""Codecs that others made, run as their users install them: what a new codec has to be compared with.

Codec 2 (Rowe, "Codec 2: open source speech coding at 2400 bits/s and below") comes with `c2enc` and `c2dec`, Opus
(RFC 6716) with `opusenc` and `opusdec`; Debian's packages are `codec2` and `opus-tools`. The programs are looked for on
the PATH. To compare with another codec, write a class with the two members of `ExternalCodec` and name it in
`external_codec`, or decode a folder with it and use `systems.DecodedSystem`.

Rates count a codec's own packets, with those that it needs beyond the end of the sound, and without the file around
them: a Codec 2 file pads every frame to whole bytes, and an Ogg file adds headers and pages. Times include the start of
the programs, and not the change of the sampling rate.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from ..bitstream import UsageError
from ..resampling import SAMPLE_RATE, resampled

Samples = npt.NDArray[np.float32]
CODEC2_RATE = 8000  # Hz


@dataclass(frozen=True)
class RoundTrip:
    """What became of a sound.

    Attributes:
        sound: float32 (N,) at 22 050 Hz, as long as the original and not delayed against it.
        bits: that were needed.
        encode_seconds: time to encode.
        decode_seconds: time to decode.
    """

    sound: Samples
    bits: int
    encode_seconds: float
    decode_seconds: float


class ExternalCodec(Protocol):
    """A codec that can be compared with."""

    @property
    def name(self) -> str:
        """What its row is called."""

    def round_trip(self, sound: Samples) -> RoundTrip:
        """Encode and decode a sound, float32 (N,) in [-1, 1] at 22 050 Hz, N >= 1; raises UsageError if that fails."""


@dataclass(frozen=True)
class Codec2:
    """One mode of Codec 2.

    Attributes:
        name: what its row is called.
        mode: what `c2enc` calls it.
        frame_samples: samples at 8 kHz that a frame stands for.
        frame_bits: bits of a frame; in a file whole bytes follow one another.
        delay: samples at 8 kHz by which `c2dec` is late, measured where log-mel spectrograms below 3.5 kHz of delayed
            and original sound are nearest: the same in speech, music and other sound. STOI of speech is highest there.
    """

    name: str
    mode: str
    frame_samples: int
    frame_bits: int
    delay: int

    programs = ("c2enc", "c2dec")
    package = "codec2"

    def round_trip(self, sound: Samples) -> RoundTrip:
        """Encode and decode; see `ExternalCodec`."""
        narrow = changed_rate(sound, SAMPLE_RATE, CODEC2_RATE)
        frames = -(-(len(narrow) + self.delay) // self.frame_samples)
        padded = np.pad(narrow, (0, frames * self.frame_samples - len(narrow)))  # c2enc drops the rest of a frame
        with TemporaryDirectory(prefix="specvq-") as name:
            raw, coded, decoded = (Path(name) / part for part in ("in.raw", "coded.bit", "out.raw"))
            raw.write_bytes((padded.clip(-1.0, 1.0) * 32767.0).round().astype("<i2").tobytes())
            encode_seconds = _run("c2enc", self.mode, raw, coded)
            decode_seconds = _run("c2dec", self.mode, coded, decoded)
            frames_coded = coded.stat().st_size // -(-self.frame_bits // 8)
            late = np.frombuffer(decoded.read_bytes(), "<i2").astype(np.float32) / 32768.0
        timely = late[self.delay : self.delay + len(narrow)]
        wide = fitted(changed_rate(timely, CODEC2_RATE, SAMPLE_RATE), len(sound))
        return RoundTrip(wide, frames_coded * self.frame_bits, encode_seconds, decode_seconds)


@dataclass(frozen=True)
class Opus:
    """Opus at a target rate in kbit/s, with the settings that `opusenc` has by itself; it compensates its delay."""

    name: str
    kilobits: int

    programs = ("opusenc", "opusdec")
    package = "opus-tools"

    def round_trip(self, sound: Samples) -> RoundTrip:
        """Encode and decode; see `ExternalCodec`."""
        with TemporaryDirectory(prefix="specvq-") as name:
            wav, coded, decoded = (Path(name) / part for part in ("in.wav", "coded.opus", "out.wav"))
            soundfile.write(wav, sound, SAMPLE_RATE, subtype="PCM_16")
            encode_seconds = _run("opusenc", "--quiet", "--bitrate", str(self.kilobits), wav, coded)
            decode_seconds = _run("opusdec", "--quiet", "--no-dither", "--rate", str(SAMPLE_RATE), coded, decoded)
            bits = 8 * ogg_payload(coded.read_bytes())
            samples, _ = soundfile.read(decoded, dtype="float32")
        return RoundTrip(fitted(samples, len(sound)), bits, encode_seconds, decode_seconds)


OPUS_KILOBITS = range(6, 257)  # of one channel
CODEC2 = (
    Codec2("codec2-700c", "700C", frame_samples=320, frame_bits=28, delay=250),
    Codec2("codec2-3200", "3200", frame_samples=160, frame_bits=64, delay=150),
)


def external_codec(name: str) -> ExternalCodec:
    """The codec of that name.

    Raises:
        UsageError: there is none, or its programs are not installed.
    """
    peers: dict[str, Codec2 | Opus] = {peer.name: peer for peer in CODEC2}
    rate = re.fullmatch(r"opus-([1-9]\d*)k", name)
    if rate and int(rate[1]) in OPUS_KILOBITS:
        peers[name] = Opus(name, int(rate[1]))
    if name not in peers:
        known = ", ".join(peer.name for peer in CODEC2)
        raise UsageError(
            f"There is no codec {name!r} to compare with: use {known}, opus-6k to opus-256k, encodec, dac, snac, or "
            "k-means."
        )
    peer = peers[name]
    missing = [program for program in peer.programs if shutil.which(program) is None]
    if missing:
        raise UsageError(
            f"{name} needs {' and '.join(missing)}: install them (on Debian: apt-get install {peer.package}), "
            f"or leave {name} out."
        )
    return peer


def ogg_payload(data: bytes) -> int:
    """Bytes of the packets of an Ogg stream, without pages and without the two header packets (RFC 3533, RFC 7845).

    Raises:
        UsageError: it is no such stream.
    """
    packets = [0]
    position = 0
    while position < len(data):
        table = data[position + 27 : position + 27 + data[position + 26]] if len(data) > position + 27 else b""
        if data[position : position + 4] != b"OggS" or not table:
            raise UsageError("opusenc wrote what is no Ogg stream: install opus-tools anew, or leave Opus out.")
        for lacing in table:
            packets[-1] += lacing
            if lacing < 255:  # the packet ends here
                packets.append(0)
        position += 27 + len(table) + sum(table)
    return sum(packets[2:])


def _run(program: str, *arguments: str | Path) -> float:
    """Run a program and return how many seconds that took; raises UsageError with its last words if it fails."""
    command: Sequence[str | Path] = (program, *arguments)
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UsageError(f"{program} failed ({words or done.returncode}): install another version, or leave it out.")
    return seconds


def changed_rate(sound: Samples, from_rate: int, to_rate: int) -> Samples:
    """A sound (N,) at another rate."""
    return np.concatenate(list(resampled([sound], from_rate, to_rate)))


def fitted(sound: Samples, length: int) -> Samples:
    """Cut off, or follow by silence, so that rounding of lengths does not show."""
    return np.pad(sound, (0, max(0, length - len(sound))))[:length]
