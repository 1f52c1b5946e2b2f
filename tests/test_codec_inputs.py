"""What the codec takes: codes and sounds from wherever they are, and no more than a file holds."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tiny import sound

from specvq_codec import UsageError
from specvq_codec.audio import SoundStream, open_sound


def test_codes_are_decoded_from_wherever_they_are(codec, tmp_path):
    codes = codec.encode(sound(0.5))
    codes.save(tmp_path / "a.svq")
    wanted = codec.decode(codes)
    for same in (tmp_path / "a.svq", str(tmp_path / "a.svq"), codes.to_bytes(), pickle.loads(pickle.dumps(codes))):
        assert np.array_equal(codec.decode(same), wanted)
        assert np.array_equal(np.concatenate(list(codec.decode_stream(same))), wanted)


def test_streams_take_what_is_encoded(codec, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(0.5, 44_100), 44_100)
    wanted = codec.encode(tmp_path / "a.wav").indices
    for parts in (codec.encode_stream(tmp_path / "a.wav"), codec.encode_stream(open_sound(tmp_path / "a.wav"))):
        assert np.array_equal(np.concatenate(list(parts)), wanted)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert np.array_equal(np.concatenate(list(codec.encode_stream(samples, 44_100))), wanted)


@pytest.mark.parametrize("target_bps", [None, 100.0])
@pytest.mark.parametrize(("announced", "is_estimate"), [(None, False), (8000 * 61, False), (8000 * 61, True)])
def test_more_than_a_file_holds_is_refused_at_once(codec, monkeypatch, announced, is_estimate, target_bps):
    """Before anything is encoded where the length is known, and else when it is reached."""
    monkeypatch.setattr("specvq_codec.bitstream.header.MAX_SECONDS", 60)
    given = 0

    def blocks():
        nonlocal given
        for _ in range(100):
            given += 1
            yield np.zeros((8000, 1), np.float32)

    stream = SoundStream("long", 8000, 1, announced, blocks())
    stream.is_estimate = is_estimate
    monkeypatch.setattr(codec, "model", SimpleNamespace(prior="there"))  # whose bits are not asked for
    with pytest.raises(UsageError, match="is not within 1 sample to 0 hours"):
        codec.encode_opened(stream, target_bps)
    assert given == 0 if announced and not is_estimate else 60 < given < 80
