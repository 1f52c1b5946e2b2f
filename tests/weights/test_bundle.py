import hashlib
import json
import os
import shutil
import struct
from dataclasses import asdict

import numpy as np
import pytest
from tiny import AUTOENCODER, MELGAN, write_tiny_bundle

from specvq_codec import Codec, UsageError, WeightsError
from specvq_codec.bitstream import frequency_tables
from specvq_codec.weights import Bundle, add_features, load_bundle, write_bundle

SMALL = {"codebook_size": 4, "channels": [1, 2], "linear_path": True}


def tensors():
    rng = np.random.default_rng(0)
    names = ("encoder.a", "decoder.b.weight", "quantize.embedding.weight", "quant_conv.weight", "linear_in.weight")
    names += ("post_quant_conv.bias", "linear_out.weight")
    return {name: rng.standard_normal((2, 3)).astype(np.float16) for name in names}


STATIC = frequency_tables(np.arange(20).reshape(5, 4))


def mark(folder, **changes):
    values = {"name": "a", "autoencoder": SMALL, "codebook": tensors(), "static": STATIC, "note": "n"} | changes
    return write_bundle(folder, **values).fingerprint


def changed(name):
    values = tensors()
    values[name] = values[name] + np.float16(1)
    return {"codebook": values}


@pytest.mark.parametrize(
    "changes",
    [
        *(changed(name) for name in ("decoder.b.weight", "quantize.embedding.weight", "post_quant_conv.bias")),
        changed("linear_out.weight"),
        {"static": None},
        {"static": frequency_tables(np.arange(20).reshape(5, 4) + 1)},
        {"autoencoder": SMALL | {"channels": [2, 1]}},
        {"autoencoder": SMALL | {"linear_path": False}},
        {"codebook": {key: value.astype(np.float32) for key, value in tensors().items()}},
        {"codebook": {key: value.reshape(3, 2) for key, value in tensors().items()}},
        {"codebook": tensors() | {"decoder.c": np.zeros(1, np.float16)}},
    ],
)
def test_the_fingerprint_changes_with_what_gives_indices_their_meaning(tmp_path, changes):
    assert mark(tmp_path, **changes) != mark(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        *(changed(name) for name in ("encoder.a", "quant_conv.weight", "linear_in.weight")),
        {"name": "other"},
        {"note": "other"},
        {"melgan": {"channels": [1]}, "vocoder": {"model": np.ones(3)}},
        {"melgan": {}, "vocoder": {"model": np.ones(3)}, "default_vocoder": "griffin-lim"},
        {"autoencoder": dict(reversed(SMALL.items()))},
        {"codebook": dict(reversed(tensors().items()))},
        {"codebook": {key: np.asfortranarray(value) for key, value in tensors().items()}},
        {"codebook": {key: value.astype(">f2") for key, value in tensors().items()}},
    ],
)
def test_the_fingerprint_does_not_change_with_anything_else(tmp_path, changes):
    assert mark(tmp_path, **changes) == mark(tmp_path)


