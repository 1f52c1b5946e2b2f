"""Peak memory of `specvq encode` and `specvq decode` as processes, beside that of `import torch` alone.

    python benchmarks/memory.py [--weights BUNDLE | --reference] [--seconds 300 3600] [--threads 2]

Sounds are 44.1 kHz stereo WAV files, which take 635 MB of temporary disk space for an hour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import COMMAND, print_table, processor, write_stereo

TARGET, ALLOWANCE = 1000, 100  # MB for an hour, and how much more it may be than for five minutes


def run(program: str, arguments: list[str], threads: int) -> tuple[float, float]:
    """Run Python code as a process; its peak resident set in MB (10^6 bytes), and its wall time in seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        assert process.stderr is not None
        sys.exit(process.stderr.read().decode())
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return usage.ru_maxrss * unit / 1e6, elapsed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="bundle; the default one if not given")
    parser.add_argument("--reference", action="store_true", help="networks of the reference's full size instead")
    parser.add_argument("--seconds", type=float, nargs="+", default=[300.0, 3600.0], help="lengths of sound")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    weights = [] if options.weights is None else ["--weights", options.weights]
    print(f"{processor()}, {options.threads} threads")
    torch_alone, _ = run("import torch", [], options.threads)
    rows = [["import torch", f"{torch_alone:.0f}", "", "", ""]]
    with tempfile.TemporaryDirectory() as name:
        sound, svq, decoded = (str(Path(name) / file) for file in ("sound.wav", "sound.svq", "decoded.wav"))
        if options.reference:
            weights = ["--weights", str(Path(name) / "reference")]
            # Elsewhere, so that this process stays small: a child's peak can begin with its parent's.
            make = "import sys, common, pathlib; common.reference_bundle(pathlib.Path(sys.argv[1]))"
            subprocess.run([sys.executable, "-c", make, weights[1]], cwd=Path(__file__).parent, check=True)
        first: dict[str, float] = {}
        for seconds in options.seconds:
            write_stereo(Path(sound), seconds)
            for what, source, target in (("encode", sound, svq), ("decode", svq, decoded)):
                peak, elapsed = run(COMMAND, [what, source, target, "-f", *weights], options.threads)
                more = peak - first.setdefault(what, peak)
                speed = f"{seconds / elapsed:.1f}"
                rows.append(
                    [f"{what} {seconds:g} s", f"{peak:.0f}", f"{peak - torch_alone:.0f}", f"{more:+.0f}", speed]
                )
    print_table(["peak MB", "all", "above torch", "above the shortest", "times real time"], rows)
    print(f"Targets: at most {TARGET} MB, and at most {ALLOWANCE} MB above the shortest. Start-up is in the times.")


if __name__ == "__main__":
    main()
