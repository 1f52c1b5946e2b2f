"""Files, pipes and objects to read sound from: all of it is read, and nothing is lost, left open or moved."""

import gc
import gzip
import io
import lzma
import os
import signal
import warnings
import zipfile
from contextlib import ExitStack

import numpy as np
import pytest
import soundfile
from sounds import tone, wav_bytes, whole

from specvq_codec.audio import open_sound
from specvq_codec.bitstream.errors import AudioError


class Stopped(BaseException):
    """What a signal's handler raises, as KeyboardInterrupt and SystemExit."""


@pytest.mark.skipif(os.name != "posix", reason="no such timers")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a file that is let go of
@pytest.mark.parametrize("name", ["long.mp3", "long.ogg", "long.flac"])
def test_what_a_signal_raises_is_never_the_end_of_a_sound(tmp_path, name):
    """Whenever it comes: the sound is read to its end, or the exception arrives."""

    def stop(*_):
        raise Stopped

    soundfile.write(tmp_path / name, tone(400_000, 44100), 44100)
    length = len(whole(open_sound(tmp_path / name)))
    before = signal.signal(signal.SIGALRM, stop)
    arrived = 0
    try:
        for delay in np.linspace(2e-4, 3e-2, 75):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                found = len(whole(open_sound(tmp_path / name)))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Stopped:
                arrived += 1
            else:
                assert found == length
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert arrived > 0


WRAPS = ["memory", "gzip", "zip", "read before", "unbuffered", "written", "transformed"]


@pytest.mark.parametrize("system", ["posix", "nt"])
@pytest.mark.parametrize("wrap", WRAPS)
def test_file_objects_of_every_kind(tmp_path, monkeypatch, wrap, system):
    """All of it is read, wherever it stands, and a file stays where it is for the caller."""
    monkeypatch.setattr("specvq_codec.sound_files._BY_DESCRIPTOR", system == "posix")
    data = wav_bytes(tone(30_000, 44100))
    (tmp_path / "a.wav").write_bytes(data)
    wanted = whole(open_sound(tmp_path / "a.wav"))
    with ExitStack() as stack:
        file = stack.enter_context(opened(wrap, tmp_path, data))
        place = file.tell()
        assert np.array_equal(whole(open_sound(file)), wanted)
        assert not file.closed
        if system == "posix" and wrap in ("read before", "unbuffered", "written"):
            assert file.tell() == place and file.read() == data[place:]
            file.seek(0)
            assert file.read() == data


def opened(wrap, folder, data):
    """A file object with a sound, in one of `WRAPS`."""
    if wrap == "memory":
        file = io.BytesIO(data)
        file.seek(0, io.SEEK_END)
        return file
    if wrap == "gzip":
        (folder / "a.gz").write_bytes(gzip.compress(data))
        return gzip.open(folder / "a.gz")
    if wrap == "zip":
        with zipfile.ZipFile(folder / "a.zip", "w") as packed:
            packed.writestr("a.wav", data)
        return zipfile.ZipFile(folder / "a.zip").open("a.wav")
    if wrap == "written":  # and not flushed
        file = open(folder / "b.wav", "w+b")
        file.write(data)
        return file
    if wrap == "transformed":
        (folder / "a.bin").write_bytes(bytes(255 - byte for byte in data))
        return io.BufferedReader(Turned(folder / "a.bin"))
    file = open(folder / "a.wav", "rb", buffering=0 if wrap == "unbuffered" else -1)
    file.read(10)
    return file


class Turned(io.FileIO):
    """A file whose bytes are turned on the way."""

    def readinto(self, buffer):
        count = super().readinto(buffer)
        buffer[:count] = bytes(255 - byte for byte in bytes(buffer[:count]))
        return count


def test_a_file_that_the_caller_closes_is_read_on(tmp_path):
    """And nothing else that gets its number."""
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone(200_000, 44100)))
    (tmp_path / "b.wav").write_bytes(wav_bytes(-tone(200_000, 44100)))
    wanted = whole(open_sound(tmp_path / "a.wav"))
    file = open(tmp_path / "a.wav", "rb")
    blocks = iter(open_sound(file))
    first = next(blocks)
    file.close()
    with open(tmp_path / "b.wav", "rb"):
        assert np.array_equal(np.concatenate([first, *blocks]), wanted)


def test_file_objects_that_cannot_be_read(tmp_path):
    data = wav_bytes(tone(30_000, 44100))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(data)[:-1000])
    with gzip.open(tmp_path / "cut.gz") as file, pytest.raises(AudioError, match="could not be copied"):
        open_sound(file)
    packed = bytearray(lzma.compress(data))
    packed[len(packed) // 2] ^= 4
    with lzma.open(io.BytesIO(packed)) as file, pytest.raises(AudioError, match="could not be copied"):
        open_sound(file)
    with pytest.raises(AudioError, match="closed file"):
        open_sound(file)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files cannot be counted here")
def test_streams_that_are_never_read_leave_nothing_open(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone(100, 44100)))
    gc.collect()  # of what other tests have left
    open_now = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            stream = open_sound(tmp_path / "a.wav")
            del stream
            gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= open_now


def test_too_many_open_files_are_told(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone(100, 44100)))

    def none_left(_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("os.dup", none_left)
    with pytest.raises(AudioError, match="cannot be read \\(too many open files\\)"):
        open_sound(tmp_path / "a.wav")


def test_without_room_for_temporary_files(monkeypatch):
    def none(*_, **__):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", none)
    with pytest.raises(AudioError, match="needs a temporary file"):
        open_sound(io.BytesIO(wav_bytes(tone(100, 44100))))
