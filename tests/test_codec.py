import dataclasses
import io

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import sound

from specvq_codec import AudioError, BitstreamError, Codec, Codes, UsageError, WeightsError
from specvq_codec.audio import AudioWarning, SoundStream, array_stream
from specvq_codec.bitstream import Coding, Header, inspect
from specvq_codec.codes import bundle_of

RATE = 22_050
WINDOWS = 100 * 4096 + 1000  # samples that take three windows


def columns(num_samples, rate):
    return Header(Coding.FIXED, bytes(4), rate, num_samples).columns


@pytest.fixture(scope="module")
def griffin_lim(tiny_bundle):
    return Codec(tiny_bundle, "cpu", "griffin-lim")


@pytest.fixture(scope="module")
def long(codec):
    """A sound of several windows, and its codes."""
    samples = sound(WINDOWS / RATE)
    return samples, codec.encode(samples)


@pytest.mark.parametrize("rate", [8_000, 11_127, 22_050, 44_100, 192_000])
@pytest.mark.parametrize("length", [1, 2, 255, 1023, 4097, 30_001])
def test_exactly_as_many_samples_out_as_in(codec, rate, length):
    codes = codec.encode(sound(1.0, RATE)[:length] if length < RATE else sound(length / RATE), sample_rate=rate)
    assert (codes.num_samples, codes.sample_rate) == (length, rate)
    assert codes.indices.shape == (columns(length, rate), 5)
    assert codes.indices.dtype == np.int16
    samples = codec.decode(codes)
    assert samples.dtype == np.float32
    assert len(samples) == max(1, int(length * RATE / rate + 0.5))
    assert len(codec.decode(codes, rate)) == length
    assert len(codec.decode(codes, 16_000)) == max(1, int(length * 16_000 / rate + 0.5))


@given(length=st.integers(1, 20_000), rate=st.integers(8_000, 192_000), wanted=st.integers(8_000, 192_000))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lengths_at_any_rate(codec, length, rate, wanted):
    codes = codec.encode(np.zeros(length, np.float32), rate)
    assert len(codes.indices) == columns(length, rate)
    assert len(codec.decode(codes, rate)) == length
    assert len(codec.decode(codes, wanted)) == max(1, (2 * length * wanted + rate) // (2 * rate))


def test_many_codes_are_used(long):
    """Or the tests here could not tell one sound from another."""
    assert len(np.unique(long[1].indices)) > 32


def test_resampling_happens_before_everything(codec):
    """A sound at another rate has the indices of that sound at the codec's rate, nearly everywhere."""
    time = np.arange(5 * 44_100) / 44_100
    samples = (0.5 * np.sin(2 * np.pi * (300 + 200 * np.sin(2 * time)) * time)).astype(np.float32)
    one, other = codec.encode(samples, 44_100), codec.encode(samples[::2], 22_050)
    assert one.indices.shape == other.indices.shape
    assert (one.indices == other.indices).mean() > 0.8


def test_channels_are_averaged(codec):
    samples = sound(2.0)
    mono = codec.encode(samples).indices
    assert np.array_equal(codec.encode(samples[None]).indices, mono)
    assert np.array_equal(codec.encode(np.stack([samples, samples])).indices, mono)
    six = np.concatenate([samples[None] * weight for weight in (2, 0.5, 0.5, 1, 1.5, 0.5)])
    assert np.array_equal(codec.encode(six).indices, mono)
    assert not np.array_equal(codec.encode(np.stack([samples, -samples])).indices, mono)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16, np.int32, np.uint8])
def test_numpy_and_torch_of_every_type(codec, kind):
    exact = np.round(sound(1.0) * 100) / 128  # every type can hold it
    scale = {"i": 2.0 ** (8 * np.dtype(kind).itemsize - 1), "u": 128.0, "f": 1.0}[np.dtype(kind).kind]
    samples = (exact * scale + (128 if kind is np.uint8 else 0)).astype(kind)
    wanted = codec.encode(exact.astype(np.float32)).indices
    assert np.array_equal(codec.encode(samples).indices, wanted)
    assert np.array_equal(codec.encode(torch.from_numpy(samples)).indices, wanted)


