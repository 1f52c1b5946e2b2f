"""Bundles are replaced as a whole, or stay as they were."""

import os
import shutil
from contextlib import suppress

import numpy as np
import pytest
from sampler_cases import add_tiny_sampler
from tiny import write_tiny_bundle

from specvq_codec import UsageError, WeightsError
from specvq_codec.weights import Bundle, add_features, load_bundle


@pytest.fixture
def full(sampler_bundle, tmp_path) -> Bundle:
    """A bundle of many parts, which may be changed."""
    shutil.copytree(sampler_bundle.path, tmp_path / "full")
    return add_features(load_bundle(tmp_path / "full"), {"conv1.weight": np.ones(3, np.float32)})


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def another_bundle(bundle):
    """Another codebook, without a vocoder, sampler and features."""
    write_tiny_bundle(bundle.path, seed=3, vocoder=False)


def another_sampler(bundle):
    add_tiny_sampler(bundle, num_classes=5)


WRITES = pytest.mark.parametrize("write", [another_bundle, another_sampler])


@WRITES
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["instead", "after"])
def test_whatever_rename_fails_the_old_bundle_stays_as_it_was(full, monkeypatch, write, error, when):
    """And a signal's exception can come after a rename, before the next line."""
    before, replace, failing = content(full.path), os.replace, 0

    def may_fail(source, target):
        nonlocal left
        left -= 1
        if left != 0 or when == "after":
            replace(source, target)
        if left == 0:
            raise error(5, "Input/output error")

    monkeypatch.setattr("os.replace", may_fail)
    while content(full.path) == before:
        failing, left = failing + 1, failing + 1
        try:
            write(full)
        except (UsageError, KeyboardInterrupt):
            assert left <= 0
            now = content(full.path)
            if when == "instead" or now["config.json"] == before["config.json"]:
                assert now == before
    # every one of them failed once, and then none did, or the last one after all was done
    assert failing > 2 and left == (1 if when == "instead" else 0)
    load_bundle(full.path).verify()
    assert not [name for name in content(full.path) if name.startswith(".")]


@pytest.mark.parametrize("name", ["codebook.safetensors", "vocoder.safetensors", "sampler.safetensors", "config.json"])
def test_a_folder_in_the_way_leaves_the_old_bundle_as_it_was(full, name):
    (full.path / name).unlink()
    (full.path / name).mkdir()
    before = content(full.path)
    with pytest.raises(UsageError, match=f"a folder is in the way: .*{name}.*choose another folder"):
        another_bundle(full)
    assert content(full.path) == before and (full.path / name).is_dir()


@WRITES
@pytest.mark.parametrize("step", range(1, 12))
def test_after_a_process_that_was_killed_the_next_writing_finds_the_old_bundle(full, monkeypatch, write, step):
    """Or the new one, where its description was in its place."""
    replace, left = os.replace, step
    added = {"conv1.weight": np.zeros(3, np.float32)}

    def until_killed(source, target):
        nonlocal left
        left -= 1
        if left >= 0:
            replace(source, target)

    old = load_bundle(full.path)
    with monkeypatch.context() as killed:
        killed.setattr("os.replace", until_killed)
        killed.setattr("pathlib.Path.unlink", lambda *_, **__: None)
        with suppress(WeightsError):  # what is half there may not be read
            write(full)
    described = load_bundle(full.path)
    add_features(described, added)
    found = load_bundle(full.path)
    found.verify()
    assert found.fingerprint == described.fingerprint
    assert (found.sampler is None) == (described.sampler is None)
    assert left < 0 or found.fingerprint != old.fingerprint or write is another_sampler
    assert not [name for name in content(full.path) if name.startswith(".")]


@WRITES
def test_until_the_description_is_in_its_place_all_that_was_is_there(full, monkeypatch, write):
    """What is left where the process is killed; the description is the last to come."""
    before, replace, seen = content(full.path), os.replace, []

    def watched(source, target):
        now = content(full.path)
        assert all(data in (now.get(name), now.get(f".{name}.old")) for name, data in before.items())
        replace(source, target)
        seen.append(target.name)

    monkeypatch.setattr("os.replace", watched)
    write(full)
    assert seen.index("config.json") == len(seen) - 1
    assert content(full.path).keys() <= before.keys()
