"""Encode the example sound, look at the file, and decode it: `make quickstart`."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUT = Path("out")


def specvq(*arguments: str | Path) -> str:
    """Run the command that is installed beside this Python, showing it, and hand back what it prints."""
    command = shutil.which("specvq", path=str(Path(sys.executable).parent))
    if command is None:
        sys.exit(f"specvq is not installed for {sys.executable}: run `make quickstart`.")
    words = [str(argument) for argument in arguments]
    print("$ specvq", shlex.join(words), flush=True)
    run = subprocess.run([command, *words], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(run.returncode)  # it has said why
    return run.stdout


def main() -> None:
    """Run the three commands, then sum up."""
    sound, coded, decoded = HERE / "example.flac", OUT / "example.svq", OUT / "example.wav"
    OUT.mkdir(exist_ok=True)
    encoding: dict[str, Any] = json.loads(specvq("encode", sound, coded, "-f", "--json"))
    print(specvq("info", coded))
    decoding: dict[str, Any] = json.loads(specvq("decode", coded, decoded, "-f", "--json"))
    original, seconds = sound.stat().st_size, encoding["seconds"]
    print()
    print(f"{seconds:.1f} s of sound: {original:,} bytes of FLAC -> {coded.stat().st_size:,} bytes")
    print(f"bits per second: {encoding['bits_per_second']:.1f}")
    print(f"encoding took    {encoding['elapsed_seconds']:.2f} s")
    print(f"decoding took    {decoding['elapsed_seconds']:.2f} s")
    print(f"listen to        {sound} and {decoded.resolve()}")
    print("your own sounds: . .venv/bin/activate, and then specvq encode in.wav out.svq")


if __name__ == "__main__":
    main()
