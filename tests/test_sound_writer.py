"""Sound out: the right samples, and files that appear whole or not at all."""

import errno
import io
import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np
import pytest
import soundfile

from specvq_codec.audio import SAMPLE_RATE, SoundWriter, open_sound
from specvq_codec.bitstream.errors import SpecVQError, UsageError
from specvq_codec.files import check_output, output_file, write_file
from specvq_codec.sound_writer import fitting_rate

NOISE = np.random.default_rng(1).uniform(-0.9, 0.9, 200_000).astype(np.float32)


def write(path, samples=NOISE, rate=SAMPLE_RATE, force=False):
    with SoundWriter(path, rate, len(samples), force) as writer:
        for block in np.array_split(samples, 3):
            writer.write(block)


@pytest.mark.parametrize(
    ("suffix", "format_name", "subtype"),
    [
        ("wav", "WAV", "PCM_16"),
        ("WAV", "WAV", "PCM_16"),
        ("flac", "FLAC", "PCM_16"),
        ("aiff", "AIFF", "PCM_16"),
        ("aif", "AIFF", "PCM_16"),
        ("caf", "CAF", "PCM_16"),
        ("w64", "W64", "PCM_16"),
        ("rf64", "RF64", "PCM_16"),
        ("au", "AU", "PCM_16"),
        ("snd", "AU", "PCM_16"),
        ("ogg", "OGG", "VORBIS"),
        ("oga", "OGG", "VORBIS"),
        ("mp3", "MP3", "MPEG_LAYER_III"),
    ],
)
def test_formats(tmp_path, suffix, format_name, subtype):
    path = tmp_path / f"a.{suffix}"
    write(path)
    info = soundfile.info(path)
    assert (info.format, info.subtype) == (format_name, subtype)
    assert (info.frames, info.samplerate, info.channels) == (len(NOISE), SAMPLE_RATE, 1)
    if subtype == "PCM_16":
        np.testing.assert_array_equal(soundfile.read(path, dtype="int16")[0], np.rint(NOISE * 2**15))
    assert os.listdir(tmp_path) == [path.name]


def test_opus_needs_one_of_its_rates(tmp_path):
    write(tmp_path / "a.opus", rate=48_000)
    assert soundfile.info(tmp_path / "a.opus").subtype == "OPUS"
    with pytest.raises(UsageError, match="cannot be written at 22050 Hz"):
        write(tmp_path / "b.opus")
    assert os.listdir(tmp_path) == ["a.opus"]
    write(tmp_path / "b.opus", rate=fitting_rate("b.opus", 22_050))
    assert soundfile.info(tmp_path / "b.opus").samplerate == 24_000
    assert (fitting_rate("a.OPUS", 96_000), fitting_rate("a.wav", 22_050)) == (48_000, 22_050)


def test_sixteen_bits_come_back_exactly_and_clip(tmp_path):
    samples = np.arange(-(2**15), 2**15).astype(np.float32) / 2**15
    write(tmp_path / "a.wav", samples)
    np.testing.assert_array_equal(np.concatenate(list(open_sound(tmp_path / "a.wav"))), samples)
    write(tmp_path / "b.wav", np.array([-7.0, -1.0, 0.99999, 1.0, 7.0]))
    assert soundfile.read(tmp_path / "b.wav", dtype="int16")[0].tolist() == [-32768, -32768, 32767, 32767, 32767]
    write(tmp_path / "b.ogg", 7 * NOISE)
    assert np.abs(soundfile.read(tmp_path / "b.ogg")[0]).max() < 3


def test_what_exists_is_kept_unless_forced(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"a\.wav exists already.*-f"):
        write(path)
    assert path.read_bytes() == b"precious"
    write(path, force=True)
    assert soundfile.info(path).frames == len(NOISE)
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("before", [None, b"precious"])
def test_an_error_leaves_nothing_behind(tmp_path, error, before):
    path = tmp_path / "a.wav"
    if before:
        path.write_bytes(before)
    with pytest.raises(error), SoundWriter(path, SAMPLE_RATE, len(NOISE), force=True) as writer:
        writer.write(NOISE[:100])
        assert len(os.listdir(tmp_path)) == (2 if before else 1)
        raise error
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_another_number_of_samples_than_announced_is_a_defect(tmp_path):
    with pytest.raises(ValueError, match="1 of the announced samples"), SoundWriter(tmp_path / "a.wav", 8000, 5) as out:
        out.write(NOISE[:4])
    assert os.listdir(tmp_path) == []


