import os
import shutil
import sys

import pytest

from specvq_codec import WeightsError
from specvq_codec.weights import bundle_for, find_bundles, locate, places


@pytest.fixture(autouse=True)
def no_default(monkeypatch, tmp_path):
    """The package has no default bundle, and the environment names none."""
    monkeypatch.setattr(places, "DEFAULT", tmp_path / "none")
    monkeypatch.delenv("SPECVQ_WEIGHTS", raising=False)


def test_the_environment_names_folders_of_bundles_and_bundles(tiny_bundle, other_bundle, monkeypatch):
    assert list(find_bundles()) == []
    monkeypatch.setenv("SPECVQ_WEIGHTS", os.pathsep.join(["", str(tiny_bundle.path.parent), str(other_bundle.path)]))
    assert [bundle.name for bundle in find_bundles()] == ["tiny", "other"]
    assert locate("other").fingerprint == other_bundle.fingerprint
    found = bundle_for(tiny_bundle.fingerprint[:4])
    assert found is not None and found.path == tiny_bundle.path
    assert bundle_for(bytes(4)) is None


def test_the_default_bundle_comes_first(tiny_bundle, other_bundle, monkeypatch):
    monkeypatch.setattr(places, "DEFAULT", other_bundle.path)
    monkeypatch.setenv("SPECVQ_WEIGHTS", str(tiny_bundle.path))
    assert [bundle.name for bundle in find_bundles()] == ["other", "tiny"]
    assert locate().name == locate(None).name == "other"


def test_a_folder_is_taken_as_it_is(tiny_bundle):
    assert locate(tiny_bundle.path).name == locate(str(tiny_bundle.path)).name == "tiny"


def test_a_damaged_bundle_does_not_hide_the_others(tiny_bundle, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text("damaged")
    shutil.copytree(tiny_bundle.path, tmp_path / "b")
    monkeypatch.setenv("SPECVQ_WEIGHTS", os.pathsep.join([str(tmp_path), str(tmp_path / "nowhere")]))
    with pytest.warns(UserWarning) as warned:
        assert [bundle.path.name for bundle in find_bundles()] == ["b"]
    messages = [str(warning.message) for warning in warned]
    assert "nowhere, which cannot be read" in messages[0]
    assert "config.json cannot be read" in messages[1]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "no weights of its own: name a bundle, or one of these: tiny"),
        ("absent", "There is no weight bundle absent: .* or one of these: tiny"),
        ("{tmp}/absent", "There is no weight bundle .*absent"),
        ("{tmp}", "is not a weight bundle"),
        ("{tmp}/file", "is a file, and a weight bundle is a folder"),
    ],
)
def test_a_bundle_that_is_not_there(tiny_bundle, tmp_path, monkeypatch, source, message):
    monkeypatch.setenv("SPECVQ_WEIGHTS", str(tiny_bundle.path))
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=message):
        locate(source and source.format(tmp=tmp_path))


def test_hubs_need_their_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"pip install 'specvq-codec\[hub\]'"):
        locate("hf://owner/name")
