"""Features of videos: what each kind sees, and where the weights of ResNet-50 come from."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sampler_cases import add_tiny_sampler
from videos import grey, moving, write_video

from specvq_codec import SpecVQError, UsageError, WeightsError
from specvq_codec.conditions import seen_places
from specvq_codec.features import (
    activations,
    features_of_sampler,
    features_of_video,
    load_resnet50,
    make_extractor,
    pixels,
    prepare,
    seen_in_video,
)
from specvq_codec.models.resnet50 import ResNet50
from specvq_codec.video import read_frames
from specvq_codec.weights import add_features, load_bundle


@pytest.fixture(scope="module")
def state():
    """Random weights of a ResNet-50, with a classifier, as torchvision's files have one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResNet50().state_dict() | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def checkpoint(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet") / "resnet50.pth"
    torch.save(state, path)
    return path


def test_pixels_are_shrunk_pictures_and_what_changes():
    frames = [np.full((48, 64, 3), 255, np.uint8), np.zeros((48, 64, 3), np.uint8), grey(0)]
    frames[2][:24, :, 0] = 255  # red above
    found = pixels(frames)
    assert found.shape == (3, 512) and found.dtype == np.float32
    pictures, changes = found[:, :256].reshape(3, 16, 16), found[:, 256:].reshape(3, 16, 16)
    assert np.allclose(pictures[0], 1) and np.allclose(pictures[1], -1)
    assert np.allclose(pictures[2, :8], 2 * 0.299 - 1) and np.allclose(pictures[2, 8:], -1)
    assert not changes[0].any() and np.allclose(changes[1], -2)
    assert np.allclose(changes[2], pictures[2] - pictures[1])


