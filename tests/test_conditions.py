"""Features and classes: read from files, and brought into the form that a sampler takes."""

import io
import pickle

import numpy as np
import pytest
import torch
from parity import numbers
from sampler_cases import FEATURES, TINY

from specvq_codec.bitstream import SpecVQError, UsageError
from specvq_codec.conditions import (
    class_number,
    clip_places,
    condition_for,
    frame_indices,
    load_features,
    seen_places,
)
from specvq_codec.models.transformer import TransformerConfig

PIPELINE = numbers("pipeline")
FRAMES = np.random.default_rng(0).standard_normal((215, 7)).astype(np.float32)


@pytest.mark.parametrize("case", PIPELINE["resample_frames"]["index"])
def test_frames_are_chosen_as_the_reference_does(case):
    length, _, rest = case.partition(" -> ")
    size, _, repeats = rest.partition(", each ")
    expected = PIPELINE["resample_frames"]["index"][case]
    found = frame_indices(int(length), int(size), int(repeats.split()[0]) if repeats else 1).tolist()
    assert found == (list(range(int(length))) if expected == "identity" else expected)


@pytest.mark.parametrize("frames", [100, 214, 215, 216, 300])
def test_ten_seconds_of_shorter_and_longer_videos(frames):
    given = PIPELINE["feature_length_215"][str(frames)]
    first = PIPELINE["centre_crop"]["215 -> 212 starts at"]
    seen = seen_places(frames, 212)
    assert seen.shape == (212,) and seen[0] == first and seen.max() == min(frames - 1, first + 211)
    used = given["demo: index of the frame used at 0, 99, 100, 213, 214"]
    for place, frame in zip([0, 99, 100, 213, 214], used, strict=True):
        if first <= place < first + 212:
            assert seen[place - first] == frame
    few = seen_places(frames, 5)
    assert few.tolist() == seen[frame_indices(212, 5)].tolist()
    assert clip_places(5).tolist() == (first + frame_indices(212, 5)).tolist()
    assert seen_places(frames, frames).tolist() == list(range(frames))


def test_features_from_files(tmp_path):
    np.save(tmp_path / "a.npy", FRAMES.astype(np.float64))
    np.savez(tmp_path / "one.npz", FRAMES)
    np.savez(tmp_path / "several.npz", features=FRAMES, other=np.zeros(3))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(FRAMES))
    for name in ("a.npy", "one.npz", "several.npz", "a.pkl"):
        found = load_features(tmp_path / name)
        assert found.dtype == np.float32 and np.array_equal(found, FRAMES), name
    np.save(tmp_path / "longer.npy", np.ones((216, 3), np.float32))
    both = load_features(tmp_path / "a.pkl", tmp_path / "longer.npy")
    assert np.array_equal(both, np.concatenate([FRAMES, np.ones((215, 3))], axis=1))


def _damaged_archive() -> bytes:
    """A compressed archive, a byte of whose data is another."""
    file = io.BytesIO()
    np.savez_compressed(file, features=FRAMES)
    content = bytearray(file.getvalue())
    content[200:210] = b"\xff" * 10
    return bytes(content)


