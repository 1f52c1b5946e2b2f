import json
import zlib

import numpy as np
import pytest
import soundfile
import torch
from tiny import sound

from specvq_codec import UsageError
from specvq_codec.training.data import Clip, MelPack, Pack, Windows
from specvq_codec.training.packing import pack


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder of three recordings, at three rates, and two files that are none."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "deep").mkdir()
    soundfile.write(folder / "one.wav", sound(1.0), 22_050)
    soundfile.write(folder / "deep" / "two.flac", np.stack([sound(2.0, 44_100, 1)] * 2, 1), 44_100)
    soundfile.write(folder / "three.wav", sound(0.5, 8_000, 2), 8_000)
    (folder / "notes.txt").write_text("no sound")
    (folder / "broken.wav").write_bytes((folder / "one.wav").read_bytes()[:5000])
    return folder


@pytest.fixture
def manifest(recordings):
    def write(text):
        (recordings / "manifest.csv").write_text(text)

    yield write
    (recordings / "manifest.csv").unlink(missing_ok=True)


def test_a_manifest_chooses_and_splits(recordings, manifest, tmp_path):
    manifest("path,split,domain,label\none.wav,train,bird,owl\ndeep/two.flac,valid,,\n")
    clips, bad, *_ = pack(recordings, tmp_path)
    assert clips[0] == Clip("one.wav", "train", "bird", 0, 22_050, "owl")
    assert clips[1:] == [Clip("deep/two.flac", "valid", "sound", 22_050, 44_100)]
    assert bad == []
    assert (tmp_path / "samples.i16").stat().st_size == 2 * (22_050 + 44_100)
    assert [clip.path for clip in Pack(tmp_path, "valid").clips] == ["deep/two.flac"]
    with pytest.raises(UsageError, match="no recording of the split 'test'"):
        Pack(tmp_path, "test")


def test_without_a_manifest_names_decide(recordings, tmp_path):
    clips, bad, *_ = pack(recordings, tmp_path)
    assert sorted(clip.path for clip in clips) == ["deep/two.flac", "one.wav", "three.wav"]
    spread = ["test"] * 5 + ["valid"] * 5 + ["train"] * 90
    assert [clip.split for clip in clips] == [spread[zlib.crc32(clip.path.encode()) % 100] for clip in clips]
    assert sorted(line.partition(":")[0] for line in bad) == ["broken.wav", "notes.txt"]


def test_a_recording_that_breaks_off_leaves_no_samples(recordings, manifest, tmp_path):
    manifest("path,split\nbroken.wav,train\none.wav,train\nabsent.wav,train\n")
    clips, bad, *_ = pack(recordings, tmp_path)
    assert clips == [Clip("one.wav", "train", "sound", 0, 22_050)]
    assert [line.partition(":")[0] for line in bad] == ["broken.wav", "absent.wav"]
    waveform = Pack(tmp_path, "train").waveform(clips[0]).numpy()
    assert np.abs(waveform - sound(1.0)).max() < 1e-4


def test_packs_that_are_none_or_damaged_are_refused(tmp_path):
    with pytest.raises(UsageError, match="is not packed sound"):
        Pack(tmp_path, "train")
    (tmp_path / "index.json").write_text(json.dumps({"clips": [{"path": "a"}]}))
    with pytest.raises(UsageError, match="is damaged"):
        Pack(tmp_path, "train")


@pytest.mark.parametrize(
    "change",
    [
        {"label": 5},
        {"label": None},
        {"path": 5},
        {"domain": []},
        {"start": 1.5},
        {"start": -5},
        {"start": True},
        {"start": "0"},
        {"length": 0},
        {"length": -5},
        {"length": 1.0},
        {"length": 10**9},
        {"split": "zzz"},
        {"split": None},
        {"split": ["train"]},
        {"more": 1},
    ],
)
def test_an_index_with_odd_values_is_refused(labelled, change):
    index = json.loads((labelled / "index.json").read_text())
    index["clips"][1] |= change
    (labelled / "index.json").write_text(json.dumps(index))
    for split in ("train", "valid", None):
        with pytest.raises(UsageError, match="is damaged"):
            Pack(labelled, split)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "5", '{"clips": 5}', '{"clips": []}', "\xff"])
