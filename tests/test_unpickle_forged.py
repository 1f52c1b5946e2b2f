"""Files that were forged to do harm to a reader: to make it read beyond its data, grow without bound, or hang."""

import copy
import pathlib
import struct
import zipfile

import numpy as np
import pytest
import torch

from specvq_codec.bitstream.errors import WeightsError
from specvq_codec.unpickle import Foreign, read_checkpoint


def archive(path: pathlib.Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> pathlib.Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def pickled_tensor(
    numel: int = 4, offset: int = 0, size: tuple[int, ...] = (2, 2), stride: tuple[int, ...] = (2, 1), key: str = "0"
) -> bytes:
    """`data.pkl` of {"x": a float32 tensor}, any claim possible."""
    return b"\x80\x02}" + text("x") + tensor(numel, offset, size, stride, key) + b"s."


def tensor(
    numel: int = 4, offset: int = 0, size: tuple[int, ...] = (2, 2), stride: tuple[int, ...] = (2, 1), key: str = "0"
) -> bytes:
    """The program of a float32 tensor."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + whole(numel) + b"tQ"
    arguments = b"(" + storage + whole(offset) + whole_tuple(size) + whole_tuple(stride) + b"\x89N" + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def whole(value: int) -> bytes:
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + data


def whole_tuple(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(whole, values)) + b"t"


def test_the_forged_tensor_is_right_if_it_is_honest(tmp_path):
    data = np.arange(4, dtype="<f4").tobytes()
    path = archive(tmp_path / "a.pt", {"a/data.pkl": pickled_tensor(), "a/data/0": data, "a/version": b"3"})
    assert read_checkpoint(path)["x"].tolist() == [[0, 1], [2, 3]]
    assert torch.load(path, weights_only=False)["x"].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    "claim",
    [
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**62},
        {"size": (2, 3), "stride": (1, 1)},
        {"size": (2, 2), "stride": (3, 1)},
        {"size": (2, 2), "stride": (-1, 1)},
        {"size": (2**62, 2**62), "stride": (0, 0)},
        {"size": (-1, -4), "stride": (1, 1)},
        {"size": (1,) * 9, "stride": (1,) * 9},
        {"size": (4,), "stride": (1, 1)},
        {"key": "1"},
        {"key": "../0"},
        {"key": "/etc/passwd"},
    ],
)
def test_forged_tensors(tmp_path, claim):
    members = {"a/data.pkl": pickled_tensor(**claim), "a/data/0": bytes(16)}
    try:
        found = read_checkpoint(archive(tmp_path / "a.pt", members))
    except WeightsError:
        return
    assert isinstance(found["x"], Foreign)


def test_an_expanded_tensor_does_not_grow(tmp_path):
    members = {"a/data.pkl": pickled_tensor(size=(2**30, 2**9), stride=(0, 0)), "a/data/0": bytes(16)}
    assert isinstance(read_checkpoint(archive(tmp_path / "a.pt", members))["x"], Foreign)


GOOD = {"a/data.pkl": pickled_tensor(), "a/data/0": bytes(16)}


@pytest.mark.parametrize(
    ("members", "compression"),
    [
        ({}, zipfile.ZIP_STORED),
        ({"a/data/0": bytes(16)}, zipfile.ZIP_STORED),
        ({**GOOD, "b/data.pkl": pickled_tensor()}, zipfile.ZIP_STORED),
        (GOOD, zipfile.ZIP_DEFLATED),
        ({**GOOD, "a/data/0": bytes(8)}, zipfile.ZIP_STORED),
        ({**GOOD, "a/data/0": bytes(15)}, zipfile.ZIP_STORED),
        ({**GOOD, "a/byteorder": b"big"}, zipfile.ZIP_STORED),
        ({"a/data.pkl": b"."}, zipfile.ZIP_STORED),
        ({"a/data.pkl": b""}, zipfile.ZIP_STORED),
        ({"a/data.pkl": b"}" * (1 << 25)}, zipfile.ZIP_STORED),
        ({"a/data.pkl": b"\x80\x02}."[:3]}, zipfile.ZIP_STORED),
    ],
)
def test_forged_archives(tmp_path, members, compression):
    with pytest.raises(WeightsError):
        read_checkpoint(archive(tmp_path / "a.pt", members, compression))


PROGRAMS = {
    "jump in the memo": b"}r\xff\xff\xff\x7f.",
    "text jump in the memo": b"}p9999999999999999999999\n.",
    "huge string": b"X\xff\xff\xff\x7fabc.",
    "huge bytes": b"\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "huge frame": b"\x95" + struct.pack("<Q", 2**62) + b"}.",
    "deep lists": b"(" + b"]" * 300_000 + b"l0}.",
    "doubling tuple as a key": b"}N" + b"2\x86" * 5000 + b"Ns.",
    "doubling tuple as a name": b"N" + b"2\x86" * 5000 + b"2\x93}.",
    "doubling list in a message": b"N" + b"2\x86" * 5000 + b"Q}.",
    "endless integer as a key": b"}\x8b\x00\x00\x10\x00" + b"\x01" * 2**20 + b"q\x00Ns" + b"h\x00Ns" * 10**5 + b".",
    "itself as its member": b"}q\x00X\x01\x00\x00\x00ah\x00sh\x00.",
    "extension registry": b"\x82\x01.",
    "out of band": b"\x97.",
    "empty stack": b"0000.",
    "mark as a value": b"}(q\x00h\x00.",
    "text reference": b"Pabc\n.",
    "instance": b"(ios\nsystem\n}.",
    "object": b"(cos\nsystem\nX\x01\x00\x00\x00ao}.",
    "call of a list": b"](tR}.",
    "state of a name": b"cos\nsystem\n}b}.",
    "state of a dict": b"}}X\x01\x00\x00\x00aNsb.",
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_forged_programs_end_quickly(tmp_path, zipped, program):
    path = tmp_path / "a.pt"
    if zipped:
        archive(path, {"a/data.pkl": PROGRAMS[program]})
    else:
        torch.save({}, path, _use_new_zipfile_serialization=False)
        whole_file = path.read_bytes()
        assert whole_file.count(b"}q\x00.") >= 1
        path.write_bytes(whole_file[: whole_file.rindex(b"\x80\x02}")] + PROGRAMS[program] + b"\x80\x02].")
    try:
        found = read_checkpoint(path)
    except WeightsError as error:
        assert len(str(error)) < 1000
    else:
        assert isinstance(found, dict)


@pytest.mark.parametrize("length", [-1, 2**40, 2**62])
def test_forged_length_in_an_old_file(tmp_path, length):
    path = tmp_path / "a.pt"
    torch.save({"x": torch.arange(7)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    place = content.rindex(struct.pack("<q", 7) + struct.pack("<q", 0))
    path.write_bytes(content[:place] + struct.pack("<q", length) + content[place + 8 :])
    with pytest.raises(WeightsError, match=r"a\.pt"):
        read_checkpoint(path)


@pytest.mark.parametrize("key", [b"]", b"N" + b"2\x86" * 5000], ids=["list", "doubling tuple"])
def test_forged_keys_in_an_old_file(tmp_path, key):
    path = tmp_path / "a.pt"
    torch.save({"x": torch.arange(7)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    place = content.rindex(b"\x80\x02]")  # the list of data
    path.write_bytes(content[:place] + b"\x80\x02](" + key + b"e.")
    with pytest.raises(WeightsError, match="names some that nothing refers to"):
        read_checkpoint(path)


def unaligned(path: pathlib.Path, keys: str, data: bytes) -> pathlib.Path:
    """An archive of {"00": a tensor, "01": a tensor, ...}; the keys of their data may all be used for the same data.

    These do not begin where a float32 can.
    """
    tensors = b"".join(text(f"{place:02}") + tensor(key=key) for place, key in enumerate(keys))
    for padding in ("", "."):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a/data.pkl", b"\x80\x02}(" + tensors + b"u." + padding.encode())
            file.writestr(f"a/data/{keys[0]}", data)
            member = file.infolist()[-1]
            for key in sorted(set(keys[1:]) - {keys[0]}):
                other = copy.copy(member)
                other.filename = f"a/data/{key}"
                file.filelist.append(other)
        if (member.header_offset + 30 + len(member.filename)) % 4:
            break
    return path


def test_data_that_are_not_aligned_are_copied_once(tmp_path):
    path = unaligned(tmp_path / "a.pt", "0" * 20, np.arange(1024, dtype="<f4").tobytes())
    found = read_checkpoint(path)
    assert [tensor.tolist() for tensor in found.values()] == [[[0, 1], [2, 3]]] * 20
    assert len({tensor.data_ptr() for tensor in found.values()}) == 1
    assert found["00"].untyped_storage().nbytes() == 4096


def test_data_over_one_another_do_not_grow(tmp_path):
    with pytest.raises(WeightsError, match="its data are more than the file"):
        read_checkpoint(unaligned(tmp_path / "a.pt", "0123", bytes(4096)))


def test_memory_that_there_is_not_is_the_file_s_fault(tmp_path, monkeypatch):
    def none_left(*_):
        raise MemoryError

    path = archive(tmp_path / "a.pt", GOOD)
    monkeypatch.setattr("specvq_codec.unpickle._view", none_left)
    with pytest.raises(WeightsError, match=r"a\.pt .*MemoryError"):
        read_checkpoint(path)
