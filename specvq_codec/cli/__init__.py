"""The command line. Heavy modules are imported inside the commands, so that `specvq --help` is quick."""

from .app import main

__all__ = ["main"]
