import pickle
import zlib

import numpy as np
import pytest
import torch

from specvq_codec import SpecVQError, UsageError
from specvq_codec.training.data import MelPack, Pack
from specvq_codec.training.layouts import MELS, listing_of, split_by_name
from specvq_codec.training.packing import pack
from specvq_codec.training.pickled import read_array

RGB, FLOW = "feature_rgb_bninception_dim1024_21.5fps", "feature_flow_bninception_dim1024_21.5fps"


def mel(name, frames=30):
    """A spectrogram (80, frames) that is its file's own."""
    return np.random.default_rng(zlib.crc32(name.encode())).uniform(0, 1, (80, frames)).astype(np.float32)


def write_mel(folder, name, frames=30):
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}_mel.npy", mel(name, frames))


def write_features(folder, name, rows, width, protocol=4):
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(name) + width).normal(size=(rows, width)).astype(np.float32)
    (folder / f"{name}.pkl").write_bytes(pickle.dumps(values, protocol=protocol))
    return values


@pytest.fixture
def vas(tmp_path):
    """data/vas/features with three classes, and lists beside data/vas."""
    root = tmp_path / "data" / "vas"
    for label, count in (("dog", 6), ("baby", 4), ("gun", 1)):
        for number in range(count):
            write_mel(root / "features" / label / MELS, f"video_{number:05}", 20 + number)
    return root


def write_lists(vas, train, valid):
    (vas.parent / "vas_train.txt").write_text("".join(f"{clip}\n" for clip in train))
    (vas.parent / "vas_valid.txt").write_text("".join(f"{clip}\n" for clip in valid))


def test_vas_becomes_a_pack_of_spectrograms(vas, tmp_path):
    write_lists(
        vas, ["dog/video_00000", "dog/video_00002", "baby/video_00003"], ["gun/video_00000", "baby/video_00000"]
    )
    packed = pack(vas, tmp_path / "pack")
    assert [(clip.path.split("/")[0], clip.split, clip.label, clip.length) for clip in packed.clips] == [
        ("baby", "valid", "baby", 20),
        ("baby", "train", "baby", 23),
        ("dog", "train", "dog", 20),
        ("dog", "train", "dog", 22),
        ("gun", "valid", "gun", 20),
    ]
    assert packed.seconds == pytest.approx(105 * 256 / 22_050)
    unlisted = [line for line in packed.skipped if line.endswith("no list has it")]
    assert len(packed.skipped) == len(unlisted) == 6
    data = Pack(tmp_path / "pack", "train")
    assert (data.kind, data.labels) == ("mels", ["baby", "dog", "gun"])
    for clip in data.clips:
        name = clip.path.split("/")[2].removesuffix("_mel.npy")
        assert np.array_equal(data.mel(clip).numpy(), mel(name, clip.length).astype(np.float16))


@pytest.mark.parametrize("inner", ["", "features"])
def test_vas_without_lists_keeps_the_last_of_each_class_for_validation(vas, tmp_path, inner):
    splits = {(entry.label, entry.path[-9]): entry.split for entry in listing_of(vas / inner).entries}
    valid = {("dog", "3"), ("dog", "4"), ("dog", "5"), ("baby", "2"), ("baby", "3")}
    assert {key for key, split in splits.items() if split == "valid"} == valid
    assert len(splits) == 11


def test_clips_that_lists_name_and_nobody_has_are_counted(vas, tmp_path):
    write_lists(vas, ["dog/video_00000", "dog/video_77777", "dog/video_88888"], ["baby/video_00000"])
    skipped = pack(vas, tmp_path / "pack").skipped
    assert "2 of the 3 clips of vas_train.txt, which are not there: dog/video_77777, ..." in skipped


def test_files_that_are_no_spectrograms_are_named_and_skipped(vas, tmp_path):
    folder = vas / "features" / "dog" / MELS
    np.save(folder / "video_00000_mel.npy", np.zeros((64, 10), np.float32))
    np.save(folder / "video_00001_mel.npy", np.full((80, 10), np.nan, np.float32))
    np.save(folder / "video_00002_mel.npy", np.array([{}] * 80, object), allow_pickle=True)
    np.save(folder / "video_00003_mel.npy", np.full((80, 10), -0.1, np.float32))
    (folder / "video_00004_mel.npy").write_bytes((folder / "video_00004_mel.npy").read_bytes()[:2000])
    packed = pack(vas, tmp_path / "pack")
    assert [line.split("/")[2].split("_mel")[0] for line in packed.skipped] == [f"video_0000{n}" for n in range(5)]
    assert len(packed.clips) == 6
    data = Pack(tmp_path / "pack", "train")  # what is after a bad file is where the index says
    assert np.array_equal(data.mel(data.clips[-1]).numpy(), mel("video_00000", 20).astype(np.float16))


