"""Stand-ins for the programs of other codecs: they keep the sound beside a file that is as large as theirs would be.

Sound comes out as late as from `c2dec`, so that what does not compensate the delay is found out.
"""

import os
import sys
from pathlib import Path

C2ENC = """
mode, source, target = sys.argv[1:]
sound = open(source, "rb").read()
frame, size = {"700C": (320, 4), "3200": (160, 8)}[mode]
assert len(sound) % (2 * frame) == 0, "whole frames only"
open(target, "wb").write(bytes(len(sound) // (2 * frame) * size))
open(target + ".kept", "wb").write(sound)
"""
C2DEC = """
mode, source, target = sys.argv[1:]
late = bytes(2 * {"700C": 250, "3200": 150}[mode])
sound = open(source + ".kept", "rb").read()
open(target, "wb").write((late + sound)[:len(sound)])
"""
OPUSENC = """
source, target = sys.argv[-2:]
def page(*packets):
    table = b"".join(bytes([255] * (len(p) // 255) + [len(p) % 255]) for p in packets)
    return b"OggS" + bytes(22) + bytes([len(table)]) + table + b"".join(packets)
kilobits = int(sys.argv[sys.argv.index("--bitrate") + 1])
open(target, "wb").write(page(bytes(19)) + page(bytes(700)) + page(bytes(255), bytes(kilobits)) + page(bytes(300)))
open(target + ".kept", "wb").write(open(source, "rb").read())
"""
OPUSDEC = """
source, target = sys.argv[-2:]
assert sys.argv[sys.argv.index("--rate") + 1] == "22050"
open(target, "wb").write(open(source + ".kept", "rb").read())
"""
PROGRAMS = {"c2enc": C2ENC, "c2dec": C2DEC, "opusenc": OPUSENC, "opusdec": OPUSDEC}


def write_programs(folder: Path) -> Path:
    """Write all of them to a folder, which is for the PATH, and return it."""
    folder.mkdir()
    for name in PROGRAMS:
        write_program(folder, name, PROGRAMS[name])
    return folder


def write_program(folder: Path, name: str, code: str) -> None:
    """Write an executable Python program."""
    program = folder / name
    program.write_text(f"#!{sys.executable} -S\nimport sys\n{code}")
    os.chmod(program, 0o755)