def test_torch_tensors_that_need_gradients_and_lists(codec):
    samples = sound(0.5)
    wanted = codec.encode(samples).indices
    assert np.array_equal(codec.encode(torch.from_numpy(samples).requires_grad_()).indices, wanted)
    assert np.array_equal(codec.encode(samples.tolist()).indices, wanted)
    assert np.array_equal(codec.encode(np.repeat(samples, 2)[::2]).indices, wanted)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.25, 1e-30, 100.0])
def test_silence_and_constants(codec, griffin_lim, value):
    codes = codec.encode(np.full(50_000, value, np.float32))
    for decoder in (codec, griffin_lim):
        samples = decoder.decode(codes)
        assert len(samples) == 50_000
        assert np.isfinite(samples).all() and np.abs(samples).max() <= 1


def test_what_is_not_a_number_is_silence(codec):
    samples = sound(1.0)
    clean = samples.copy()
    clean[1000:2000] = 0
    samples[1000:1500], samples[1500:2000] = np.nan, np.inf
    with pytest.warns(AudioWarning, match="replaced by silence"):
        codes = codec.encode(samples)
    assert codes == codec.encode(clean)


def test_output_is_clipped_also_after_resampling(griffin_lim):
    loud = np.sign(np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
    codes = griffin_lim.encode(loud)
    for rate in (8_000, 22_050, 44_100):
        assert np.abs(griffin_lim.decode(codes, rate)).max() <= 1


def test_batches_are_bit_equal_to_single_sounds(codec):
    batch = np.stack([sound(6.0, seed=seed) for seed in range(2)])
    singles = [codec.encode(samples) for samples in batch]
    for given_batch in (batch, torch.from_numpy(batch), batch[:, None], list(batch)):
        assert codec.encode_batch(given_batch) == singles
    decoded = codec.decode_batch(singles, 16_000)
    for samples, codes in zip(decoded, singles, strict=True):
        assert np.array_equal(samples, codec.decode(codes, 16_000))
    with pytest.raises(UsageError, match="encode_batch"):
        codec.encode_batch("in.wav")
    with pytest.raises(UsageError, match="decode_batch takes several"):
        codec.decode_batch(singles[0])


def stream_of(samples, rate, sizes):
    """A stream that hands out blocks of the given sizes, again and again."""

    def blocks():
        position, number = 0, 0
        while position < len(samples):
            size = sizes[number % len(sizes)]
            yield samples[position : position + size, None]
            position, number = position + size, number + 1

    return SoundStream("a stream", rate, 1, None, blocks())


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize("sizes", [[1_000_000], [4096], [151_552], [1, 60_000, 7]])
def test_block_sizes_have_no_influence(codec, long, rate, sizes):
    samples = long[0]
    wanted = codec.encode(samples, rate).indices
    found = np.concatenate(list(codec.encode_stream(stream_of(samples, rate, sizes))))
    assert np.array_equal(found, wanted)


def test_a_stream_of_parts_is_the_whole(codec, griffin_lim, long):
    samples, codes = long
    parts = list(codec.encode_stream(array_stream(samples, RATE)))
    assert len(parts) == 3
    assert np.array_equal(np.concatenate(parts), codes.indices)
    for decoder in (codec, griffin_lim):
        blocks = list(decoder.decode_stream(codes, 44_100))
        assert len(blocks) > 2 and max(map(len, blocks)) < 60 * 8192 + 10_000
        assert np.array_equal(np.concatenate(blocks), decoder.decode(codes, 44_100))


def test_neighbours_beyond_the_context_have_no_influence(codec, long):
    """What happens in the last five seconds does not change what the first window gives."""
    samples, codes = long
    changed = samples.copy()
    changed[75 * 4096 :] *= 0.1
    indices = codec.encode(changed).indices
    assert np.array_equal(indices[:45], codes.indices[:45])
    assert not np.array_equal(indices[75:], codes.indices[75:])


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "FLOAT"), ("wav", "PCM_16"), ("flac", "PCM_24")])
def test_files_are_encoded_like_arrays(codec, tmp_path, suffix, subtype):
    stereo = np.stack([sound(1.5, 32_000, seed) for seed in range(2)])
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, stereo.T, 32_000, subtype)
    as_read, rate = soundfile.read(path, dtype="float32")
    wanted = codec.encode(as_read.T, rate)
    assert (wanted.sample_rate, wanted.num_samples) == (32_000, 48_000)
    assert codec.encode(path) == codec.encode(str(path)) == wanted
    assert codec.encode(io.BytesIO(path.read_bytes())) == wanted
    assert codec.encode_batch([path, path]) == [wanted, wanted]