@pytest.fixture
def vggsound(tmp_path):
    """data/vggsound with its table beside it: 2 labels, 20 training and 3 test videos each."""
    root = tmp_path / "data" / "vggsound"
    rows = []
    for label in ("train horn", "dog barking, far"):
        for number in range(23):
            video = f"{label[:1]}{number:04}_-abcd"
            rows.append(f'{video},30,"{label}",{"train" if number < 20 else "test"}')
            write_mel(root / MELS, f"{video}_30000_40000", 16)
    (tmp_path / "data" / "vggsound.csv").write_text("\n".join(rows) + "\n")
    return root


def test_vggsound_without_lists_is_split_by_video_like_its_test_split(vggsound, tmp_path):
    entries = listing_of(vggsound).entries
    for label in ("train horn", "dog barking, far"):
        splits = [entry.split for entry in entries if entry.label == label]
        assert {split: splits.count(split) for split in set(splits)} == {"train": 17, "valid": 3, "test": 3}
    assert all(entry.split == "test" for entry in entries if int(entry.path.split("/")[1][1:5]) >= 20)
    assert entries == listing_of(vggsound).entries
    (vggsound / MELS / entries[0].path.split("/")[1]).unlink()
    assert listing_of(vggsound).entries == entries[1:]  # the others stay where they are


def test_vggsound_becomes_a_pack_by_its_lists(vggsound, tmp_path):
    clips = sorted(path.name.removesuffix("_mel.npy") for path in (vggsound / MELS).iterdir())
    for split, part in (("train", clips[:30]), ("valid", clips[30:35]), ("test", clips[35:40])):
        (vggsound.parent / f"vggsound_{split}.txt").write_text("\n".join(part))
    write_mel(vggsound / MELS, "unknown____0_10")
    packed = pack(vggsound, tmp_path / "pack")
    assert [clip.split for clip in packed.clips] == ["train"] * 30 + ["valid"] * 5 + ["test"] * 5
    assert Pack(tmp_path / "pack", "test").labels == ["dog barking, far", "train horn"]
    assert len(packed.skipped) == 7


def test_vggsound_clips_that_the_table_lacks_are_named(vggsound, tmp_path):
    write_mel(vggsound / MELS, "unknown_____0_10")
    packed = pack(vggsound, tmp_path / "pack")
    assert packed.skipped == ["unknown_____0_10_mel.npy: vggsound.csv does not list its video"]
    assert len(packed.clips) == 46
    (vggsound.parent / "vggsound.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match="needs four columns"):
        pack(vggsound, tmp_path / "pack")
    (vggsound.parent / "vggsound.csv").unlink()
    with pytest.raises(UsageError, match=r"lacks vggsound\.csv"):
        pack(vggsound, tmp_path / "pack")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vggsound.csv", "Tür____0000,30,a,train\n".encode("latin-1")),
        ("vggsound.csv", b"x" * 140_000 + b",30,a,train\n"),
        ("vggsound_train.txt", "Tür____0000_30\n".encode("latin-1")),
    ],
)
def test_lists_that_cannot_be_read_are_refused(vggsound, name, content):
    (vggsound.parent / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"{name} is no (CSV file|list) in UTF-8.*save it as one"):
        listing_of(vggsound)