@pytest.mark.parametrize("size", [(240, 320), (333, 250), (224, 224)])
def test_pictures_are_resized_as_pillow_does(size):
    """Which the reference's extraction uses: shorter side 256, the middle 224 x 224, mean and deviation of ImageNet."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = (256 * side // min(size) for side in size)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    shrunk = Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)
    wanted = np.asarray(shrunk.crop((left, top, left + 224, top + 224)), np.float64) / 255
    wanted = (wanted - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    difference = np.abs(prepare(frame).permute(1, 2, 0).numpy() - wanted)
    assert difference.max() <= 1.01 / 255 / 0.224  # one step of 8 bits


def test_activations_do_not_depend_on_the_batch(checkpoint, monkeypatch):
    network = load_resnet50(str(checkpoint))
    frames = moving(3)
    together = activations(frames, network)
    monkeypatch.setattr("specvq_codec.features._BATCH", 2)
    apart = activations(frames, network)
    assert together.shape == (3, 2048)
    assert np.allclose(apart, together, rtol=1e-4, atol=1e-4 * np.abs(together).max())
    assert np.abs(together[0] - together[1]).max() > 1e-3
    some = activations(frames, network, [2, 0, 2])
    assert np.allclose(some, together[[2, 0, 2]], rtol=1e-4, atol=1e-4 * np.abs(together).max())


def test_a_network_looks_only_at_what_a_sampler_takes(checkpoint, tmp_path):
    network, looked = load_resnet50(str(checkpoint)), []
    network.conv1.register_forward_pre_hook(lambda module, inputs: looked.append(len(inputs[0])))
    path = write_video(tmp_path / "clip.mp4", moving(30), codec="mpeg4")

    def extract(frames, places):
        return activations(frames, network, places)

    seen, seconds = seen_in_video(path, extract, 5)
    assert seen.shape == (5, 2048) and seconds == pytest.approx(26 / 21.5)
    assert sum(looked) == len(set(seen_places(26, 5).tolist())) <= 5
    everything = pixels(read_frames(path))
    assert np.array_equal(seen_in_video(path, pixels, 5)[0], everything[seen_places(26, 5)])


def test_weights_from_files_addresses_and_bundles(checkpoint, state, tmp_path, monkeypatch, tiny_bundle):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wanted = state["layer3.2.conv2.weight"]
    trunk = {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    old = {key: tensor.half() for key, tensor in trunk.items() if not key.endswith("num_batches_tracked")}
    save_file(trunk, tmp_path / "trunk.safetensors")
    save_file(old, tmp_path / "old.safetensors")
    checksum = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    bundle = load_bundle(shutil.copytree(tiny_bundle.path, tmp_path / "seeing"))
    bundle = add_features(bundle, {key: tensor.numpy() for key, tensor in trunk.items()})
    assert bundle.fingerprint == tiny_bundle.fingerprint
    assert torch.equal(load_resnet50(None, bundle).layer3[2].conv2.weight, wanted)
    assert torch.equal(load_resnet50(str(tmp_path / "trunk.safetensors")).layer3[2].conv2.weight, wanted)
    assert torch.equal(load_resnet50(str(tmp_path / "old.safetensors")).layer3[2].conv2.weight, wanted.half().float())
    url = f"{checkpoint.as_uri()}#sha256={checksum}"
    assert torch.equal(load_resnet50(url).layer3[2].conv2.weight, wanted)
    with monkeypatch.context() as offline:  # from the cache
        offline.setattr("specvq_codec.downloads.urlopen", pytest.fail)
        assert torch.equal(load_resnet50(url).layer3[2].conv2.weight, wanted)
    (tmp_path / "cache" / "specvq-codec" / f"{checksum}-resnet50.pth").write_bytes(b"damaged")
    load_resnet50(url)  # is fetched again


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://example.org/resnet50.pth", "needs the file's checksum"),
        ("{uri}", "needs the file's checksum"),
        ("{uri}#sha256=abc", "needs the file's checksum"),
        ("{uri}#sha256=00000000", "is not the file that its checksum is of"),
        ("file:///nowhere/resnet50.pth#sha256=00000000", "could not be fetched"),
    ],
)
def test_addresses_that_are_refused(checkpoint, tmp_path, monkeypatch, address, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=message):
        load_resnet50(address.format(uri=checkpoint.as_uri()))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer1.0.conv1.weight": None}, r"are layer1\.0\.conv1\.weight\."),
        ({"conv1.weight": torch.zeros(64, 3, 3, 3)}, r"are conv1\.weight\."),
        ({"bn1.bias": torch.full((64,), torch.nan)}, r"are bn1\.bias\."),
        ({"layer4.3.conv1.weight": torch.zeros(1)}, r"are layer4\.3\.conv1\.weight\."),
    ],
)
def test_other_networks_are_refused(state, tmp_path, change, message):
    torch.save({key: tensor for key, tensor in (state | change).items() if tensor is not None}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=message):
        load_resnet50(str(tmp_path / "a.pth"))


def test_without_weights_it_is_told_where_to_get_them(tmp_path, tiny_bundle):
    with pytest.raises(WeightsError, match=r"give them with --video-weights.*#sha256="):
        make_extractor("resnet50", bundle=tiny_bundle)
    (tmp_path / "a.safetensors").write_bytes(b"no weights")
    for name in ("a.safetensors", "absent.safetensors", "absent.pth"):
        with pytest.raises(WeightsError, match="cannot be read"):
            make_extractor("resnet50", str(tmp_path / name))
    with pytest.raises(UsageError, match="no features 'flow': use resnet50 or pixels"):
        make_extractor("flow")


def test_a_clip_lasts_at_least_a_column(tmp_path):
    path = write_video(tmp_path / "clip.mkv", moving(5))
    assert np.array_equal(features_of_video(path, pixels), pixels(read_frames(path)))
    with pytest.raises(SpecVQError, match=r"clip\.mkv lasts 0\.14 s, and at least 0\.19 s"):
        features_of_video(write_video(path, moving(3)), pixels)


@pytest.mark.parametrize(
    ("depth", "said", "kind"), [(512, "pixels", "pixels"), (2048, None, "resnet50"), (7, None, None), (7, "own", None)]
)
def test_which_features_a_sampler_takes(tmp_path, tiny_bundle, depth, said, kind):
    bundle = load_bundle(shutil.copytree(tiny_bundle.path, tmp_path / "seeing"))
    bundle = add_tiny_sampler(bundle, said, feature_frames=4, feature_depth=depth)
    if kind is not None:
        assert features_of_sampler(bundle) == kind
    else:
        with pytest.raises(UsageError, match="7 numbers that this package does not compute"):
            features_of_sampler(bundle)
    with pytest.raises(UsageError, match="tiny has no sampler that takes features of video"):
        features_of_sampler(tiny_bundle)
