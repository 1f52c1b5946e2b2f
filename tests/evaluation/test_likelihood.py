"""Bits per index are those of a plain computation, each index counts once, and a sampler that knows more needs less."""

import math

import pytest
import torch
from packs import LABELLED, write_pack
from sampler_cases import add_tiny_sampler
from tiny import write_tiny_bundle

from specvq_codec import Codec, UsageError
from specvq_codec.evaluation.conditioning import Conditioning
from specvq_codec.evaluation.likelihood import FREQUENCIES, UNIFORM, bits_of, likelihood, windows
from specvq_codec.models.transformer import Condition, Transformer, TransformerConfig
from specvq_codec.training.data import Pack
from specvq_codec.training.tokens import TokenPack, tokenize

CPU = torch.device("cpu")
RECORDING = torch.randint(64, (13 * 5,), generator=torch.Generator().manual_seed(0))  # one, of 13 columns


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Codec:
    """With a sampler that can be told a class."""
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    return Codec(add_tiny_sampler(bundle, num_classes=2, optional=True), "cpu", "griffin-lim")


@pytest.fixture(scope="module")
def tokens(codec, tmp_path_factory) -> TokenPack:
    folder = write_pack(tmp_path_factory.mktemp("packs") / "pack", LABELLED)
    tokenize(folder, codec.bundle, CPU)
    return TokenPack(folder, "test", codec.bundle, 6)


@pytest.fixture(scope="module")
def known(codec, tokens) -> Conditioning:
    return Conditioning(codec, tokens.pack)


def counting(columns: int) -> Transformer:
    """A sampler that is certain that k + 1 comes after k, and takes all first indices to be equally likely."""
    network = Transformer(TransformerConfig(codebook_size=64, n_layer=1, n_head=1, n_embd=64, columns=columns)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name != "ln_f.weight":
                parameter.zero_()
        network.tok_emb.weight.copy_(torch.eye(64))
        network.head.weight.copy_(10 * torch.eye(64).roll(1, 0))
    return network


@pytest.mark.parametrize("size", [1, 2, 5, 6, 53])
@pytest.mark.parametrize("columns", [1, 5, 6, 7, 54, 200])
def test_every_column_counts_once_after_half_a_window(columns, size):
    counted = []
    for number, (start, skip) in enumerate(windows(columns, size)):
        assert start >= 0 and (start + size <= columns or start == 0)
        assert skip >= size // 2 if number else skip == start == 0
        counted += range(start + skip, min(start + size, columns))
    assert counted == list(range(columns))


def test_bits_are_those_of_one_index_after_the_other(known):
    network = known.codec.sampler
    starts = [0] * 6 + [3] * 3 + [6] * 3 + [7]  # of the window of six columns that each column is in
    for condition in (Condition(), Condition(classes=torch.tensor([1]))):
        bits = 0.0
        for place, index in enumerate(RECORDING.tolist()):
            cache, logits = network.begin(condition, 1)
            before = RECORDING[5 * starts[place // 5] : place]
            if len(before):
                logits = network.step(before[None], cache)
            bits -= float(logits[0].double().log_softmax(0)[index]) / math.log(2)
        with torch.inference_mode():
            assert bits_of(network, RECORDING, condition) == pytest.approx(bits, rel=1e-5)


def test_a_sampler_that_knows_what_comes_needs_only_the_first_index(known):
    recording = (torch.arange(20 * 5) + 7) % 64
    with torch.inference_mode():
        assert bits_of(counting(53), recording, None) == pytest.approx(6.0, abs=0.1)
        assert bits_of(counting(6), recording, None) == pytest.approx(6.0, abs=0.1)
        assert bits_of(counting(53), recording.flip(0), None) > 6 * len(recording)
        assert bits_of(known.codec.sampler, recording, None) > 2 * len(recording)


def test_rows_and_domains(known, tokens):
    everything, music, sound = likelihood(known, tokens)
    assert [section.domain for section in (everything, music, sound)] == ["all", "music", "sound"]
    assert (everything.recordings, music.recordings, sound.recordings) == (4, 2, 2)
    assert music.indices == 5 * (int(2.5 * 22_050) // 4096 + int(0.9 * 22_050) // 4096)
    assert list(music.bits) == [UNIFORM, FREQUENCIES, "sampler, no condition", "sampler, class"]
    assert music.bits[UNIFORM] == sound.bits[UNIFORM] == 6.0
    model = known.codec.model
    for name, bits in everything.bits.items():
        total = music.indices * music.bits[name] + sound.indices * sound.bits[name]
        assert bits == pytest.approx(total / everything.indices)
    total = sum(model.static_bits(item.numpy().reshape(-1, 5)) for item in tokens.items)
    assert everything.bits[FREQUENCIES] == pytest.approx(total / everything.indices)
    assert music.bits["sampler, class"] != pytest.approx(music.bits["sampler, no condition"], rel=1e-3)


def test_a_domain_called_all_is_not_everything(codec, tmp_path):
    folder = write_pack(tmp_path / "pack", [("test", "all", 0.9, "bell"), ("test", "sound", 0.5, "dog")])
    tokenize(folder, codec.bundle, CPU)
    tokens = TokenPack(folder, "test", codec.bundle, 6)
    sections = likelihood(Conditioning(codec, tokens.pack), tokens)
    assert [(one.domain, one.recordings) for one in sections] == [("all", 2), ("all/", 1), ("sound", 1)]


def test_a_class_that_the_sampler_does_not_know_is_not_told(known):
    bell, _, dog, unheard = known.pack.clips
    assert list(known.kinds()) == ["no condition", "class"]
    assert known.condition(bell, ("class",)).classes == 0 and known.condition(dog, ("class",)).classes == 1
    assert known.condition(unheard, ("class",)).classes is None and known.condition(bell, ()).classes is None


def test_conditions_that_the_pack_lacks_are_left_out(tmp_path):
    pack = Pack(write_pack(tmp_path / "pack"), "test")

    def kinds(name, **settings):
        codec = Codec(add_tiny_sampler(write_tiny_bundle(tmp_path / name), **settings), "cpu", "griffin-lim")
        return list(Conditioning(codec, pack).kinds())

    assert kinds("optional", num_classes=2, feature_frames=2, feature_depth=3, optional=True) == ["no condition"]
    assert kinds("needed", num_classes=2, feature_frames=2, feature_depth=3) == ["class and features"]
    assert kinds("none") == ["no condition"]


def test_a_class_that_is_needed_and_not_known_is_told(tmp_path):
    pack = Pack(write_pack(tmp_path / "pack", LABELLED), "test")
    codec = Codec(add_tiny_sampler(write_tiny_bundle(tmp_path / "tiny"), num_classes=2), "cpu", "griffin-lim")
    with pytest.raises(UsageError, match="does not know 'unheard'; those that it knows are called bell, dog: pack"):
        Conditioning(codec, pack).condition(pack.clips[3], ("class",))
