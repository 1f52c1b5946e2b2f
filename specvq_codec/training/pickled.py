"""Reads a pickled numpy array, as the reference keeps its video features, without executing anything of the file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bitstream.errors import SpecVQError
from ..unpickle import MALFORMED, Machine, Name

_MAX_BYTES = 1 << 26  # 2048 features for 13 minutes of video
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")


@dataclass(eq=False)
class _Call:
    """A call that the pickle asks for, which is not made, and what it would fill the result with."""

    function: Any
    arguments: Any
    state: Any = None

    def is_of(self, modules: tuple[str, ...], name: str) -> bool:
        return isinstance(self.function, Name) and self.function.module in modules and self.function.name == name


class _Recorder(Machine):
    """Keeps calls instead of making them."""

    def build(self, name: str) -> None:
        if name == "REDUCE":
            self.stack.append(_Call(*self.take(2)))
        elif name == "BUILD":
            (state,) = self.take(1)
            if isinstance(self.stack[-1], _Call):
                self.stack[-1].state = state
        else:
            super().build(name)


def read_array(path: Path) -> NDArray[np.floating[Any]]:
    """The floating-point array (any shape) that is pickled in a file, by any version of Python and numpy.

    Raises SpecVQError if the file cannot be read, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SpecVQError(f"it cannot be read ({(error.strerror or str(error)).lower()})") from error
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError("it is too long")
        return _array(_Recorder(_no_storage).run(io.BytesIO(content)))
    except (*MALFORMED, AttributeError) as error:
        raise SpecVQError(f"it holds no pickled array of numbers ({error})") from error


def _no_storage(*_: Any) -> Any:
    raise ValueError("it refers to other files")


def _array(found: Any) -> NDArray[np.floating[Any]]:
    """The array that recorded calls describe: numpy's pickles before and after version 5 of the protocol."""
    if not isinstance(found, _Call):
        raise ValueError("it is something else")
    if found.is_of(_MULTIARRAY, "_reconstruct"):
        shape, kind, columns_first, data = found.state[1:5]
    elif found.is_of(_NUMERIC, "_frombuffer"):
        data, kind, shape, order = found.arguments
        columns_first = order == "F"
    else:
        raise ValueError("it is something else")
    values = np.frombuffer(_bytes(data), dtype=_dtype(kind))
    return values.reshape(shape, order="F" if columns_first else "C")


def _dtype(call: Any) -> np.dtype[np.floating[Any]]:
    if not isinstance(call, _Call) or not call.is_of(("numpy",), "dtype"):
        raise ValueError("its numbers have no type of numpy")
    name, order = _text(call.arguments[0]), _text(call.state[1]) if call.state else "="
    if name not in ("f2", "f4", "f8") or order not in ("<", ">", "="):
        raise ValueError("its numbers are no floating-point numbers")
    return np.dtype(order + name)


def _text(found: Any) -> str:
    if not isinstance(found, str | bytes):  # making text of anything else can take for ever
        raise ValueError("the type of its numbers is no text")
    return found.decode("latin-1") if isinstance(found, bytes) else found


def _bytes(data: Any) -> bytes | bytearray:
    if isinstance(data, _Call) and data.is_of(("_codecs",), "encode"):
        data = data.arguments[0]
    return data.encode("latin-1") if isinstance(data, str) else data  # Python 2 pickled bytes as text