def _huge() -> bytes:
    """A file that announces more numbers than any memory holds."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 10)})
    return file.getvalue()


class _Trap:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.npy", None, "cannot be read"),
        ("absent.pkl", None, "cannot be read"),
        ("text.npy", b"text", "holds no features .it is of another format"),
        ("text.npz", b"PK\3\4text", "holds no features"),
        ("text.pkl", b"text", "holds no features"),
        ("empty.npy", b"", "holds no features"),
        ("empty.npz", b"", "holds no features"),
        ("trap.pkl", pickle.dumps(_Trap()), "holds no features"),
        ("objects.npy", np.array([_Trap()], dtype=object), "or holds objects"),
        ("flat.npy", FRAMES[0], r"shape \(frames, depth\), not float32\(7,\)"),
        ("none.npy", FRAMES[:0], r"shape \(frames, depth\)"),
        ("letters.npy", np.array([["a"]]), r"shape \(frames, depth\)"),
        ("nan.npy", FRAMES * np.nan, "not finite"),
        ("damaged.npz", _damaged_archive(), "holds no features .Error -3 while decompressing"),
        ("huge.npy", _huge(), "holds no features"),
        ("integers.pkl", pickle.dumps(np.ones((3, 7), np.int64)), "no floating-point numbers"),
    ],
)
def test_files_that_hold_no_features(tmp_path, capsys, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(SpecVQError, match=message):
        load_features(path)
    assert capsys.readouterr().out == ""


def test_an_archive_that_does_not_say_which(tmp_path):
    np.savez(tmp_path / "two.npz", a=FRAMES, b=FRAMES)
    with pytest.raises(SpecVQError, match="none of its 2 arrays is called features"):
        load_features(tmp_path / "two.npz")


LABELS = ("baby", "cough", "dog", "Dog howling", "drum")


def test_classes_by_label_and_number():
    assert class_number(4, LABELS) == 4
    assert [class_number(label, LABELS) for label in LABELS] == list(range(5))
    assert class_number("4", LABELS) == 4
    assert class_number("1", ("3", "2", "1")) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dgo", "'dgo': did you mean dog"),
        ("COUGHS", "did you mean cough"),
        ("howling", "did you mean Dog howling"),
        ("5", "no class '5': give one of 5, such as baby"),
        ("-1", "give one of 5"),
        ("\u0661", "give one of 5"),
        ("9" * 5000, "give one of 5"),
    ],
)
def test_unknown_classes(name, message):
    with pytest.raises(UsageError, match=message):
        class_number(name, LABELS)


@pytest.mark.parametrize("count", [1, 5, 212])
def test_conditions_of_a_sampler(count):
    config = TransformerConfig(**TINY, feature_frames=count, feature_depth=7, num_classes=5)
    condition = condition_for(config, LABELS, FRAMES, "dog")
    assert condition.classes.tolist() == [2]
    chosen = {1: [107], 5: [36, 78, 120, 163, 205], 212: list(range(1, 213))}[count]  # of all 215
    assert np.array_equal(condition.features[0].numpy(), FRAMES[chosen])
    assert np.array_equal(condition_for(config, LABELS, FRAMES[:count], "dog").features[0].numpy(), FRAMES[:count])


def test_conditions_may_be_left_out_where_the_sampler_allows_it():
    config = TransformerConfig(**TINY, **FEATURES, num_classes=5, optional=True)
    nothing = condition_for(config, LABELS)
    assert nothing.features is None and nothing.classes is None
    assert torch.equal(condition_for(config, LABELS, label="1").classes, torch.tensor([1]))
    assert condition_for(TransformerConfig(**TINY), ()).features is None


@pytest.mark.parametrize(
    ("kinds", "given", "message"),
    [
        ({}, {"features": FRAMES}, "takes no features"),
        ({}, {"label": "dog"}, "knows no classes"),
        (FEATURES, {}, "needs features of 7 numbers a frame"),
        ({"num_classes": 5}, {}, "needs a class: give one of 5, such as baby"),
        (FEATURES, {"features": FRAMES[:, :6]}, "have 6 numbers a frame, and the sampler takes 7"),
        (FEATURES, {"features": FRAMES[0]}, r"\(frames, depth\), not of the shape \(7,\)"),
        (FEATURES, {"features": FRAMES[:0]}, "must be finite numbers"),
        (FEATURES, {"features": FRAMES * np.nan}, "must be finite numbers"),
        ({"num_classes": 5}, {"label": "dgo"}, "did you mean dog"),
    ],
)
def test_conditions_that_do_not_fit(kinds, given, message):
    with pytest.raises(UsageError, match=message):
        condition_for(TransformerConfig(**TINY, **kinds), LABELS, **given)


@pytest.mark.parametrize("name", ["speech_male", "Speech_Male", "speech male", " SPEECH  MALE"])
def test_classes_by_their_letters(name):
    assert class_number(name, ["rain", "speech_male"]) == 1


@pytest.mark.parametrize(
    ("name", "labels"), [("C#", ["C++", "rain"]), ("C", ["C++", "rain"]), ("", ["_", "rain"]), ("-", ["_"])]
)
def test_what_is_only_like_a_class_is_none(name, labels):
    with pytest.raises(UsageError, match="There is no class"):
        class_number(name, labels)


def test_letters_that_two_classes_have_choose_neither():
    labels = ["a b", "a_b", "A"]
    assert [class_number(label, labels) for label in labels] == [0, 1, 2]
    with pytest.raises(UsageError, match="specvq weights show tells all"):
        class_number("A-B", labels)
