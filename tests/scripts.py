"""Scripts of the folder examples/, for the tests."""

import importlib.util
from pathlib import Path
from types import ModuleType


def load_example(name: str) -> ModuleType:
    """One of them as a module."""
    path = Path(__file__).parents[1] / "examples" / f"{name}.py"
    described = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module
