"""Reads the checkpoints that `torch.save` writes, without executing anything that is in them.

A pickle is a program: it names functions and calls them. `torch.load(weights_only=True)` runs none that it does not
know, but it refuses the whole file when it meets one, and the checkpoints of a trainer are full of them (callbacks,
settings, numpy scalars). Here the program is interpreted by a machine that knows plain containers, numbers, strings
and tensors. Every other class or function becomes a `Name`, and calling or filling one gives a `Foreign`, which holds
nothing and does nothing; no name is ever imported or looked up.

Tensors are views of the file, which is mapped into memory, or of a copy where its data are not aligned: nothing is
allocated that the file does not hold, however often it refers to it. Of compressed archive members, which could grow,
none is read.
"""

from __future__ import annotations

import io
import math
import mmap
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from .bitstream.errors import WeightsError

__all__ = ["MALFORMED", "Foreign", "Machine", "Name", "read_checkpoint"]

_MAX_PICKLE = 1 << 24  # bytes; what is not tensor data in a checkpoint of 760 tensors and their optimiser is 1 MB
_MAX_STEPS = 2_000_000  # instructions; the same checkpoint has 100,000
_MAX_STORAGES = 100_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


@dataclass(frozen=True)
class Name:
    """A class or function that a checkpoint names. It was not looked up."""

    module: str
    name: str


@dataclass(frozen=True, eq=False)
class Foreign:
    """Stands where a checkpoint has an object that is no tensor and no plain container."""

    kind: Name | None = None


class _DamagedError(Exception):
    """The pickle cannot have been written by `torch.save`."""


# What the machine and the libraries below it raise when bytes are not what they should be.
MALFORMED = (
    _DamagedError, ArithmeticError, EOFError, LookupError, MemoryError, NotImplementedError, RuntimeError, TypeError,
    ValueError, struct.error, zipfile.BadZipFile,
)  # fmt: skip

_MARK = object()
_KEYS = (str, bytes, float, type(None))
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,  # sets become lists: hashing what a stranger made can take for ever
}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4",
    "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_NO_EFFECT = {"PROTO", "FRAME", "READONLY_BUFFER"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

Storage = Callable[[str, torch.dtype], Tensor]
"""Gives the one-dimensional tensor of a storage, from its key and dtype."""