def test_a_file_knows_its_rate(codec, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(0.1), RATE)
    with pytest.raises(BitstreamError, match="cannot be read"):
        codec.decode("null\0character.svq")
    with pytest.raises(UsageError, match="cannot be written"):
        codec.encode(sound(0.1)).save("null\0character.svq")
    with pytest.raises(UsageError, match="sample_rate is for samples"):
        codec.encode(tmp_path / "a.wav", 44_100)


@pytest.mark.parametrize("rate", [0, 7_999, 192_001, -1, 22_050.5, "44100"])
def test_rates_that_no_sound_has(codec, rate):
    with pytest.raises(AudioError, match="sample rate"):
        codec.encode(sound(0.1), rate)
    with pytest.raises(UsageError, match="rate"):
        codec.decode(codec.encode(sound(0.1)), rate)


@pytest.mark.parametrize("rate", [16_000.0, np.int32(16_000), np.float32(16_000)])
def test_whole_rates_of_any_type(codec, rate):
    codes = codec.encode(sound(0.1), rate)
    assert codes.sample_rate == 16_000 and codes == codec.encode(sound(0.1), 16_000)
    assert len(codec.decode(codes, rate)) == codes.num_samples


@pytest.mark.parametrize("entropy", ["auto", "fixed", "static"])
def test_codes_survive_bytes_and_files(codec, tmp_path, entropy):
    codes = codec.encode(sound(1.0, 44_100), 44_100)
    data = codes.to_bytes(entropy)
    assert Codes.from_bytes(data, codec.bundle) == codes
    path = tmp_path / "a.svq"
    codes.save(path, entropy)
    assert path.read_bytes() == data
    assert Codes.load(path, str(codec.bundle.path)) == codes
    with pytest.raises(UsageError, match="exists already"):
        codes.save(path)
    codes.save(path, force=True)
    assert np.array_equal(codec.decode(path), codec.decode(codes))
    assert np.array_equal(codec.decode(str(path)), codec.decode(codes))


def test_codes_are_found_their_weights(codec, long, monkeypatch):
    monkeypatch.setenv("SPECVQ_WEIGHTS", str(codec.bundle.path))
    data = long[1].to_bytes()
    assert bundle_of(data).fingerprint == codec.bundle.fingerprint
    assert Codes.from_bytes(data) == long[1]


def test_the_bitrate_is_that_of_the_file(codec, tmp_path):
    codes = codec.encode(sound(10.0))
    assert codes.duration == 10.0
    codes.save(tmp_path / "a.svq")
    assert codes.bitrate == 8 * (tmp_path / "a.svq").stat().st_size / 10.0
    assert 150 < codes.bitrate < 200  # 54 columns of five indices of six bits, and the header


def test_equality_of_codes(codec):
    codes = codec.encode(sound(0.5))
    assert codes == dataclasses.replace(codes)
    assert codes != dataclasses.replace(codes, sample_rate=44_100)
    assert codes != dataclasses.replace(codes, lost=((0, 1),))
    assert codes != dataclasses.replace(codes, indices=(codes.indices + 1) % 64)
    assert codes != "codes"


def test_other_weights_are_named(codec, other_bundle, long):
    other = Codec(other_bundle, "cpu")
    marks = codec.bundle.fingerprint.hex()[:8], other_bundle.fingerprint.hex()[:8]
    attempts = [
        lambda: other.decode(long[1]),
        lambda: other.spectrogram(long[1]),
        lambda: Codes.from_bytes(long[1].to_bytes(), other_bundle),
    ]
    for attempt in attempts:
        with pytest.raises(WeightsError, match=f"{marks[0]}.*{marks[1]}"):
            attempt()


def test_the_spectrogram_is_what_the_vocoder_gets(codec, long):
    mel = codec.spectrogram(long[1])
    assert mel.shape == (80, 16 * len(long[1].indices)) and mel.dtype == np.float32
    assert mel.min() >= 0 and mel.max() <= 1
    made = np.concatenate(list(codec.vocode([torch.from_numpy(mel)])))
    assert np.allclose(made[:WINDOWS], codec.decode(long[1]), atol=1e-5)


