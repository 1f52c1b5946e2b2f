"""The adapters of neural codecs, with stand-ins for the packages that check how they are called."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from packs import write_pack
from tiny import write_tiny_bundle

from specvq_codec import UsageError
from specvq_codec.evaluation.external import external_codec
from specvq_codec.evaluation.neural_codecs import NEURAL_CODECS, neural_codec

CPU = torch.device("cpu")


class Network:
    """Keeps the sound itself as the codes' companion, and gives back more than went in, as real ones do."""

    def __init__(self, rate, hop):
        self.sample_rate = self.sampling_rate = rate
        self.codebook_size, self.bits_per_codebook = 1024, 10
        self.hop, self.seen = hop, []

    def to(self, device):
        assert device == CPU
        return self

    def eval(self):
        return self

    def frames(self, sound):
        assert sound.ndim == 3 and sound.shape[:2] == (1, 1) and sound.dtype == torch.float32
        assert not torch.is_grad_enabled()
        self.seen.append(sound)
        return -(-sound.shape[-1] // self.hop)

    def late(self, sound):
        return torch.nn.functional.pad(sound, (0, self.hop))


class FakeEncodec(Network):
    def set_target_bandwidth(self, kilobits):
        self.books = {1.5: 2, 3.0: 4, 6.0: 8, 12.0: 16, 24.0: 32}[kilobits]

    def encode(self, sound):
        return [(torch.zeros(1, self.books, self.frames(sound), dtype=torch.int64), None)]

    def decode(self, frames):
        ((codes, scale),) = frames
        assert codes.shape[1] == self.books and scale is None
        return self.late(self.seen[-1])


class FakeDac(Network):
    def preprocess(self, sound, rate):
        assert rate == self.sample_rate
        return torch.nn.functional.pad(sound, (0, -sound.shape[-1] % self.hop))

    def encode(self, sound):
        codes = torch.zeros(1, 9, self.frames(sound), dtype=torch.int64)
        return sound, codes, torch.zeros(1, 72, codes.shape[2]), torch.zeros(()), torch.zeros(())

    def decode(self, latents):
        return latents[..., :-7]


class FakeSnac(Network):
    def encode(self, sound):
        self.codebook_size = 4096
        count = -(-self.frames(sound) // 4)
        return [torch.zeros(1, count * stride, dtype=torch.int64) for stride in (1, 2, 4)]

    def decode(self, codes):
        assert [code.shape[1] // codes[0].shape[1] for code in codes] == [1, 2, 4]
        return self.late(self.seen[-1]) + 1e-4 * torch.randn(self.late(self.seen[-1]).shape)


@pytest.fixture
def packages(monkeypatch):
    """Stand-ins for the packages, which also talk on stdout; returns what was asked of them."""
    asked = []

    def noisily(network, what):
        print("Loading weights ...")
        asked.append(what)
        return network

    encodec = SimpleNamespace(encodec_model_24khz=lambda: noisily(FakeEncodec(24_000, 320), "24khz"))
    snac = SimpleNamespace(from_pretrained=lambda name: noisily(FakeSnac(24_000, 512), name))
    dac = SimpleNamespace(
        DAC=SimpleNamespace(load=lambda path: noisily(FakeDac(44_100, 512), path)),
        utils=SimpleNamespace(download=lambda model_type: f"weights of {model_type}"),
    )
    monkeypatch.setitem(sys.modules, "encodec", SimpleNamespace(EncodecModel=encodec))
    monkeypatch.setitem(sys.modules, "snac", SimpleNamespace(SNAC=snac))
    monkeypatch.setitem(sys.modules, "dac", dac)
    return asked


def tone(samples: int) -> np.ndarray:
    time = np.arange(samples) / 22_050
    return (0.4 * np.sin(2 * np.pi * 440 * time) * np.sin(2 * np.pi * 3 * time)).astype(np.float32)


@pytest.mark.parametrize("name", NEURAL_CODECS)
@pytest.mark.parametrize("samples", [1, 700, 22_050])
def test_sound_comes_back_in_time_and_in_length(packages, name, samples):
    trip = neural_codec(name, CPU).round_trip(tone(samples))
    assert trip.sound.shape == (samples,) and trip.sound.dtype == np.float32
    assert np.abs(trip.sound - tone(samples)).max() < 0.02
    assert trip.encode_seconds > 0 and trip.decode_seconds > 0 and trip.bits > 0


@pytest.mark.parametrize(
    "name, bits",
    [
        ("encodec", 75 * 2 * 10),
        ("encodec-24k", 75 * 32 * 10),
        ("dac", 87 * 9 * 10),  # 44,100 samples are 86.1 hops
        ("snac", 12 * (1 + 2 + 4) * 12),  # 24,000 are 46.9, in fours
    ],
)
def test_bits_are_those_of_the_indices(packages, name, bits):
    assert neural_codec(name, CPU).round_trip(tone(22_050)).bits == bits


def test_noise_is_the_same_every_time(packages):
    codec = neural_codec("snac", CPU)
    state = torch.random.get_rng_state()
    assert np.array_equal(codec.round_trip(tone(3000)).sound, codec.round_trip(tone(3000)).sound)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_right_weights_are_loaded_and_stdout_stays_clean(packages, capsys):
    for name in ("encodec", "dac", "snac", "snac-32khz", "snac-44khz"):
        neural_codec(name, CPU)
    assert packages == ["24khz", "weights of 44khz", *(f"hubertsiuzdak/snac_{rate}khz" for rate in (24, 32, 44))]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", NEURAL_CODECS)
def test_absent_packages_are_named(monkeypatch, name):
    for module in ("encodec", "dac", "snac"):
        monkeypatch.setitem(sys.modules, module, None)
    package = {"encodec": "encodec", "dac": "descript-audio-codec", "snac": "snac"}[name.split("-")[0]]
    with pytest.raises(UsageError, match=f"pip install {package}, or leave {name} out"):
        neural_codec(name, CPU)


def test_absent_weights_are_told(packages, monkeypatch):
    def fail(**_):
        raise OSError("name resolution failed")

    monkeypatch.setattr(sys.modules["dac"].utils, "download", fail)
    with pytest.raises(UsageError, match=r"weights of dac could not be loaded \(name resolution failed\)"):
        neural_codec("dac", CPU)


def test_a_network_that_fails_is_quoted(packages, monkeypatch):
    def fail(self, sound):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(FakeEncodec, "encode", fail)
    with pytest.raises(UsageError, match=r"encodec failed \(out of memory\)"):
        neural_codec("encodec", CPU).round_trip(tone(1000))


def test_they_are_named_where_a_codec_is_unknown():
    with pytest.raises(UsageError, match="encodec, dac, snac"):
        external_codec("lyra")


FAKE = """
import sys, types, torch
class SNAC:
    sampling_rate, codebook_size = 24_000, 4096
    from_pretrained = classmethod(lambda kind, name: kind())
    to = lambda self, device: self
    eval = lambda self: self
    encode = lambda self, sound: [sound]
    decode = lambda self, codes: codes[0]
sys.modules["snac"] = types.SimpleNamespace(SNAC=SNAC)
from specvq_codec.cli import main
main()
"""


def test_a_row_of_the_table(tmp_path):
    write_tiny_bundle(tmp_path / "tiny")
    write_pack(tmp_path / "pack")
    options = ("--weights", "tiny", "--vocoder", "griffin-lim", "--peers", "snac", "--json")
    command = [sys.executable, "-c", FAKE, "evaluate", "reconstruction", "pack", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["sections"][0]["rows"][-1]
    assert row["name"] == "snac" and 0 < row["log_mel_l1"] < 0.02
    assert row["bits_per_second"] == pytest.approx(24_000 * 12, rel=0.02)