class Machine:
    """Interprets one pickle. What is on its stack is always plain: no object there has a method that it calls."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> Any:
        """The object that a pickle describes; raises one of `MALFORMED` if it describes none."""
        for step, (opcode, argument, _position) in enumerate(pickletools.genops(stream)):
            if step > _MAX_STEPS:
                raise _DamagedError("its pickle is too long")
            if opcode.name == "STOP":
                return self.stack.pop()
            self.execute(opcode.name, argument)
        raise _DamagedError("its pickle has no end")

    def execute(self, name: str, argument: Any) -> None:
        """One instruction."""
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _PUTS:
            self.memo[argument] = stack[-1]
        elif name in _GETS:
            stack.append(self.memo[argument])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            stack.append(Name(module, attribute))
        elif name == "STACK_GLOBAL":
            module, attribute = self.take(2)
            if not (isinstance(module, str) and isinstance(attribute, str)):
                raise _DamagedError("it names a class by something that is no string")
            stack.append(Name(module, attribute))
        elif name == "BINPERSID":
            stack.append(self.persistent(stack.pop()))
        elif name not in _NO_EFFECT:
            self.build(name)

    def build(self, name: str) -> None:
        """The instructions that make objects or put objects into one another."""
        stack = self.stack
        if name in _TUPLES:
            stack.append(tuple(self.take(_TUPLES[name])))
        elif name in ("TUPLE", "FROZENSET"):
            stack.append(tuple(self.to_mark()))
        elif name == "LIST":
            stack.append(self.to_mark())
        elif name == "DICT":
            items = self.to_mark()
            stack.append({})
            _set_items(stack[-1], items)
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = self.take(1) if name == "APPEND" else self.to_mark()
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self.take(2) if name == "SETITEM" else self.to_mark()
            if isinstance(stack[-1], dict):
                _set_items(stack[-1], items)
        elif name == "REDUCE":
            function, arguments = self.take(2)
            stack.append(_call(function, arguments))
        elif name in ("NEWOBJ", "NEWOBJ_EX"):
            kind = self.take(2 if name == "NEWOBJ" else 3)[0]
            stack.append(_foreign(kind))
        elif name in ("INST", "OBJ"):
            self.to_mark()
            stack.append(Foreign())
        elif name == "BUILD":
            self.take(1)  # the state of an object: dropped
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self.to_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            raise _DamagedError(f"its pickle has the instruction {name}")

    def take(self, count: int) -> list[Any]:
        """Remove the topmost objects; lowest first."""
        taken = self.stack[-count:]
        if len(taken) < count or any(item is _MARK for item in taken):
            raise _DamagedError("its pickle takes more than it has")
        del self.stack[-count:]
        return taken

    def to_mark(self) -> list[Any]:
        """Remove everything down to the topmost mark, and the mark."""
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        return items

    def persistent(self, identity: Any) -> Any:
        """A storage, as `torch.save` refers to it: ("storage", class, key, place, number of elements, ...)."""
        if not isinstance(identity, tuple) or len(identity) < 2:
            raise _DamagedError("it refers to data in an unknown way")
        if identity[0] == "module":  # the source code of a saved module, in old files
            return _foreign(identity[1])
        if identity[0] != "storage" or len(identity) not in (5, 6):
            raise _DamagedError("it refers to data in an unknown way")
        kind, key = identity[1:3]
        view = identity[5] if len(identity) == 6 else None
        known = isinstance(kind, Name) and kind.module in ("torch", "torch.cuda") and kind.name in _DTYPES
        if not known or not isinstance(key, str) or view is not None:
            return _foreign(kind)
        return self.storage(key, _DTYPES[kind.name])


def _foreign(kind: Any) -> Foreign:
    return Foreign(kind if isinstance(kind, Name) else None)


def _set_items(target: dict[Any, Any], items: list[Any]) -> None:
    """Put alternating keys and values into a dict. Keys that are not plain (a class, a tuple) become strings."""
    if len(items) % 2:
        raise _DamagedError("its pickle has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # hashing anything else, even an endless integer, can take for ever
        plain = abs(key) < 1 << 64 if isinstance(key, int) else isinstance(key, _KEYS)
        target[key if plain else f"<{type(key).__name__} {len(target)}>"] = value


def _call(function: Any, arguments: Any) -> Any:
    """What a call makes: the few functions that make tensors and containers are known here, the others do nothing."""
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        return Foreign()
    match (function.module, function.name):
        case ("collections", "OrderedDict") if not arguments:
            return {}
        case ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"):
            return _tensor(function, *arguments[:4])
        case ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state"):
            return arguments[0]
        case ("torch", "Size"):
            return arguments[0]
    return _foreign(function)


def _tensor(function: Name, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor | Foreign:
    """A view of a storage, or a `Foreign` where the storage is of an unknown dtype or smaller than the tensor."""
    if not isinstance(storage, Tensor):
        return _foreign(function)
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 8):
        raise _DamagedError("a tensor has an impossible shape")
    if any(type(number) is not int or not 0 <= number < 1 << 40 for number in (offset, *size, *stride)):
        raise _DamagedError("a tensor has an impossible shape")
    reach = sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + 1 if math.prod(size) else 0
    if offset + reach > storage.numel():
        raise _DamagedError("a tensor reaches beyond its data")
    if math.prod(size) > storage.numel():
        return _foreign(function)  # an expanded tensor; copying it could take more memory than the file has
    return storage.as_strided(size, stride, offset)


def _view(data: mmap.mmap, start: int, length: int, dtype: torch.dtype) -> Tensor:
    """Bytes of the file as a tensor (N,)."""
    if start < 0 or length < 0 or start + length > len(data):
        raise _DamagedError("it ends too early")
    if length % dtype.itemsize:
        raise _DamagedError("its data have an impossible length")
    if length == 0:
        return torch.empty(0, dtype=dtype)
    if start % dtype.itemsize:  # old files do not align their data
        return torch.frombuffer(bytearray(data[start : start + length]), dtype=dtype)
    return torch.frombuffer(data, dtype=dtype, count=length // dtype.itemsize, offset=start)


def _read_zip(data: mmap.mmap, file: IO[bytes]) -> Any:
    """The format of torch 1.6 and later: an archive of `data.pkl` and one uncompressed member a storage."""
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _DamagedError("the archive has no data.pkl, or several")
    prefix = pickles[0].removesuffix("data.pkl")

    def content(name: str) -> tuple[int, int]:
        """Where a member lies: start and length."""
        member = members.get(prefix + name)
        if member is None:
            raise _DamagedError(f"the archive lacks {name}")
        header = data[member.header_offset : member.header_offset + 30]
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 or header[:4] != b"PK\x03\x04":
            raise _DamagedError(f"{name} is not stored as torch.save stores it")
        name_length, extra_length = struct.unpack("<2H", header[26:30])
        return member.header_offset + 30 + name_length + extra_length, member.file_size

    if prefix + "byteorder" in members:
        start, length = content("byteorder")
        if data[start : start + min(length, 16)] != b"little":
            raise _DamagedError("it was written on a big-endian machine, and must be saved again on another")
    start, length = content("data.pkl")
    if length > _MAX_PICKLE:
        raise _DamagedError("its pickle is too long")
    pickle = io.BytesIO(data[start : start + length])
    storages: dict[tuple[str, torch.dtype], Tensor] = {}
    held = 0  # bytes in them

    def storage(key: str, dtype: torch.dtype) -> Tensor:
        nonlocal held
        if (key, dtype) not in storages:
            start, length = content(f"data/{key}")
            held += length
            if held > len(data):  # members over one another, or one in several types: each could be a copy
                raise _DamagedError("its data are more than the file")
            storages[key, dtype] = _view(data, start, length, dtype)
        return storages[key, dtype]

    return Machine(storage).run(pickle)


def _read_legacy(data: mmap.mmap) -> Any:
    """The format before torch 1.6: five pickles (the fourth is the object), then each storage with its length."""
    position = 0

    def next_pickle(storage: Storage) -> Any:
        nonlocal position
        stream = io.BytesIO(data[position : position + _MAX_PICKLE])
        value = Machine(storage).run(stream)
        position += stream.tell()
        return value

    def no_storage(key: str, dtype: torch.dtype) -> Tensor:
        raise _DamagedError("it has data where none can be")

    if next_pickle(no_storage) != _LEGACY_MAGIC or next_pickle(no_storage) != _LEGACY_PROTOCOL:
        raise _DamagedError("it does not start as such files do")
    system = next_pickle(no_storage)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _DamagedError("it was written on a big-endian machine, and must be saved again on another")

    # The data follow the object, and their places are known only once the object is: it is read twice.
    dtypes: dict[str, torch.dtype] = {}
    beginning = position
    next_pickle(lambda key, dtype: torch.empty(len(data), dtype=dtypes.setdefault(key, dtype), device="meta"))
    keys = next_pickle(no_storage)
    if not isinstance(keys, list) or len(keys) > _MAX_STORAGES:
        raise _DamagedError("its list of data is damaged")
    storages: dict[str, Tensor] = {}
    for key in keys:
        if not isinstance(key, str) or key not in dtypes:  # hashing anything else can take for ever
            raise _DamagedError("its list of data names some that nothing refers to")
        (elements,) = struct.unpack("<q", data[position : position + 8])
        length = elements * dtypes[key].itemsize
        storages[key] = _view(data, position + 8, length, dtypes[key])
        position += 8 + length
    position = beginning
    return next_pickle(lambda key, dtype: storages[key])


def read_checkpoint(path: Path) -> dict[Any, Any]:
    """Read a file of `torch.save` (either of its formats) without executing anything in it.

    Args:
        path: a `.ckpt`, `.pt` or `.pth` file.

    Returns:
        The dict in the file. Tensors in it are on the CPU and share memory with a private map of the file. Sets are
        lists, frozen sets are tuples; objects of all other classes, numpy's too, are `Foreign`.

    Raises:
        WeightsError: the file cannot be read, is no such file, is damaged, or holds something other than a dict.
    """
    try:
        with path.open("rb") as file:
            # not closed here: tensors are views of it, and it goes when the last of them does
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            found = _read_zip(data, file) if data[:4] == b"PK\x03\x04" else _read_legacy(data)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}): check the path.") from error
    except MALFORMED as error:
        reason = str(error) or type(error).__name__
        raise WeightsError(f"{path} is no checkpoint of PyTorch, or it is damaged ({reason}): get it again.") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds no dictionary: give a checkpoint that holds a state dict.")
    return found
