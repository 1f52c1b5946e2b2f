"""A folder as users have them: sounds of several kinds, and much that is none."""

from pathlib import Path

import numpy as np
import soundfile
from tiny import sound

RATE = 22_050


def write_sounds(folder: Path) -> Path:
    """Write what can be read, and what cannot for some reason, to a folder that is there; returns the folder."""
    for name in ("speech/far/away", "birds"):
        (folder / name).mkdir(parents=True)
    soundfile.write(folder / "speech/a.wav", np.stack([sound(1.1, 44_100)] * 2, 1), 44_100)
    soundfile.write(folder / "speech/far/away/b.ogg", sound(0.9, 16_000, seed=1), 16_000)
    soundfile.write(folder / "birds/long.flac", sound(4.0, seed=2), RATE)
    soundfile.write(folder / "birds/short.wav", sound(1 / RATE, seed=3) + 0.1, RATE)
    soundfile.write(folder / "birds/silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "beside.mp3", sound(0.7, 48_000, seed=4), 48_000)
    soundfile.write(folder / "birds/cut.wav", sound(1.0), RATE)
    data = (folder / "birds/cut.wav").read_bytes()
    (folder / "birds/cut.wav").write_bytes(data[: len(data) // 2])
    whole = soundfile.read(folder / "birds/long.flac", dtype="int16")[0]
    soundfile.write(folder / "birds/late.flac", whole, RATE)
    data = (folder / "birds/late.flac").read_bytes()
    (folder / "birds/late.flac").write_bytes(data[: len(data) // 2])  # opens, and then ends too early
    (folder / "birds/text.wav").write_text("no sound")
    (folder / "birds/empty.flac").write_bytes(b"")
    (folder / "notes.txt").write_text("nobody asks for this")
    return folder
