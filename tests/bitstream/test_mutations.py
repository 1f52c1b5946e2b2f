"""20,000 damaged, foreign and hostile files: only SpecVQErrors, no hang, little memory."""

import json
import subprocess
import sys
from pathlib import Path

COUNT = 20_000


def test_mutated_files() -> None:
    script = Path(__file__).with_name("mutate.py")
    # The timeout is generous: the run takes some 70 s on one core.
    done = subprocess.run(
        [sys.executable, str(script), str(COUNT), "1"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
    report = json.loads(done.stdout)
    outcomes = report["outcomes"]
    assert report["extra_memory"] < 64 * 2**20
    assert report["slowest"] < 30
    assert sum(number for outcome, number in outcomes.items() if outcome.startswith("strict:")) == COUNT
    # The mutations are of use: nearly all are refused, some are recovered, and some get as far as entropy decoding.
    assert outcomes["strict: BitstreamError"] > 0.9 * COUNT
    assert outcomes["lenient: read"] > 500
    assert outcomes["strict: read"] > 10
