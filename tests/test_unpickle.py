"""Checkpoints are read without executing anything in them, whatever they hold."""

import argparse
import collections
import datetime
import functools
import io
import os
import pathlib
import pickle
import random
import sys
import types

import numpy as np
import pytest
import torch

from specvq_codec.bitstream.errors import WeightsError
from specvq_codec.unpickle import Foreign, read_checkpoint

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
FIRED: list[str] = []


def fire(*_anything: object) -> dict[str, str]:
    """What an attacker would like to be called."""
    FIRED.append("called")
    return {}


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made

    def __call__(self):
        """So that what a call gives can be called in turn."""


class Armed:
    """Every hook that a pickle can reach fires."""

    def __new__(cls, *_anything):
        FIRED.append("new")
        return super().__new__(cls)

    def __setstate__(self, state):
        FIRED.append("setstate")

    def __reduce_ex__(self, _protocol):
        return (Armed.__new__, (Armed,), {"state": 1})


class ArmedDict(dict):
    def __setitem__(self, key, value):
        FIRED.append("setitem")

    def __hash__(self):
        FIRED.append("hash")
        return 1


class ArmedList(list):
    def append(self, item):
        FIRED.append("append")

    extend = append


@pytest.fixture(autouse=True)
def unfired():
    FIRED.clear()


def saved(path, content, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def small_state():
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    return {"weight": layer.weight, "bias": layer.bias.data}


def assert_equal_tensors(found, expected):
    assert list(found) == list(expected)
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor), key


@FORMATS
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
def test_tensors_of_every_kind(tmp_path, zipped, dtype):
    base = torch.arange(60).reshape(3, 4, 5).to(dtype)
    content = {
        "plain": base.clone(),
        "scalar": base[1, 1, 1].clone(),
        "empty": base[:0],
        "transposed": base.transpose(0, 2),
        "strided": base[:, ::2, 1::3],
        "shared": base[1],
        "shared_again": base,
    }
    assert_equal_tensors(read_checkpoint(saved(tmp_path / "a.pt", content, zipped)), content)


@FORMATS
def test_containers_and_numbers(tmp_path, zipped):
    content = {
        "list": [1, -2, 3.5, "text", None, True, False, 2**40, -(2**70)],
        "nested": ({"a": [(1, 2, 3, 4), ()]}, collections.OrderedDict(b=1)),
        7: "a number for a key",
        "size": torch.Size([2, 3]),
    }
    found = read_checkpoint(saved(tmp_path / "a.pt", content, zipped))
    assert found == {**content, "nested": ({"a": [(1, 2, 3, 4), ()]}, {"b": 1}), "size": (2, 3)}


@FORMATS
def test_what_trainers_put_into_checkpoints(tmp_path, zipped, monkeypatch):
    module = types.ModuleType("vanished")

    class AttributeDict(dict):
        __module__ = "vanished"
        __qualname__ = "AttributeDict"

    class EarlyStopping:
        __module__ = "vanished"
        __qualname__ = "EarlyStopping"

        def __init__(self):
            self.best = np.float32(0.5)
            self.function = fire

    module.AttributeDict, module.EarlyStopping = AttributeDict, EarlyStopping
    monkeypatch.setitem(sys.modules, "vanished", module)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    content = {
        "state_dict": model.state_dict(),
        "parameters": dict(model.named_parameters()),
        "optimizer_states": [optimizer.state_dict()],
        "callbacks": {EarlyStopping: {"best": np.float64(3)}, "other": EarlyStopping()},
        "hyper_parameters": AttributeDict(path=pathlib.Path("x"), rate=np.float32(1), options=argparse.Namespace(a=1)),
        "others": [
            np.arange(5),
            np.dtype("f4"),
            {1, 2},
            frozenset([3]),
            datetime.date(2020, 1, 1),
            functools.partial(fire, 1),
            torch.device("cpu"),
            torch.float16,
            collections.defaultdict(list, a=[1]),
            slice(1),
            1j,
            torch.zeros(2, dtype=torch.complex64),
            torch.zeros(1).expand(1000),
        ],
        "tuple keys": {(1, 2): 3},
        "global_step": 17,
    }
    path = saved(tmp_path / "a.ckpt", content, zipped)
    monkeypatch.delitem(sys.modules, "vanished")

    found = read_checkpoint(path)
    assert list(found) == list(content)
    assert found["global_step"] == 17
    assert_equal_tensors(found["state_dict"], content["state_dict"])
    assert_equal_tensors(found["parameters"], content["parameters"])
    moments = found["optimizer_states"][0]["state"][0]["exp_avg"]
    assert torch.equal(moments, optimizer.state_dict()["state"][0]["exp_avg"])
    assert isinstance(found["hyper_parameters"], Foreign)
    assert isinstance(found["callbacks"]["other"], Foreign)
    assert not FIRED and "vanished" not in sys.modules


