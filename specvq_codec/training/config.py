"""Training configurations: TOML files that fill the dataclasses of a stage."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from ..bitstream.errors import UsageError

CONFIGS = Path(__file__).parent / "configs"
T = TypeVar("T")


def fill(kind: type[T], values: dict[str, Any], where: str) -> T:
    """An instance of a dataclass from a table of values, nested dataclasses from nested tables, lists as tuples.

    Where there is a choice of dataclasses, the table's `kind` says which one is meant; the first, if it says nothing.

    Raises UsageError that names an unknown or missing key.
    """
    settings = {field.name for field in dataclasses.fields(typing.cast(typing.Any, kind))}
    hints = {name: hint for name, hint in typing.get_type_hints(kind).items() if name in settings}
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise UsageError(f"{where}: unknown setting {', '.join(unknown)}; known are {', '.join(hints)}.")
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        hint = hints[key]
        if isinstance(value, dict) and (tables := _tables(hint)):
            inner, chosen = dict(value), next(iter(tables))
            if len(tables) > 1 and (chosen := inner.pop("kind", chosen)) not in list(tables):  # it may be no string
                raise UsageError(f"{where}: {key}: kind must be one of {', '.join(tables)}, and {chosen!r} is not.")
            arguments[key] = fill(tables[chosen], inner, f"{where}: {key}")
            continue
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, hint):
            raise UsageError(f"{where}: {key} must be {_name(hint)}, and {value!r} is not.")
        arguments[key] = value
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error


def _tables(hint: Any) -> dict[str, type[Any]]:
    """The dataclasses that a setting can be, by their kind; none if it is no table."""
    members = typing.get_args(hint) if typing.get_origin(hint) is types.UnionType else (hint,)
    return {
        getattr(member, "kind", ""): member
        for member in members
        if isinstance(member, type) and dataclasses.is_dataclass(member)
    }


def _name(hint: Any) -> str:
    """A setting's type in words."""
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    return f"of type {hint.__name__ if isinstance(hint, type) else hint}"


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from TOML is of a type that a setting can have: int, float, bool, str, a choice, or a tuple."""
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        members = typing.get_args(hint)
        if members[-1] is not Ellipsis:
            return isinstance(value, tuple) and len(value) == len(members) and all(map(_fits, value, members))
        return isinstance(value, tuple) and all(_fits(member, members[0]) for member in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def load_config(kind: type[T], name: str) -> T:
    """A configuration from a TOML file, or by the name of one that comes with the package ("codebook-default")."""
    path = CONFIGS / f"{name}.toml" if "/" not in name and not name.endswith(".toml") else Path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.toml")))
        raise UsageError(f"There is no configuration {name}; give a TOML file or one of: {shipped}.")
    try:
        return fill(kind, tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
