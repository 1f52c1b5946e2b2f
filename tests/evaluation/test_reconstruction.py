import dataclasses

import numpy as np
import pytest
import torch
from packs import write_pack
from tiny import AUTOENCODER, write_tiny_bundle

from specvq_codec import UsageError
from specvq_codec.codec import Codec
from specvq_codec.evaluation.external import RoundTrip
from specvq_codec.evaluation.reconstruction import SPEECH, evaluate, spectrogram_l1, spectrogram_of, spread
from specvq_codec.evaluation.systems import Decoded, ExternalSystem, Recording, bundle_systems, fit_patch_systems
from specvq_codec.training.data import Pack

ROWS = [
    "tiny, melgan",
    "tiny, griffin-lim",
    "other, griffin-lim",
    "tiny, melgan on the original spectrogram",
    "griffin-lim on the original spectrogram",
    "half",
    "k-means patches, one codebook",
    "k-means patches, a codebook per mel row",
]


class Half:
    """An external codec that makes everything quieter by 6 dB, 100 bits each, and takes its time."""

    name = "half"

    def round_trip(self, sound):
        return RoundTrip(sound * 0.5, 100, len(sound) / 22_050 / 4, len(sound) / 22_050 / 8)


@dataclasses.dataclass
class Made:
    """A system whose only row is what a function makes of a waveform and its spectrogram."""

    make: object
    names = ("made",)

    def decode(self, recording):
        yield "made", self.make(recording.waveform, recording.mel)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Bundles, systems, recordings, and what the evaluation says of them."""
    folder = tmp_path_factory.mktemp("evaluation")
    bundles = [write_tiny_bundle(folder / "tiny"), write_tiny_bundle(folder / "other", seed=1, vocoder=False)]
    pack = write_pack(folder / "pack")
    systems = bundle_systems(bundles, "cpu")
    systems += [ExternalSystem(Half()), *fit_patch_systems(Pack(pack, "train"), AUTOENCODER.codebook_size)]
    recordings = list(Pack(pack, "test"))
    return bundles, systems, recordings, evaluate(systems, recordings, speech={SPEECH})


@pytest.fixture(scope="module")
def recordings(measured):
    return measured[2]


def row_of(make, recordings, **options):
    return evaluate([Made(make)], recordings, **options)[0].rows[0]


def test_sections_and_rows(measured):
    _, _, recordings, sections = measured
    assert [section.domain for section in sections] == ["all", "music", "sound", "speech"]
    assert [section.recordings for section in sections] == [5, 1, 2, 2]
    assert sections[0].seconds == pytest.approx(sum(len(waveform) for _, waveform in recordings) / 22_050)
    for section in sections:
        assert [row.name for row in section.rows] == ROWS
        for row in section.rows:
            kind = "peer" if "k-means" in row.name else "half" if row.name == "half" else "codec"
            ceiling = "original" in row.name
            assert (row.log_mel_l1 is None) == (row.stft is None) == (row.sharpness is None) == (kind == "peer")
            assert (row.bits_per_second is None) == ceiling
            assert (row.usage is None) == (row.spectrogram_l1 is None) == (ceiling or kind == "half")
            assert (row.encode_speed is None) == (ceiling or kind == "peer")
            assert (row.decode_speed is None) == (kind == "peer")
            assert (row.stoi is None) == (kind == "peer" or section.domain in ("music", "sound"))


def test_order_does_not_matter(measured):
    _, systems, recordings, sections = measured
    assert evaluate(systems, recordings[::-1], speech={SPEECH}) == sections


def test_a_domain_is_its_recordings_alone(measured):
    _, systems, recordings, sections = measured
    music = [recording for recording in recordings if recording[0].domain == "music"]
    assert evaluate(systems, music)[0].rows == sections[1].rows


def test_rates(measured):
    bundles, _, recordings, sections = measured
    rows = {row.name: row for row in sections[0].rows}
    codec = Codec(bundles[0], "cpu")
    bits = sum(8 * len(codec.encode(waveform).to_bytes()) for _, waveform in recordings)
    assert rows["tiny, melgan"].bits_per_second == pytest.approx(bits / sections[0].seconds)
    columns = sum(-(-len(waveform) // 4096) for _, waveform in recordings)
    assert rows[ROWS[-1]].bits_per_second == pytest.approx(columns * 5 * 6 / sections[0].seconds)  # 64 codewords
    assert rows["half"].bits_per_second == pytest.approx(5 * 100 / sections[0].seconds)


def test_speeds_are_times_real_time(measured):
    half = measured[3][0].rows[5]
    assert (half.encode_speed, half.decode_speed) == (pytest.approx(4.0), pytest.approx(8.0))


def test_peers_are_much_closer_than_random_networks(measured):
    first = measured[3][0].rows[0]
    for peer in measured[3][0].rows[-2:]:
        assert 0 < peer.spectrogram_l1 < first.spectrogram_l1


def test_what_is_equal_is_equal(recordings):
    row = row_of(Decoded, recordings, speech={SPEECH})
    assert (row.spectrogram_l1, row.log_mel_l1, row.stft) == (0.0, 0.0, 0.0)
    assert (row.spectrogram_sharpness, row.sharpness, row.stoi) == (1.0, 1.0, pytest.approx(1.0))


def test_blur_is_less_sharp_and_noise_sharper(recordings):
    def blurred(width):
        def blur(waveform, mel):
            return Decoded(None, torch.nn.functional.avg_pool1d(mel, width, 1, width // 2, count_include_pad=False))

        return row_of(blur, recordings).spectrogram_sharpness

    ratios = [blurred(width) for width in (1, 3, 5, 9, 17)]
    assert ratios[0] == 1.0 and ratios == sorted(set(ratios), reverse=True)
    noise = torch.Generator().manual_seed(0)
    noisy = row_of(lambda waveform, mel: Decoded(None, mel + 0.1 * torch.rand(mel.shape, generator=noise)), recordings)
    assert noisy.spectrogram_sharpness > 1.0


def test_noise_is_less_intelligible(recordings):
    noise = torch.Generator().manual_seed(0)

    def intelligibility(level):
        def add(waveform, mel):
            return Decoded(waveform + level * torch.randn(waveform.shape, generator=noise))

        return row_of(add, recordings, speech={SPEECH}).stoi

    values = [intelligibility(level) for level in (0.0, 0.05, 0.5, 5.0)]
    assert values == sorted(set(values), reverse=True)


def test_stoi_only_where_it_is_asked_for(recordings):
    assert row_of(Decoded, recordings).stoi is None


def test_vocode_is_what_decode_gives(measured):
    bundles, systems, recordings, _ = measured
    waveform = recordings[0][1]
    rows = dict(systems[0].decode(Recording("0.wav", waveform, spectrogram_of(waveform))))
    for vocoder in ("melgan", "griffin-lim"):
        codec = Codec(bundles[0], "cpu", vocoder)
        decoded = rows[f"tiny, {vocoder}"]
        assert np.array_equal(decoded.waveform.numpy(), codec.decode(codec.encode(waveform)))


def test_one_vocoder_of_several(measured):
    systems = bundle_systems(measured[0], "cpu", "griffin-lim")
    recording = Recording("0.wav", torch.zeros(999), torch.zeros(80, 16))
    names = [name for system in systems for name, _ in system.decode(recording)]
    assert names == ["tiny, griffin-lim", "other, griffin-lim", "griffin-lim on the original spectrogram"]


def test_bundles_of_one_name_are_told_apart(measured, tmp_path):
    twin = write_tiny_bundle(tmp_path / "tiny", seed=2)
    systems = bundle_systems([measured[0][0], twin], "cpu", "griffin-lim")
    marks = [bundle.fingerprint.hex()[:8] for bundle in (measured[0][0], twin)]
    assert [name for system in systems[:2] for name in system.names] == [
        f"tiny ({mark}), griffin-lim" for mark in marks
    ]
    recordings = measured[2][:1]
    rows = [row.name for row in evaluate(systems, recordings)[0].rows]
    assert rows == [name for system in systems for name in system.names]


def test_rows_of_one_name_are_refused(recordings):
    class Unheard(Made):
        def decode(self, recording):
            raise AssertionError("nothing should be measured")

    with pytest.raises(UsageError, match="'made': leave one out, or give it another name"):
        evaluate([Unheard(Decoded), Unheard(Decoded)], recordings)


def test_a_domain_called_all_is_not_everything(recordings):
    renamed = [
        (dataclasses.replace(clip, domain="all" if clip.domain == "music" else ""), waveform)
        for clip, waveform in recordings
    ]
    sections = evaluate([Made(Decoded)], renamed)
    assert [(section.domain, section.recordings) for section in sections] == [("all", 5), ("all/", 1)]


def test_too_little_sound_for_the_codebooks(tmp_path):
    with pytest.raises(UsageError, match="pack more sound"):
        fit_patch_systems(Pack(write_pack(tmp_path / "pack"), "train"), 1024)


def test_frames_beyond_the_recording_do_not_count(recordings):
    waveform = recordings[0][1][:1000]
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
