import numpy as np
import pytest
from programs import write_program, write_programs

from specvq_codec import UsageError
from specvq_codec.evaluation.external import CODEC2, external_codec, ogg_payload
from specvq_codec.resampling import resampled


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The folder of the stand-ins, which is all that is on the PATH."""
    folder = write_programs(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def tone(samples: int) -> np.ndarray:
    """Low enough to go through 8 kHz, and with a beat, so that a delay shows."""
    time = np.arange(samples) / 22_050
    return (0.4 * np.sin(2 * np.pi * 440 * time) * np.sin(2 * np.pi * 3 * time)).astype(np.float32)


@pytest.mark.parametrize("name", [*(peer.name for peer in CODEC2), "opus-6k", "opus-24k"])
@pytest.mark.parametrize("samples", [1, 700, 22_050])
def test_sound_comes_back_in_time_and_in_length(programs, name, samples):
    trip = external_codec(name).round_trip(tone(samples))
    assert trip.sound.shape == (samples,) and trip.sound.dtype == np.float32
    assert np.abs(trip.sound - tone(samples)).max() < (1e-3 if name.startswith("opus") else 0.05)
    assert trip.encode_seconds > 0 and trip.decode_seconds > 0


@pytest.mark.parametrize("name, bits", [("codec2-700c", 28 * 26), ("codec2-3200", 64 * 51)])
def test_a_frame_of_codec2_is_no_larger_than_its_bits(programs, name, bits):
    # one second and the delay: 8250 samples are 26 frames of 320, and 8150 are 51 of 160
    assert external_codec(name).round_trip(tone(22_050)).bits == bits


@pytest.mark.parametrize("name, kilobits", [("opus-6k", 6), ("opus-12k", 12)])
def test_only_packets_of_sound_count(programs, name, kilobits):
    assert external_codec(name).round_trip(tone(22_050)).bits == 8 * (255 + kilobits + 300)


def test_clipping_stays_clipping(programs):
    loud = 3.0 * tone(22_050)
    trip = external_codec("opus-6k").round_trip(loud)
    assert np.abs(trip.sound - loud.clip(-1, 1)).max() < 1e-3
    narrow = external_codec("codec2-3200").round_trip(loud).sound
    wanted = np.concatenate(list(resampled([loud], 22_050, 8000))).clip(-1, 1)
    wanted = np.concatenate(list(resampled([wanted], 8000, 22_050)))
    assert np.abs(narrow - wanted)[1000:-1000].max() < 1e-2


@pytest.mark.parametrize("name", ["mp3-128k", "opus-5k", "opus-257k", "opus-6k-"])
def test_unknown_codecs_are_refused(name):
    with pytest.raises(UsageError, match=r"codec2-700c.*opus-6k"):
        external_codec(name)


@pytest.mark.parametrize("name, package", [("codec2-700c", "codec2"), ("opus-6k", "opus-tools")])
def test_absent_programs_are_named_with_their_package(tmp_path, monkeypatch, name, package):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=f"apt-get install {package}"):
        external_codec(name)


def test_a_program_that_fails_is_quoted(programs):
    write_program(programs, "c2dec", "sys.exit('\\nno such mode here')")
    with pytest.raises(UsageError, match=r"c2dec failed \(no such mode here\)"):
        external_codec("codec2-700c").round_trip(tone(1000))
    write_program(programs, "c2dec", "sys.exit(7)")
    with pytest.raises(UsageError, match=r"c2dec failed \(7\)"):
        external_codec("codec2-700c").round_trip(tone(1000))


@pytest.mark.parametrize("data", [b"RIFF" + bytes(40), b"OggS", b"OggS" + bytes(30)])
def test_what_is_no_ogg_stream_is_refused(data):
    with pytest.raises(UsageError, match="Ogg"):
        ogg_payload(data)


def test_packets_that_go_on_in_the_next_page():
    def page(lacings: list[int]) -> bytes:
        return b"OggS" + bytes(22) + bytes([len(lacings), *lacings]) + bytes(sum(lacings))

    headers = page([19]) + page([60])
    assert ogg_payload(headers + page([255, 255]) + page([255, 3, 40])) == 3 * 255 + 3 + 40
    assert ogg_payload(headers) == 0
