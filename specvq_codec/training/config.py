"""Training configurations: TOML files that fill the dataclasses of a stage."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from pathlib import Path
from typing import Any, TypeVar

from ..bitstream.errors import UsageError

CONFIGS = Path(__file__).parent / "configs"
T = TypeVar("T")


def fill(kind: type[T], values: dict[str, Any], where: str) -> T:
    """An instance of a dataclass from a table of values, nested dataclasses from nested tables, lists as tuples.

    Raises UsageError that names an unknown or missing key.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise UsageError(f"{where}: unknown setting {', '.join(unknown)}; known are {', '.join(hints)}.")
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        hint = hints[key]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            value = fill(hint, value, f"{where}: {key}")
        arguments[key] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error


def load_config(kind: type[T], name: str) -> T:
    """A configuration from a TOML file, or by the name of one that comes with the package ("codebook-default")."""
    path = CONFIGS / f"{name}.toml" if "/" not in name and not name.endswith(".toml") else Path(name)
    if not path.exists():
        shipped = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.toml")))
        raise UsageError(f"There is no configuration {name}; give a TOML file or one of: {shipped}.")
    try:
        return fill(kind, tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
