"""Which weights, vocoder and device a codec has."""

import shutil

import pytest
from tiny import sound, write_tiny_bundle

from specvq_codec import Codec, SpecVQError, UsageError, WeightsError
from specvq_codec.weights import load_bundle


def test_bundles_are_found_by_folder_and_name(tiny_bundle, monkeypatch):
    assert Codec.from_pretrained(tiny_bundle.path).bundle.name == "tiny"
    monkeypatch.setenv("SPECVQ_WEIGHTS", str(tiny_bundle.path))
    assert Codec.from_pretrained("tiny", device="cpu").bundle.path == tiny_bundle.path


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "absent"}, WeightsError, "There is no weight bundle absent"),
        ({"vocoder": "wavenet"}, UsageError, "There is no vocoder 'wavenet'"),
        ({"device": "abacus"}, UsageError, "There is no device 'abacus': use auto, cpu"),
        ({"device": "meta"}, UsageError, "'meta' cannot be used here"),
        ({"device": "cuda:77"}, UsageError, "'cuda:77' cannot be used here"),
    ],
)
def test_arguments_that_make_no_sense(tiny_bundle, arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        Codec.from_pretrained(**({"source": tiny_bundle.path} | arguments))
    assert isinstance(caught.value, SpecVQError) and "\n" not in str(caught.value)


def test_a_bundle_without_vocoder_has_griffin_lim(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "mute", vocoder=False)
    assert Codec(bundle).vocoder is None
    with pytest.raises(WeightsError, match="has no vocoder: use --vocoder griffin-lim"):
        Codec(bundle, vocoder="melgan")


def test_a_bundle_says_which_vocoder_suits_it(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle.path, tmp_path / "copy")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"default_vocoder": "melgan"', '"default_vocoder": "griffin-lim"'))
    assert Codec(load_bundle(folder)).vocoder is None
    assert Codec(load_bundle(folder), vocoder="melgan").vocoder is not None


def test_a_bundle_without_tables_encodes_with_fixed_lengths(tmp_path):
    codec = Codec(write_tiny_bundle(tmp_path / "plain", static=False))
    codes = codec.encode(sound(1.0))
    assert codes.to_bytes() == codes.to_bytes("fixed")
    with pytest.raises(UsageError, match="no static tables"):
        codes.to_bytes("static")