def read_safetensors(path):
    """Name -> (type, shape, bytes), by the specification of the safetensors format."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    types = {"F16": "float16", "F32": "float32", "I32": "int32"}
    found = {}
    for name, about in header.items():
        begin, end = (8 + length + offset for offset in about["data_offsets"])
        found[name] = (types[about["dtype"]], about["shape"], data[begin:end])
    return found


def fingerprint_by_the_specification(folder):
    """Section 8 of FORMAT.md, in plain Python."""
    settings = json.loads((folder / "config.json").read_text())["autoencoder"]
    text = json.dumps(settings, sort_keys=True, separators=(",", ":")).encode("ascii")
    hashed = b"specvq weights 1\n" + struct.pack("<IIII", 22050, 4096, 5, len(text)) + text
    codebook = read_safetensors(folder / "codebook.safetensors")
    prefixes = ("quantize.", "post_quant_conv.", "decoder.", "linear_out.")
    chosen = {name: value for name, value in codebook.items() if name.startswith(prefixes)}
    if (folder / "entropy.safetensors").exists():
        chosen.update(read_safetensors(folder / "entropy.safetensors"))
    for name in sorted(chosen):
        kind, shape, data = chosen[name]
        hashed += f"\n{name} {kind} {','.join(str(size) for size in shape)}\n".encode() + data
    return hashlib.sha256(hashed).digest()


def test_the_fingerprint_is_that_of_the_specification(tmp_path, tiny_bundle):
    assert fingerprint_by_the_specification(tiny_bundle.path) == tiny_bundle.fingerprint
    for number, static in enumerate((STATIC, None)):
        bundle = write_bundle(tmp_path / str(number), "a", SMALL, tensors(), static=static)
        assert fingerprint_by_the_specification(bundle.path) == bundle.fingerprint


def test_the_fingerprint_never_changes(tmp_path):
    """What a release has once called by a fingerprint must go by it for ever, or files become unreadable."""
    zeros = {"quantize.embedding.weight": np.zeros((4, 2), np.float16), "decoder.x": np.arange(3, dtype=np.float32)}
    found = mark(tmp_path, codebook=zeros).hex()
    assert found == "5f29004430b75334a3019aaf61fcf44225ae00fb0271aa3a2a1e6a6df31d7a66"


@pytest.fixture
def copy(tiny_bundle, tmp_path) -> Bundle:
    """A bundle that may be damaged."""
    return load_bundle(shutil.copytree(tiny_bundle.path, tmp_path / "copy"))


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def test_an_intact_bundle_verifies(copy):
    copy.verify()
    assert (copy.name, copy.default_vocoder) == ("tiny", "melgan")
    assert copy.autoencoder["channels"] == [32, 32, 32]


@pytest.mark.parametrize("part", ["codebook", "entropy"])
def test_a_flipped_byte_is_noticed(copy, part):
    path = copy.path / f"{part}.safetensors"
    positions = range(len(path.read_bytes()) - 300, len(path.read_bytes()), 100) if part == "entropy" else [4, 30, -1]
    for position in positions:
        flip(path, position)
        if part == "entropy" or position != -1:  # the last tensor of the codebook file may belong to the encoder
            with pytest.raises(WeightsError, match="copy"):
                copy.verify()
        flip(path, position)
    copy.verify()


def test_a_flipped_byte_in_the_decoder_is_noticed(copy):
    path = copy.path / "codebook.safetensors"
    data = path.read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    about = json.loads(data[8 : 8 + length])["decoder.conv_out.weight"]
    flip(path, 8 + length + about["data_offsets"][0] + 5)
    with pytest.raises(WeightsError, match=r"not what its config\.json says"):
        copy.verify()
    with pytest.raises(WeightsError, match=r"not what its config\.json says"):
        Codec(copy)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("codebook", "codebook.safetensors is missing"),
        ("vocoder", "must have vocoder.safetensors exactly if"),
        ("entropy", "not what its config.json says"),
    ],
)
def test_a_missing_part_is_noticed(copy, part, message):
    (copy.path / f"{part}.safetensors").unlink()
    with pytest.raises(WeightsError, match=message):
        copy.verify()


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"{}", b"\x80\x02c__builtin__\neval\n"])
@pytest.mark.parametrize("part", ["codebook", "vocoder"])
def test_what_is_no_safetensors_file_is_noticed(copy, part, content):
    (copy.path / f"{part}.safetensors").write_bytes(content)
    with pytest.raises(WeightsError):
        Codec(copy, vocoder="melgan")


def rewrite(bundle, **changes):
    """Write a bundle anew, consistent in itself, with something else in it."""
    values = {
        "autoencoder": bundle.autoencoder,
        "codebook": bundle.tensors("codebook"),
        "melgan": bundle.melgan,
        "vocoder": bundle.tensors("vocoder"),
        "static": bundle.tensors("entropy")["static"],
    }
    return write_bundle(bundle.path, "copy", **(values | changes))


@pytest.mark.parametrize("part", ["codebook", "vocoder"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(copy, part, value):
    values = copy.tensors(part)
    key = next(iter(values))
    values[key].flat[3] = value
    with pytest.raises(WeightsError, match=f"{key} .* is not finite"):
        rewrite(copy, **{part: values}).verify()


def test_damaged_features_are_told(copy):
    seeing = add_features(copy, {"conv1.weight": np.ones(3, np.float32)})
    seeing.verify()
    with pytest.raises(WeightsError, match=r"conv1\.weight .* is not finite"):
        add_features(seeing, {"conv1.weight": np.full(3, np.nan, np.float32)}).verify()
    path = seeing.path / "features.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=r"features\.safetensors"):
        seeing.verify()


@pytest.mark.parametrize(
    "static",
    [np.zeros((5, 64), np.int32), np.zeros((5, 63), np.int32), np.full((5, 64), -1, np.int32)],
)
def test_tables_that_are_none_are_refused(copy, static):
    with pytest.raises(WeightsError, match="static tables"):
        rewrite(copy, static=static).verify()


CONFIG = {"format", "name", "fingerprint", "note", "default_vocoder", "autoencoder", "melgan"}


@pytest.mark.parametrize("key", sorted(CONFIG))
@pytest.mark.parametrize("value", [None, 7, "x", [], {}, ["deep"] * 3, {"codebook_size": 1e400}, "zz" * 32])
def test_a_hostile_description_is_refused(copy, key, value):
    config = json.loads((copy.path / "config.json").read_text())
    assert set(config) == CONFIG
    if key in ("name", "note") and isinstance(value, str):
        return
    config[key] = value
    (copy.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError):
        Codec(load_bundle(copy.path))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"format": 1}', "\udcff"])
def test_what_is_no_description_is_refused(copy, text):
    (copy.path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_bundle(copy.path)


def test_a_newer_bundle_asks_for_a_newer_program(copy):
    text = (copy.path / "config.json").read_text().replace('"format": 1', '"format": 2')
    (copy.path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match="format 2: install a newer"):
        load_bundle(copy.path)


@pytest.mark.parametrize(
    "settings",
    [
        {"z_channels": 2**40},
        {"z_channels": -1},
        {"z_channels": "many"},
        {"z_channels": 2.5},
        {"codebook_size": 65},
        {"channels": [10**6] * 3},
        {"channels": [33] * 3},
        {"channels": 32},
        {"channels": []},
        {"num_res_blocks": 10**9},
        {"attention_levels": [7]},
        {"embed_dim": None},
        {"speed": 1},
    ],
    ids=str,
)
def test_settings_that_make_other_networks_or_none_are_refused_before_memory_is_taken(copy, settings):
    settings = asdict(AUTOENCODER) | settings
    with pytest.raises(WeightsError):
        Codec(rewrite(copy, autoencoder=settings))


OTHER_VOCODERS = [{"ratios": [8, 8, 2, 4]}, {"channels": [2**40] * 5}, {"num_res_layers": 10**9}, {"num_mels": 81}]


@pytest.mark.parametrize("settings", OTHER_VOCODERS, ids=str)
def test_a_vocoder_of_other_settings_is_refused(copy, settings):
    with pytest.raises(WeightsError):
        Codec(rewrite(copy, melgan=asdict(MELGAN) | settings))


def test_a_vocoder_with_another_hop_length_is_refused(copy):
    """Its tensors fit, but it makes another number of samples."""
    values = copy.tensors("vocoder")
    longer = {key: np.tile(value, 2) if value.shape[2:] == (4,) else value for key, value in values.items()}
    with pytest.raises(WeightsError, match="needs other spectrograms"):
        Codec(rewrite(copy, melgan=asdict(MELGAN) | {"ratios": [8, 8, 4, 4]}, vocoder=longer))


def test_a_tensor_too_many_too_few_or_misshapen_is_named(copy):
    values = copy.tensors("codebook")
    for change in ({"decoder.new": np.zeros(1)}, {"encoder.conv_in.bias": np.zeros(31, np.float32)}):
        with pytest.raises(WeightsError, match=f"{next(iter(change))} .* is missing, unknown or of the wrong shape"):
            Codec(rewrite(copy, codebook=values | change))
    values.pop("quantize.embedding.weight")
    with pytest.raises(WeightsError, match=r"quantize\.embedding\.weight"):
        Codec(rewrite(copy, codebook=values))


def test_writing_replaces_a_bundle_and_leaves_other_files(tmp_path):
    write_tiny_bundle(tmp_path)
    (tmp_path / "MODEL_CARD.md").write_text("card")
    bundle = write_tiny_bundle(tmp_path, seed=3, vocoder=False, static=False)
    bundle.verify()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MODEL_CARD.md", "codebook.safetensors", "config.json"]
    assert bundle.default_vocoder == "griffin-lim"


def test_a_failure_leaves_the_old_bundle_as_it_was(copy, monkeypatch):
    before = {path.name: path.read_bytes() for path in copy.path.iterdir()}
    written = []

    def full(path, data):
        written.append(path.name)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        path.touch()

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UsageError, match="No space left"):
        rewrite(copy, autoencoder=copy.autoencoder)
    assert {path.name: path.read_bytes() for path in copy.path.iterdir()} == before


@pytest.mark.parametrize("name", ["a\nb", "\x1b]0;b\x07", "a\x85", "\u2028", "\u202e", "\ud800"])
def test_names_that_cannot_be_printed_are_refused(copy, name):
    with pytest.raises(UsageError, match="without control characters"):
        write_bundle(copy.path, name, SMALL, tensors())
    copy.verify()
    config = json.loads((copy.path / "config.json").read_text())
    (copy.path / "config.json").write_text(json.dumps(config | {"name": name}))
    with pytest.raises(WeightsError, match="control characters in its name"):
        load_bundle(copy.path)


def test_files_can_be_read_by_everyone(tiny_bundle):
    mask = os.umask(0)
    os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in tiny_bundle.path.iterdir()} == {0o666 & ~mask}


def test_a_bundle_cannot_be_written_where_a_file_is(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another folder"):
        write_bundle(tmp_path / "file", "a", SMALL, tensors())
