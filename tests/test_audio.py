"""Sound in: every format, rate, shape and kind of damage has a defined outcome, and memory is bounded."""

import io
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from sounds import tone, wav_bytes, whole

from specvq_codec import audio
from specvq_codec.audio import (
    SAMPLE_RATE,
    AudioWarning,
    array_stream,
    blocks_of,
    open_sound,
    resampled,
    resampled_length,
)
from specvq_codec.bitstream.errors import AudioError

RNG = np.random.default_rng(2)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 2**-7),
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_32", 2**-23),
        ("a.wav", "FLOAT", 2**-24),
        ("a.wav", "DOUBLE", 2**-24),
        ("a.wav", "ULAW", 0.02),
        ("a.wav", "IMA_ADPCM", 0.3),
        ("a.flac", "PCM_16", 2**-15),
        ("a.flac", "PCM_24", 2**-23),
        ("a.aiff", "PCM_16", 2**-15),
        ("a.caf", "PCM_16", 2**-15),
        ("a.caf", "ALAC_16", 2**-15),
        ("a.w64", "FLOAT", 2**-24),
        ("a.rf64", "PCM_16", 2**-15),
        ("a.au", "PCM_16", 2**-15),
        ("a.ogg", "VORBIS", 0.1),
        ("a.mp3", "MPEG_LAYER_III", 0.2),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format(tmp_path, name, subtype, tolerance, channels):
    samples = tone(100_000, 44100, channels)
    soundfile.write(tmp_path / name, samples, 44100, subtype=subtype)
    with open_sound(tmp_path / name) as stream:
        assert (stream.sample_rate, stream.channels, stream.num_samples) == (44100, channels, 0)
        blocks = list(stream)
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    read = np.concatenate(blocks)
    assert stream.num_samples == len(read) == stream.expected_samples
    assert len(read) == 100_000 or (subtype == "IMA_ADPCM" and 0 <= len(read) - 100_000 < 4096)  # it has whole blocks
    np.testing.assert_allclose(read[:100_000], samples.mean(axis=1), atol=tolerance, rtol=0)


def test_opus(tmp_path):
    soundfile.write(tmp_path / "a.opus", tone(96_000, 48_000), 48_000, format="OGG", subtype="OPUS")
    stream = open_sound(tmp_path / "a.opus")
    assert len(whole(stream)) == 96_000
    assert stream.sample_rate == 48_000


@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_are_averaged(tmp_path, channels):
    samples = RNG.integers(-(2**15), 2**15, (70_001, channels)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="PCM_16")
    expected = (samples.astype(np.float64).mean(axis=1) / 2**15).astype(np.float32)
    np.testing.assert_array_equal(whole(open_sound(tmp_path / "a.wav")), expected)
    np.testing.assert_array_equal(whole(array_stream(samples.T, 8000)), expected)


def test_nine_channels_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 9)), 8000)
    with pytest.raises(AudioError, match=r"a\.wav has 9 channels"):
        open_sound(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="transpose"):
        array_stream(np.zeros((44100, 2)), 44100)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 47999, 48000, 96000, 192_000])
@pytest.mark.parametrize("num_samples", [1, 2, 100, 30_001])
def test_resampling_gives_the_exact_length_for_any_cut(rate, num_samples):
    samples = tone(num_samples, rate)[:, 0].astype(np.float32)
    expected = max(1, int(num_samples * SAMPLE_RATE / rate + 0.5))
    assert resampled_length(num_samples, rate, SAMPLE_RATE) == expected
    at_once = whole(resampled([samples], rate, SAMPLE_RATE))
    assert at_once.shape == (expected,)
    assert at_once.dtype == np.float32
    for size in (1, 777, 4096):
        if num_samples // size < 10_000:
            cut = [samples[i : i + size] for i in range(0, num_samples, size)]
            np.testing.assert_array_equal(whole(resampled(cut, rate, SAMPLE_RATE)), at_once)
    back = whole(resampled([at_once], SAMPLE_RATE, rate, total=num_samples))
    assert back.shape == (num_samples,)


@pytest.mark.parametrize("rate", [8000, 44100, 47999, 192_000])
def test_resampling_keeps_sound_in_place(rate):
    frequency, seconds = 1000.0, 1.5
    samples = np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)
    result = whole(resampled([samples], rate, SAMPLE_RATE))
    expected = np.sin(2 * np.pi * frequency * np.arange(len(result)) / SAMPLE_RATE)
    np.testing.assert_allclose(result[1000:-1000], expected[1000:-1000], atol=1e-4)


