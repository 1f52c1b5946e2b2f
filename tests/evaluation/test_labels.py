"""Names of rows and sections."""

import dataclasses

import pytest
from tiny import write_tiny_bundle

from specvq_codec import UsageError
from specvq_codec.evaluation.labels import labels_of, require_distinct, section_name


def test_a_section_called_all_is_everything():
    assert [section_name(name) for name in ("all", "music", "")] == ["all/", "music", ""]


def test_labels_tell_bundles_apart(tmp_path):
    tiny = write_tiny_bundle(tmp_path / "one" / "tiny")
    other = write_tiny_bundle(tmp_path / "other", seed=1)
    assert labels_of([tiny, other]) == ["tiny", "other"]
    twin = dataclasses.replace(other, name="tiny")
    mark, mark_of_twin = (bundle.fingerprint.hex()[:8] for bundle in (tiny, twin))
    assert labels_of([tiny, twin]) == [f"tiny ({mark})", f"tiny ({mark_of_twin})"]
    copy = dataclasses.replace(tiny, path=tmp_path / "copy")  # with another encoder or vocoder, perhaps
    assert labels_of([tiny, copy, twin]) == [
        f"tiny ({mark}) ({tiny.path})", f"tiny ({mark}) ({copy.path})", f"tiny ({mark_of_twin})"
    ]  # fmt: skip


def test_names_are_distinct():
    require_distinct(["a", "b", "A"])
    with pytest.raises(UsageError, match="Two rows would be called 'b'"):
        require_distinct(["a", "b", "c", "b"])
