"""What the README shows works as it stands there."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from specvq_codec import Codes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")  # a command may go on in the next line
COMMAND_LINES = [
    re.sub(r"\s{2,}#.*", "", line).strip() for line in re.findall(r"^    (specvq .*)$", README, flags=re.MULTILINE)
]
EXAMPLE = re.findall(r"^\$ (.*)\n((?:[^$`].*\n)*)", README, flags=re.MULTILINE)


def specvq(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to work in, with the example sound where the README has it."""
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "example.flac", tmp_path / "examples")
    return tmp_path


def test_python_example(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(place)
    names: dict[str, object] = {}
    exec(code, names)
    codes, samples, exact = names["codes"], names["samples"], names["exact"]
    assert isinstance(codes, Codes) and codes.indices.shape == (54, 5)
    assert isinstance(samples, np.ndarray) and samples.shape == (220_500,)
    assert isinstance(exact, np.ndarray) and exact.shape == (441_000,)
    assert (place / "sound.svq").stat().st_size < 400
    assert np.array_equal(names["longer"].indices[:53], codes.indices[:53])  # all but the last column, which is cut
    assert names["longer"].duration == 15 and names["rain"].duration == 10


def test_every_command_exists(tmp_path: Path) -> None:
    assert len(COMMAND_LINES) > 10
    for names in {tuple(re.findall(r"^specvq ((?:[a-z]+ ?)+)", line)[0].split()) for line in COMMAND_LINES}:
        depth = 2 if names[0] in ("weights", "data", "train", "evaluate") else 1
        result = specvq(*names[:depth], "--help", cwd=tmp_path)
        assert result.returncode == 0, (names, result.stderr)


def test_options_are_known(tmp_path: Path) -> None:
    for line in COMMAND_LINES:
        words = shlex.split(line)[1:]
        depth = 2 if words[0] in ("weights", "data", "train", "evaluate") else 1
        shown = specvq(*words[:depth], "--help", cwd=tmp_path).stdout
        for option in re.findall(r"--[a-z-]+", line):
            assert option in shown, line


def test_the_real_example(place: Path) -> None:
    """The same commands run, and tell what the README says, but for times; other machines may choose other indices."""
    assert len(EXAMPLE) >= 3
    for command, shown in EXAMPLE:
        result = specvq(*shlex.split(command)[1:], cwd=place)
        assert result.returncode == 0, result.stderr
        told = result.stdout + result.stderr
        (words, numbers), (shown_words, shown_numbers) = _parts(told), _parts(shown)
        assert words == shown_words
        assert numbers == pytest.approx(shown_numbers, rel=0.03)


def _parts(told: str) -> tuple[list[str], list[float]]:
    """What a command told without its speed: the words between its numbers, and the numbers."""
    told = re.sub(r"\d+ times real time", "", told).strip()
    number = r"(?<![\w-])\d+(?:\.\d+)?(?!\w)"
    return re.split(number, told), [float(found) for found in re.findall(number, told)]