def test_resampling_to_a_wanted_length():
    samples = np.ones(1000, np.float32)
    np.testing.assert_array_equal(whole(resampled([samples], 8000, 8000)), samples)
    np.testing.assert_array_equal(whole(resampled([samples[:7], samples[7:]], 8000, 8000, total=10)), samples[:10])
    longer = whole(resampled([samples], 8000, 8000, total=200_000))
    assert longer.shape == (200_000,)
    assert longer.sum() == 1000
    assert len(whole(resampled([samples], 8000, 22050, total=2755))) == 2755
    assert len(whole(resampled([samples], 8000, 22050, total=2757))) == 2757


@given(sizes=st.lists(st.integers(0, 50), max_size=20), size=st.integers(1, 60))
def test_blocks_of_cuts_anew(sizes, size):
    samples = np.arange(sum(sizes), dtype=np.float32)
    blocks = list(blocks_of(np.split(samples, np.cumsum(sizes)[:-1]) if sizes else [], size))
    assert all(len(block) == size for block in blocks[:-1])
    assert all(1 <= len(block) <= size for block in blocks)
    np.testing.assert_array_equal(np.concatenate([samples[:0], *blocks]), samples)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_blocks_do_not_matter(tmp_path, monkeypatch, name, size):
    soundfile.write(tmp_path / name, tone(200_000, 44100, 2), 44100)
    expected = whole(open_sound(tmp_path / name))
    monkeypatch.setattr(audio, "_BLOCK", size)
    np.testing.assert_array_equal(whole(open_sound(tmp_path / name)), expected)


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
def test_silence_and_constants_stay(value):
    np.testing.assert_array_equal(whole(array_stream(np.full(100_000, value), 22050)), np.float32(value))


def test_one_sample(tmp_path):
    soundfile.write(tmp_path / "a.wav", [0.5], 44100)
    np.testing.assert_array_equal(whole(open_sound(tmp_path / "a.wav")), [0.5])
    np.testing.assert_array_equal(whole(array_stream([0.5], 44100)), [0.5])


def test_samples_that_are_no_numbers_become_silence(tmp_path):
    samples = np.full((200_000, 2), 0.5, np.float32)
    samples[[10, 150_000], 0] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    for stream in (open_sound(tmp_path / "a.wav"), array_stream(samples.T, 44100)):
        with pytest.warns(AudioWarning, match="not a number") as caught:
            read = whole(stream)
        assert len(caught) == 1
        np.testing.assert_array_equal(np.flatnonzero(read != 0.5), [10, 150_000])
        np.testing.assert_array_equal(read[[10, 150_000]], 0.25)


@pytest.mark.parametrize("value", [3e4, 1e30, 1e300])
def test_samples_far_beyond_full_scale_are_limited(value):
    with pytest.warns(AudioWarning):
        read = whole(array_stream(np.array([0.5, 900.0, -900.0, value, -value]), 44100))
    assert np.isfinite(read).all()
    np.testing.assert_array_equal(read[:3], [0.5, 900, -900])


def test_rate_of_a_file_is_checked(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(3), 4000)
    with pytest.raises(AudioError, match=r"a\.wav has a sample rate of 4000"):
        open_sound(tmp_path / "a.wav")
    assert array_stream(np.zeros(3), 44100.0).sample_rate == 44100
    assert array_stream(np.zeros(3), np.int64(44100)).sample_rate == 44100


@pytest.mark.parametrize("name", ["a.wav", "a.w64", "a.rf64", "a.aiff", "a.au", "a.caf", "a.flac"])
@pytest.mark.parametrize("kept", [0.0001, 0.5, 0.999])
def test_a_file_that_is_cut_short(tmp_path, name, kept):
    path = tmp_path / name
    soundfile.write(path, tone(100_000, 44100), 44100)
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(AudioError, match=name):
        whole(open_sound(path))


def test_an_mp3_that_is_cut_short_warns(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(200_000, 44100), 44100)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.warns(AudioWarning, match=r"a\.mp3 is cut short"):
        assert 0 < len(whole(open_sound(path))) < 200_000


