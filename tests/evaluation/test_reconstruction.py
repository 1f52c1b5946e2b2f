import numpy as np
import pytest
import torch
from packs import write_pack
from tiny import AUTOENCODER, write_tiny_bundle

from specvq_codec.codec import Codec
from specvq_codec.evaluation.reconstruction import evaluate, fit_peers, spectrogram_l1, spectrogram_of, spread
from specvq_codec.training.data import Pack

ROWS = [
    "codec, melgan",
    "codec, griffin-lim",
    "melgan on the original spectrogram",
    "griffin-lim on the original spectrogram",
    "k-means patches, one codebook",
    "k-means patches, a codebook per mel row",
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Codecs, peers, recordings, and what the evaluation says of them."""
    folder = tmp_path_factory.mktemp("evaluation")
    bundle = write_tiny_bundle(folder / "tiny")
    pack = write_pack(folder / "pack")
    codecs = {name: Codec(bundle, "cpu", name) for name in ("melgan", "griffin-lim")}
    peers = fit_peers(Pack(pack, "train"), AUTOENCODER.codebook_size)
    recordings = list(Pack(pack, "test"))
    return codecs, peers, recordings, evaluate(codecs, peers, recordings)


def test_sections_and_rows(measured):
    _, _, recordings, sections = measured
    assert [section.domain for section in sections] == ["all", "music", "sound"]
    assert [section.recordings for section in sections] == [3, 1, 2]
    assert sections[0].seconds == pytest.approx(sum(len(waveform) for _, waveform in recordings) / 22_050)
    for section in sections:
        assert [row.name for row in section.rows] == ROWS
        for row in section.rows:
            assert row.log_mel_l1 > 0 and row.stft > 0
            assert (row.bits_per_second is None) == (row.usage is None) == ("original" in row.name)


def test_order_does_not_matter(measured):
    codecs, peers, recordings, sections = measured
    assert evaluate(codecs, peers, recordings[::-1]) == sections


def test_a_domain_is_its_recordings_alone(measured):
    codecs, peers, recordings, sections = measured
    music = [recording for recording in recordings if recording[0].domain == "music"]
    assert evaluate(codecs, peers, music)[0].rows == sections[1].rows


def test_rates(measured):
    codecs, _, recordings, sections = measured
    codec_row, *_, peer_row = sections[0].rows
    bits = sum(8 * len(codecs["melgan"].encode(waveform).to_bytes()) for _, waveform in recordings)
    assert codec_row.bits_per_second == pytest.approx(bits / sections[0].seconds)
    columns = sum(-(-len(waveform) // 4096) for _, waveform in recordings)
    assert peer_row.bits_per_second == pytest.approx(columns * 5 * 6 / sections[0].seconds)  # 64 codewords


def test_peers_are_much_closer_than_random_networks(measured):
    first = measured[3][0].rows[0]
    for peer in measured[3][0].rows[-2:]:
        assert 0 < peer.spectrogram_l1 < first.spectrogram_l1


def test_vocode_is_what_decode_gives(measured):
    for codec in measured[0].values():
        waveform = measured[2][0][1]
        codes = codec.encode(waveform)
        mel = torch.from_numpy(codec.spectrogram(codes))
        assert np.array_equal(np.concatenate(list(codec.vocode([mel])))[: len(waveform)], codec.decode(codes))


def test_frames_beyond_the_recording_do_not_count(measured):
    waveform = measured[2][0][1][:1000]
    mel = spectrogram_of(waveform)
    assert mel.shape == (80, 16)
    other = mel.clone()
    other[:, 4:] += 0.5  # frame 4 is centred on sample 1024
    assert spectrogram_l1(other, mel, len(waveform)) == 0.0
    other[:, 3] += 0.5
    assert spectrogram_l1(other, mel, len(waveform)) == pytest.approx(0.125)


def test_a_limit_takes_recordings_from_everywhere():
    assert spread(range(10), None) == list(range(10))
    assert spread(range(10), 20) == list(range(10))
    assert spread(range(10), 3) == [0, 3, 6]