def test_an_index_that_is_none_is_refused(labelled, text):
    (labelled / "index.json").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match="is damaged"):
        Pack(labelled, "train")


def test_features_that_are_cut_off_are_refused(labelled):
    index = json.loads((labelled / "index.json").read_text())
    (labelled / "index.json").write_text(json.dumps(index | {"feature_width": 2}))
    np.zeros((3, 215, 2), "<f2").tofile(labelled / "features.f16")
    assert Pack(labelled, "train").has_features
    np.zeros((2, 215, 2), "<f2").tofile(labelled / "features.f16")
    with pytest.raises(UsageError, match="is damaged"):
        Pack(labelled, "train")


def test_the_digest_tells_packs_of_other_recordings(labelled):
    index = json.loads((labelled / "index.json").read_text())
    digest = Pack(labelled, "train").digest()
    assert digest == Pack(labelled, "valid").digest() == Pack(labelled, None).digest()
    for name, value, same in (
        ("label", "z", True),
        ("path", "z", False),
        ("split", "valid", False),
        ("start", 1, False),
    ):
        changed = json.loads(json.dumps(index))
        changed["clips"][0][name] = value
        (labelled / "index.json").write_text(json.dumps(changed))
        assert (Pack(labelled, "valid").digest() == digest) == same


def test_a_pack_whose_sound_is_cut_off_is_refused(labelled):
    store = labelled / "samples.i16"
    store.write_bytes(store.read_bytes()[:-2])
    with pytest.raises(UsageError, match="is damaged"):
        Pack(labelled, "train")
    store.unlink()
    with pytest.raises(UsageError, match="is damaged"):
        Pack(labelled, "train")


def test_crops_are_pieces_of_recordings_and_follow_from_the_seed(recordings, manifest, tmp_path):
    manifest("path,split\none.wav,train\nthree.wav,train\n")
    pack(recordings, tmp_path)
    data = Pack(tmp_path, "train")
    long, short = (data.waveform(clip).numpy() for clip in data.clips)
    assert len(short) == 11_025
    crops = data.crops(20, 15_000, np.random.default_rng(3)).numpy()
    assert crops.shape == (20, 15_000)
    assert np.array_equal(crops, data.crops(20, 15_000, np.random.default_rng(3)).numpy())
    padded = np.pad(short, (0, 15_000 - len(short)))
    windows = np.lib.stride_tricks.sliding_window_view(long, 15_000)
    for crop in crops:
        assert np.array_equal(crop, padded) or (windows[:, :50] == crop[:50]).all(1).any()
    from_short = sum(np.array_equal(crop, padded) for crop in crops)
    assert 0 < from_short < 12  # a third of the sound


@pytest.fixture
def labelled(recordings, manifest, tmp_path):
    manifest("path,split,label\none.wav,train,wolf\nthree.wav,train,bee\ndeep/two.flac,valid,cat\n")
    pack(recordings, tmp_path)
    return tmp_path


def test_labelled_crops_are_crops_of_recordings_of_that_label(labelled):
    mels = MelPack(Pack(labelled, "train"), 64)
    assert mels.labels == ["bee", "cat", "wolf"]  # of all splits
    assert mels.label_indices().tolist() == [2, 0]
    crops, labels = mels.labelled_crops(16, 64, np.random.default_rng(4))
    assert torch.equal(crops, mels.crops(16, 64, np.random.default_rng(4)))
    assert set(labels.tolist()) == {0, 2}
    items = dict(zip(mels.label_indices().tolist(), mels.items, strict=True))
    for crop, label in zip(crops, labels.tolist(), strict=True):
        windows = items[label].float().unfold(1, 64, 1).movedim(1, 0) * 2 - 1  # (places, 80, 64)
        assert (windows == crop).all(dim=(1, 2)).any()