def test_lists_of_vas_that_cannot_be_read_are_refused(vas):
    write_lists(vas, ["dog/video_00000"], ["baby/video_00000"])
    (vas.parent / "vas_valid.txt").write_bytes("baby/Tür\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"vas_valid\.txt is no list in UTF-8"):
        listing_of(vas)


def test_a_clip_in_two_lists_is_refused(vas):
    write_lists(vas, ["dog/video_00000", "dog/video_00001"], ["dog/video_00001"])
    with pytest.raises(UsageError, match=r"vas_\*\.txt have dog/video_00001 in two splits, train and valid"):
        listing_of(vas)


def test_features_are_packed_side_by_side_with_215_rows(vas, tmp_path):
    wanted = {}
    for label, number, rows in (("dog", 0, 214), ("dog", 1, 216), ("gun", 0, 215)):
        name = f"video_{number:05}"
        parts = [
            write_features(vas / "features" / label / kind, name, rows, width) for kind, width in ((RGB, 3), (FLOW, 2))
        ]
        wanted[label, name] = np.concatenate([np.concatenate([part, part[:1]])[:215] for part in parts], 1)
    packed = pack(vas, tmp_path / "pack", [RGB, FLOW])
    assert len(packed.skipped) == 8 and all(f"its features {RGB} cannot be used" in line for line in packed.skipped)
    data = Pack(tmp_path / "pack", "train")
    for clip in data.clips:
        label, _, file = clip.path.split("/")
        features = data.features(clip)
        assert features.shape == (215, 5)
        assert np.array_equal(features.numpy(), wanted[label, file.removesuffix("_mel.npy")].astype(np.float16))
    pack(vas, tmp_path / "without")
    with pytest.raises(UsageError, match="no features of video"):
        Pack(tmp_path / "without", "train").features(data.clips[0])


def test_features_of_another_width_are_refused(vas, tmp_path):
    for label, width in (("baby", 3), ("dog", 4)):
        write_features(vas / "features" / label / RGB, "video_00000", 215, width)
    packed = pack(vas, tmp_path / "pack", [RGB])
    assert [clip.label for clip in packed.clips] == ["baby"]
    assert any("have 4 numbers a frame, and those before it 3" in line for line in packed.skipped)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("values", [np.eye(3, 4, dtype="<f4"), np.asfortranarray(np.eye(3, 4)), np.eye(2, dtype=">f4")])
def test_pickled_arrays_are_read_without_unpickling(tmp_path, values, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(values, protocol=protocol))
    assert np.array_equal(read_array(path), values)


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("the file was executed",))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil()),
        pickle.dumps([np.zeros(3)]),
        pickle.dumps(np.arange(3)),
        pickle.dumps(np.zeros(900, np.float32))[:-40],
        pickle.dumps(np.array([Evil()], object)),
        pickle.dumps(np.zeros(3, np.float32)).replace(b"f4", b"f9"),
        pickle.dumps(np.zeros(3, np.float32), 3).replace(b"cnumpy\ndtype\n", b"cnumpy\nstype\n"),
        b"",
        b"no pickle",
    ],
)
def test_pickles_of_anything_else_are_refused(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(SpecVQError, match="holds no pickled array of numbers"):
        read_array(tmp_path / "a.pkl")


def test_a_type_that_is_no_text_is_not_made_into_text(tmp_path):
    """A tuple that is doubled twenty times would be a text of millions of characters."""
    path, doubled = tmp_path / "a.pkl", b"N" + b"2\x86" * 20
    kind = b"cnumpy\ndtype\n(" + doubled + b"tR"
    path.write_bytes(
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x01\x85" + kind + b"\x89C\x08" + bytes(8) + b"tb."
    )
    with pytest.raises(SpecVQError, match="the type of its numbers is no text"):
        read_array(path)


def test_crops_of_packed_spectrograms_equal_slices_and_silence_follows_short_ones(vas, tmp_path):
    pack(vas, tmp_path / "pack")
    mels = MelPack(Pack(tmp_path / "pack", "train"), 22)
    crops, labels = mels.labelled_crops(40, 22, np.random.default_rng(1))
    assert (mels.label_indices()[:, None] == labels).any(0).all()
    pieces = [item.float().unfold(1, 22, 1).movedim(1, 0) * 2 - 1 for item in mels.items]
    for crop, label in zip(crops, labels, strict=True):
        same = [piece for piece, of in zip(pieces, mels.label_indices(), strict=True) if of == label]
        assert any((piece == crop).all(dim=(1, 2)).any() for piece in same)
    assert [item.shape[1] for item in mels.items] == [22, 22, 22, 22, 22, 22]
    assert not torch.any(mels.items[0][:, 20:])


def test_a_pack_of_spectrograms_has_no_waveforms(vas, tmp_path):
    pack(vas, tmp_path / "pack")
    data = Pack(tmp_path / "pack", "train")
    with pytest.raises(UsageError, match="sound is needed"):
        data.crops(1, 100, np.random.default_rng(0))
    with pytest.raises(UsageError, match="sound is needed"):
        data.waveform(data.clips[0])


def test_the_split_by_name_never_changes():
    names = [f"folder/{number}.wav" for number in range(2000)]
    splits = [split_by_name(name) for name in names]
    assert splits == [split_by_name(name) for name in names]
    assert [split_by_name(name) for name in ("0.wav", "1.wav", "2.wav")] == ["train", "test", "valid"]
    assert split_by_name("\udcff.wav") == "train"  # a name of bytes that are no UTF-8
    assert 60 < splits.count("valid") < 140 and 60 < splits.count("test") < 140