def test_griffin_lim_is_another_vocoder_and_always_gives_the_same(griffin_lim, codec):
    assert griffin_lim.vocoder is None and codec.vocoder is not None
    codes = codec.encode(sound(1.0))
    samples = griffin_lim.decode(codes)
    assert len(samples) == RATE
    assert np.array_equal(samples, griffin_lim.decode(codes))
    assert not np.allclose(samples, codec.decode(codes), atol=0.01)


@pytest.mark.parametrize("vocoder", ["melgan", "griffin-lim"])
def test_lost_columns_are_silent(tiny_bundle, codec, long, vocoder):
    codes = dataclasses.replace(long[1], lost=((0, 10), (60, 63), (99, 101)))
    decoder = Codec(tiny_bundle, "cpu", vocoder)
    samples = decoder.decode(codes)
    assert len(samples) == WINDOWS
    assert not samples[: 10 * 4096].any() and not samples[60 * 4096 : 63 * 4096].any()
    assert not samples[99 * 4096 :].any()
    for kept in (samples[10 * 4096 : 60 * 4096], samples[63 * 4096 : 99 * 4096]):
        assert kept[::512].any()
    mel = codec.spectrogram(codes)
    assert not mel[:, 60 * 16 : 63 * 16].any() and mel[:, 40 * 16].any()


def test_a_minute_and_damage_in_one_of_its_blocks(codec):
    codes = codec.encode(sound(60.0, 44_100), 44_100)
    assert codes.duration == 60.0
    data = bytearray(codes.to_bytes("fixed"))
    assert inspect(bytes(data)).blocks == 2
    assert Codes.from_bytes(bytes(data), codec.bundle) == codes
    data[-10] ^= 1
    with pytest.raises(BitstreamError, match="block 2 of 2"):
        Codes.from_bytes(bytes(data), codec.bundle)
    left = Codes.from_bytes(bytes(data), codec.bundle, lenient=True)
    assert left.lost == ((256, 323),)
    assert np.array_equal(left.indices[:256], codes.indices[:256])
    samples = codec.decode(left, 44_100)
    assert len(samples) == 60 * 44_100
    assert not samples[256 * 8192 + 4096 :].any()  # the resampler rings a little before
    with pytest.raises(UsageError, match="lost columns"):
        left.to_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.zeros((10, 5), np.int16)},
        {"indices": np.zeros((3, 4), np.int16)},
        {"indices": np.zeros((3, 5))},
        {"indices": np.full((3, 5), 64)},
        {"indices": np.full((3, 5), -1)},
        {"indices": np.zeros((0, 5), np.int16)},
        {"num_samples": 0},
        {"num_samples": 10**9},
        {"sample_rate": 0},
    ],
    ids=str,
)
def test_codes_that_make_no_sense_are_refused(codec, change):
    codes = dataclasses.replace(codec.encode(sound(0.5)), **change)
    with pytest.raises(UsageError):
        codec.decode(codes)
    with pytest.raises(UsageError):
        codes.to_bytes()


def test_indices_of_any_integer_type_are_decoded(codec):
    codes = codec.encode(sound(0.5))
    for kind in (np.int64, np.uint8):
        other = dataclasses.replace(codes, indices=codes.indices.astype(kind))
        assert np.array_equal(codec.decode(other), codec.decode(codes))
        assert other.to_bytes() == codes.to_bytes()


@pytest.mark.parametrize("codes", [np.zeros((3, 5), np.int16), None, io.BytesIO(b"SVQ")])
def test_decode_says_what_it_takes(codec, codes):
    with pytest.raises(UsageError, match="decode takes Codes"):
        codec.decode(codes)


@pytest.mark.parametrize("data", [b"", b"SVQ", b"RIFF" * 100, b"SVQ\x40" + bytes(20)])
def test_bytes_that_are_no_file(codec, data):
    for lenient in (False, True):
        with pytest.raises(BitstreamError):
            Codes.from_bytes(data, codec.bundle, lenient)


def test_a_file_that_is_not_there(codec, tmp_path):
    with pytest.raises(BitstreamError, match="cannot be read"):
        codec.decode(tmp_path / "absent.svq")
    with pytest.raises(AudioError, match="There is no file"):
        codec.encode(tmp_path / "absent.wav")