def test_the_digest_tells_other_labels_where_it_is_asked(labelled):
    index = json.loads((labelled / "index.json").read_text())
    before = Pack(labelled, None)
    index["clips"][0]["label"] = "other"
    (labelled / "index.json").write_text(json.dumps(index))
    after = Pack(labelled, None)
    assert before.digest() == after.digest()
    assert before.digest(labelled=True) != after.digest(labelled=True)


def test_labels_are_looked_up_once(labelled, monkeypatch):
    calls, original = [], Pack.label_indices
    monkeypatch.setattr(Pack, "label_indices", lambda self: calls.append(self) or original(self))
    mels = MelPack(Pack(labelled, "train"), 64)
    mels.crops(2, 64, np.random.default_rng(0))
    assert calls == []  # a pack without labels has crops
    for seed in range(3):
        mels.labelled_crops(2, 64, np.random.default_rng(seed))
    mels.label_indices().zero_()  # it is the caller's own
    assert mels.label_indices().tolist() == [2, 0] and len(calls) == 1


def test_an_index_without_labels_still_trains_what_needs_none(labelled):
    index = json.loads((labelled / "index.json").read_text())
    for clip in index["clips"]:
        del clip["label"]
    (labelled / "index.json").write_text(json.dumps(index))
    mels = MelPack(Pack(labelled, "train"), 64)
    assert mels.labels == []
    assert mels.crops(2, 64, np.random.default_rng(0)).shape == (2, 1, 80, 64)
    with pytest.raises(UsageError, match=r"2 recordings of this pack have no label, one\.wav for one.*column label"):
        mels.labelled_crops(2, 64, np.random.default_rng(0))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("width", [(), (3,)])
def test_windows_are_slices_followed_by_zeros(size, width):
    lengths, starts = [8, 20, 5], [2, 11, 40]
    store = torch.arange(1, 1 + 46 * max(1, sum(width))).reshape(46, *width)
    windows, chosen = Windows(store, starts, lengths).draw(200, size, np.random.default_rng(size))
    assert windows.shape == (200, size, *width)
    begins = {0: set(), 1: set(), 2: set()}
    for window, choice in zip(windows, chosen.tolist(), strict=True):
        recording = store[starts[choice] : starts[choice] + lengths[choice]]
        begin = int((recording.flatten() == window.flatten()[0]).nonzero()[0]) // max(1, sum(width))
        begins[choice].add(begin)
        piece = recording[begin : begin + size]
        assert torch.equal(window[: len(piece)], piece)
        assert len(piece) == min(size, lengths[choice]) and not window[len(piece) :].any()
    assert all(begins[choice] == set(range(max(0, lengths[choice] - size) + 1)) for choice in range(3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_seed_gives_the_same_crops_on_every_device(labelled):
    here, there = (Pack(labelled, "train", torch.device(device)) for device in ("cpu", "cuda"))
    crops = [data.crops(30, 15_000, np.random.default_rng(1)) for data in (here, there)]
    assert crops[1].is_cuda and torch.equal(crops[0], crops[1].cpu())
    for clip in here.clips:
        assert torch.equal(here.waveform(clip), there.waveform(clip).cpu())
    (mels, labels), (mels_there, labels_there) = (
        MelPack(data, 64).labelled_crops(30, 64, np.random.default_rng(2)) for data in (here, there)
    )
    assert mels_there.is_cuda and labels_there.is_cuda and torch.equal(labels, labels_there.cpu())
    assert (mels - mels_there.cpu()).abs().max() < 0.01  # half precision of numbers computed there


def test_mel_crops_are_what_the_networks_see(recordings, manifest, tmp_path):
    manifest("path,split\none.wav,train\nthree.wav,train\n")
    pack(recordings, tmp_path)
    mels = MelPack(Pack(tmp_path, "train"), 64)
    assert [item.shape for item in mels.items] == [(80, 87), (80, 65)]  # the second is followed by silence
    crops = mels.crops(4, 64, np.random.default_rng(0))
    assert crops.shape == (4, 1, 80, 64)
    assert crops.min() >= -1 and crops.max() <= 1
