"""Running the command line: in this process for most tests, as a process of its own where that matters."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "specvq_codec"]


def environment(bundle, **more):
    return os.environ | {"SPECVQ_WEIGHTS": str(bundle.path), "OMP_NUM_THREADS": "1"} | more


def run_process(bundle, *args, **options):
    """Run the command in a process; returns the completed process, with bytes."""
    command = [*COMMAND, *map(str, args)]
    return subprocess.run(command, env=environment(bundle), capture_output=True, timeout=120, **options)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