def test_a_file_that_appears_in_the_meantime_is_kept(tmp_path):
    path = tmp_path / "a.wav"
    with pytest.raises(UsageError), SoundWriter(path, SAMPLE_RATE, 3) as writer:
        writer.write(NOISE[:3])
        path.write_bytes(b"precious")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"precious"]


@pytest.mark.parametrize("name", ["a", "a.svq", "a.txt", "a.wav.gz"])
def test_unknown_suffixes(tmp_path, name):
    with pytest.raises(UsageError, match=r"use one of \.wav"):
        write(tmp_path / name)


def test_lengths_beyond_32_bits(tmp_path):
    length = 86_400 * 48_000
    for name in ("a.aiff", "a.au"):
        with pytest.raises(UsageError, match=r"4 GB.*\.flac"):
            SoundWriter(tmp_path / name, 48_000, length)
    with suppress(RuntimeError), SoundWriter(tmp_path / "a.wav", 48_000, length) as writer:
        writer.write(NOISE)
        (part,) = tmp_path.iterdir()
        assert part.read_bytes()[:4] == b"RF64"
        raise RuntimeError


def test_output_paths_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    for path, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "a.svq", "There is no folder"),
        (tmp_path / "file" / "a.svq", "There is no folder"),
        (tmp_path / "file", "exists already"),
    ]:
        with pytest.raises(UsageError, match=message):
            check_output(path)
        with pytest.raises(UsageError, match=message):
            write_file(path, b"")
    check_output("-")
    check_output(tmp_path / "file", force=True)
    assert os.listdir(tmp_path) == ["file"]


def test_permissions_and_links(tmp_path):
    mask = os.umask(0o027)
    try:
        write_file(tmp_path / "a.svq", b"new")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.svq").stat().st_mode) == 0o640
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "real.svq")
    write_file(tmp_path / "link", b"through")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "real.svq").read_bytes() == b"through"
    name = "x" * 251 + ".svq"
    write_file(tmp_path / name, b"longest name")
    assert (tmp_path / name).read_bytes() == b"longest name"


def test_what_is_no_plain_file_gets_a_copy(tmp_path):
    write_file("/dev/null", b"gone")
    assert not os.path.isfile("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_file(tmp_path / "pipe", b"sent")
    reader.join()
    assert received == [b"sent"]
    assert os.listdir(tmp_path) == ["pipe"]


def test_failure_to_put_in_place(tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(SpecVQError, match=r"a\.svq could not be written \(input/output error\)"):
        write_file(tmp_path / "a.svq", b"data")
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_body_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError), output_file(tmp_path / "a.svq"):
        open(tmp_path / "nothing")


WRITE_STDOUT = """
import numpy as np
from specvq_codec.audio import SoundWriter
with SoundWriter("-", 22050, 1000) as writer:
    writer.write(np.full(1000, 0.5))
    print(end="", flush=True)
"""


def test_standard_output(tmp_path):
    run = subprocess.run([sys.executable, "-c", WRITE_STDOUT], capture_output=True, check=True)
    samples, rate = soundfile.read(io.BytesIO(run.stdout))
    assert rate == 22050
    np.testing.assert_array_equal(samples, np.full(1000, 0.5))
    assert int.from_bytes(run.stdout[4:8], "little") == len(run.stdout) - 8


FULL_DISK = """
import resource, signal, sys
import numpy as np
from specvq_codec.audio import SoundWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with SoundWriter(sys.argv[1], 22050, 1_000_000) as writer:
    writer.write(np.random.default_rng(0).uniform(-1, 1, 1_000_000))
"""


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_full_disk(tmp_path, name):
    run = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path / name], capture_output=True)
    assert b"SpecVQError" in run.stderr and b"could not be written" in run.stderr
    assert os.listdir(tmp_path) == []