def test_an_mp3_whose_end_is_not_read_warns(tmp_path):
    """Files put together by concatenation: libsndfile reads as far as the first one's table says."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(400_000, 44100), 44100)
    path.write_bytes(path.read_bytes() * 3)
    with pytest.warns(AudioWarning, match="bytes at the end were not read"):
        whole(open_sound(path))


@pytest.mark.parametrize("announced", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F000, 0xFFFF_FFFF - 36])
def test_a_wav_that_was_written_to_a_pipe(announced):
    data = bytearray(wav_bytes(tone(5000, 44100)))
    at = data.index(b"data") + 4
    data[at : at + 4] = announced.to_bytes(4, "little")
    assert len(whole(open_sound(io.BytesIO(data)))) == 5000


def test_a_flac_that_was_written_to_a_pipe():
    data = bytearray(wav_bytes(tone(100_000, 44100), format="FLAC"))
    expected = whole(open_sound(io.BytesIO(data)))
    data[21] &= 0xF0  # the 36 bits of the number of samples
    data[22:26] = bytes(4)
    stream = open_sound(io.BytesIO(data))
    assert stream.expected_samples is None
    np.testing.assert_array_equal(whole(stream), expected)
    with pytest.raises(AudioError, match="damaged or cut short"):
        whole(open_sound(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "a.wav"),
        (b"Dear diary,\n" * 100, "a.wav"),
        (b"Dear diary,\n" * 100, "a.mp3"),
        (b"Dear diary,\n" * 100, "a.raw"),
        (wav_bytes(np.zeros(0)), "a.wav"),
        (RNG.bytes(10_000), "a.flac"),
    ],
)
def test_files_that_hold_no_sound(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=name):
        whole(open_sound(tmp_path / name))


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(AudioError, match=r"There is no file .*a\.wav"):
        open_sound(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="is a folder"):
        open_sound(tmp_path)
    with pytest.raises(AudioError, match="binary mode"):
        open_sound(io.StringIO("text"))


def test_a_stream_is_read_once(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone(100, 44100)))
    stream = open_sound(tmp_path / "a.wav")
    assert len(whole(stream)) == 100
    with pytest.raises(AudioError, match="read already: open it again"):
        whole(stream)


def test_nothing_stays_open(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(300_000), 44100)
    soundfile.write(tmp_path / "b.wav", np.zeros((3, 9)), 44100)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else pytest.skip("needs /proc")
    for _ in range(3):
        whole(open_sound(tmp_path / "a.wav"))
        with open_sound(tmp_path / "a.wav") as stream:
            next(iter(stream))
        with pytest.raises(AudioError):
            open_sound(tmp_path / "b.wav")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("format_name", ["WAV", "FLAC", "OGG", "MP3"])
def test_named_pipe(tmp_path, format_name):
    data = wav_bytes(tone(50_000, 44100), format=format_name)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(data))
    writer.start()
    piped = whole(open_sound(tmp_path / "pipe"))
    writer.join()
    np.testing.assert_array_equal(piped, whole(open_sound(io.BytesIO(data))))


READ_STDIN = """
import sys
from specvq_codec.audio import open_sound
with open_sound("-") as stream:
    print(stream.sample_rate, sum(len(block) for block in stream))
"""


def test_standard_input(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone(50_000, 44100)))
    read = [sys.executable, "-c", READ_STDIN]
    piped = subprocess.run(read, input=(tmp_path / "a.wav").read_bytes(), capture_output=True, check=True)
    with open(tmp_path / "a.wav", "rb") as file:
        redirected = subprocess.run(read, stdin=file, capture_output=True, check=True)
    assert piped.stdout == redirected.stdout == b"44100 50000\n"
    bad = subprocess.run(read, input=b"no sound", capture_output=True)
    assert b"AudioError: The standard input is not a sound file" in bad.stderr


COUNT = """
import resource, sys
from specvq_codec.audio import open_sound, resampled
with open_sound(sys.argv[1]) as stream:
    length = sum(len(block) for block in resampled(stream, stream.sample_rate))
print(length, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Twenty minutes of stereo, 846 MB as float64 and 212 MB as 16 bit, take no more than twenty seconds do."""
    block = (tone(44100 * 20, 44100, 2) * 2**15).astype(np.int16)
    peaks = []
    for name, repetitions in (("short.wav", 1), ("long.wav", 60)):
        with soundfile.SoundFile(tmp_path / name, "w", 44100, 2, "PCM_16") as file:
            for _ in range(repetitions):
                file.write(block)
        run = subprocess.run([sys.executable, "-c", COUNT, tmp_path / name], capture_output=True, check=True)
        length, peak = map(int, run.stdout.split())
        assert length == SAMPLE_RATE * 20 * repetitions
        peaks.append(peak * (1 if sys.platform == "darwin" else 1024))
    assert peaks[1] - peaks[0] < 16e6


def test_reading_warns_about_nothing_else(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.clip(tone(1000, 44100), -1, 1), 44100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole(open_sound(tmp_path / "a.wav"))
        whole(array_stream(np.full(1000, 1.5), 44100))