def marker_of(folder: pathlib.Path) -> str:
    """A file that a threat makes if it is carried out."""
    return str(folder / "marker")


THREATS = {
    "os.system": lambda folder: Call(os.system, f"touch {marker_of(folder)}"),
    "eval": lambda folder: Call(eval, f"open({marker_of(folder)!r}, 'w')"),
    "exec": lambda folder: Call(exec, f"open({marker_of(folder)!r}, 'w')"),
    "open": lambda folder: Call(open, marker_of(folder), "w"),
    "names": lambda folder: Call(Call(getattr, Call(__import__, "os"), "system"), f"touch {marker_of(folder)}"),
    "function": lambda folder: Call(fire),
    "getattr": lambda folder: Call(Call(getattr, fire, "__call__")),
    "map": lambda folder: Call(list, Call(map, fire, [1, 2])),
    "hooks of a class": lambda folder: Armed(),
    "dict": lambda folder: ArmedDict(a=1),
    "key": lambda folder: {Call(ArmedDict): 1},
    "list": lambda folder: ArmedList([1, 2]),
    "torch.load": lambda folder: Call(
        functools.partial(torch.load, weights_only=False), saved(folder / "b", Call(fire))
    ),
    "pickle.loads": lambda folder: Call(pickle.loads, pickle.dumps(Call(fire))),
}


def has_fired(folder: pathlib.Path) -> bool:
    return bool(FIRED) or (folder / "marker").exists()


@FORMATS
@pytest.mark.parametrize("threat", THREATS)
def test_nothing_is_executed(tmp_path, zipped, threat):
    content = {"before": THREATS[threat](tmp_path), "state_dict": small_state(), "after": [THREATS[threat](tmp_path)]}
    path = saved(tmp_path / "a.ckpt", content, zipped)
    FIRED.clear()
    found = read_checkpoint(path)
    assert not has_fired(tmp_path)
    assert torch.equal(found["state_dict"]["bias"], content["state_dict"]["bias"])

    try:  # the control: an ordinary unpickler is harmed by this file
        torch.load(path, weights_only=False)
    except Exception:
        assert has_fired(tmp_path), "a threat that harms nobody tests nothing"
    assert has_fired(tmp_path)


@FORMATS
@pytest.mark.parametrize("threat", THREATS)
def test_nothing_is_executed_at_the_top(tmp_path, zipped, threat):
    path = saved(tmp_path / "a.ckpt", THREATS[threat](tmp_path), zipped)
    FIRED.clear()
    try:
        found = read_checkpoint(path)
    except WeightsError as error:
        assert "state dict" in str(error)
    else:
        assert threat == "key" and len(found) == 1
    assert not has_fired(tmp_path)


@FORMATS
def test_every_truncation_is_noticed(tmp_path, zipped):
    path = saved(tmp_path / "a.pt", small_state(), zipped)
    content = path.read_bytes()
    for length in {*range(0, len(content), 7), len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            read_checkpoint(path)


@FORMATS
@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_damage_gives_an_error_or_a_dict(tmp_path, zipped):
    path = saved(tmp_path / "a.pt", {"state_dict": small_state(), "epoch": 3}, zipped)
    content = path.read_bytes()
    rng = random.Random(0)
    outcomes = collections.Counter()
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 4])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
            outcomes["read"] += 1
        except WeightsError:
            outcomes["refused"] += 1
    assert outcomes["read"] > 50 and outcomes["refused"] > 50


@pytest.mark.parametrize(
    "content", [b"", b"P", b"PK\x03\x04", b"\x80\x02}.", bytes(1000), b"\x89HDF\r\n", b"import os\n"]
)
def test_other_files(tmp_path, content):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.pt"):
        read_checkpoint(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        read_checkpoint(tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="directory"):
        read_checkpoint(tmp_path)


def test_changing_a_tensor_does_not_change_the_file(tmp_path):
    path = saved(tmp_path / "a.pt", {"x": torch.ones(1000)})
    before = path.read_bytes()
    read_checkpoint(path)["x"].zero_()
    assert path.read_bytes() == before


def test_a_file_object_that_torch_wrote_in_memory(tmp_path):
    buffer = io.BytesIO()
    torch.save(small_state(), buffer)
    (tmp_path / "a.pt").write_bytes(buffer.getvalue())
    assert_equal_tensors(read_checkpoint(tmp_path / "a.pt"), small_state())
