"""What only shows in a process of its own: pipes, interrupts, and what is imported."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from running import COMMAND, environment, run_process


def test_pipes_both_ways(tiny_bundle, recording, codec):
    """Also a WAV file whose header does not know the length, as programs write it into a pipe."""
    data = bytearray(recording.read_bytes())
    data[4:8] = data[data.index(b"data") + 4 : data.index(b"data") + 8] = b"\xff" * 4
    encoded = run_process(tiny_bundle, "encode", "-", "-", "--weights", "tiny", input=bytes(data))
    assert encoded.returncode == 0, encoded.stderr
    wanted = codec.encode(recording)
    assert encoded.stdout == wanted.to_bytes()  # a result does not depend on the process
    decoded = run_process(tiny_bundle, "decode", "-", "-", "--rate", "original", input=encoded.stdout)
    assert decoded.returncode == 0, decoded.stderr
    samples, rate = soundfile.read(io.BytesIO(decoded.stdout), dtype="float32")
    assert (rate, len(samples)) == (44_100, 52_920)
    assert np.abs(samples - codec.decode(wanted, 44_100)).max() <= 1 / 2**15
    info = run_process(tiny_bundle, "info", "-", input=encoded.stdout)
    assert b"intact" in info.stdout


def test_a_sound_or_codes_from_a_pipe_are_continued(sampler_bundle, recording, tmp_path):
    (tmp_path / "in.svq").write_bytes(
        run_process(sampler_bundle, "encode", recording, "-", "--weights", sampler_bundle.path).stdout
    )
    for source in (recording, tmp_path / "in.svq"):
        options = ["-", "--seconds", "1", "--weights", sampler_bundle.path]
        piped = run_process(sampler_bundle, "continue", "--prime", "-", *options, input=source.read_bytes())
        assert piped.returncode == 0, piped.stderr
        assert piped.stdout == run_process(sampler_bundle, "continue", "--prime", source, *options).stdout
        assert len(soundfile.read(io.BytesIO(piped.stdout))[0]) == 48_510


@pytest.mark.parametrize(
    ("command", "message"), [("encode", b"The standard input is not a sound file"), ("decode", b"not an .svq file")]
)
def test_pipes_that_hold_nothing_of_use(tiny_bundle, command, message):
    done = run_process(tiny_bundle, command, "-", "-", "--weights", "tiny", input=b"no sound")
    assert (done.returncode, done.stdout) == (3, b"")
    assert message in done.stderr and b"Traceback" not in done.stderr


WITHOUT_NETWORKS = [["--help"], ["encode", "--help"], ["--version"], ["info", "FILE"], ["weights", "list"]]


@pytest.mark.parametrize("args", WITHOUT_NETWORKS, ids=" ".join)
def test_what_needs_no_networks_does_not_import_them(tiny_bundle, encoded_recording, args):
    command = [sys.executable, "-X", "importtime", *COMMAND[1:]]
    args = [str(encoded_recording) if arg == "FILE" else arg for arg in args]
    done = subprocess.run([*command, *args], env=environment(tiny_bundle), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "specvq_codec.cli.app" in modules
    assert modules.isdisjoint({"torch", "constriction", "soundfile", "soxr", "numpy", "safetensors"})


@pytest.mark.parametrize("name", ["absent.wav", "notes.wav"])
def test_what_is_no_sound_is_told_before_the_networks_are_loaded(tiny_bundle, tmp_path, name):
    (tmp_path / "notes.wav").write_text("no sound")
    command = [sys.executable, "-X", "importtime", *COMMAND[1:], "encode", name, "out.svq"]
    options = {"cwd": tmp_path, "env": environment(tiny_bundle), "capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run(command, **options)
    assert (
        done.returncode == 3 and f"specvq: {'There is no file absent' if name == 'absent.wav' else name}" in done.stderr
    )
    assert "torch" not in {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


@pytest.fixture
def minute(tmp_path, encoded_minute):
    return shutil.copy(encoded_minute, tmp_path / "minute.svq")


def start_decoding(bundle, minute):
    """A process that has just begun to write its output."""
    command = [*COMMAND, "decode", minute.name, "out.wav", "--vocoder", "griffin-lim"]
    process = subprocess.Popen(command, cwd=minute.parent, env=environment(bundle), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(minute.parent.glob("*.part")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return process


@pytest.mark.parametrize(("number", "words"), [(signal.SIGINT, "specvq: stopped.\n"), (signal.SIGTERM, "")])
def test_a_process_that_is_stopped_leaves_nothing_behind(tiny_bundle, minute, number, words):
    process = start_decoding(tiny_bundle, minute)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err == words
    assert os.listdir(minute.parent) == ["minute.svq"]


@pytest.mark.parametrize("args", [["info", "FILE"], ["info", "FILE", "--json"], ["weights", "show", "tiny"]])
def test_a_reader_that_goes_away_is_no_reason_to_complain(tiny_bundle, encoded_recording, args):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, *(str(encoded_recording) if arg == "FILE" else arg for arg in args)]
    done = subprocess.run(command, env=environment(tiny_bundle), stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode in (0, 141)


def test_a_reader_that_wants_no_more_of_a_sound_is_no_failure(tiny_bundle, encoded_recording):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "decode", str(encoded_recording), "-", "--weights", "tiny"]
    done = subprocess.run(command, env=environment(tiny_bundle), stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_files_are_written_where_nobody_reads_the_table(tiny_bundle, recording, tmp_path):
    (tmp_path / "sounds").mkdir()
    shutil.copy(recording, tmp_path / "sounds")
    reading, writing = os.pipe()
    os.close(reading)
    args = ["evaluate", "reconstruction", "sounds", "--weights", "tiny", "--csv", "a.csv", "--vocoder", "griffin-lim"]
    env = environment(tiny_bundle)
    done = subprocess.run([*COMMAND, *args], cwd=tmp_path, env=env, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    os.close(writing)
    assert b"Traceback" not in done.stderr and done.returncode in (0, 141)
    assert (tmp_path / "a.csv").read_text().startswith("domain,")


@pytest.mark.parametrize(
    ("closed", "args", "message"),
    [
        (2, ["encode", "in.wav", "-"], None),
        (1, ["encode", "in.wav", "out.svq"], None),
        (0, ["encode", "in.wav", "out.svq"], None),
        (1, ["encode", "in.wav", "-"], b"could not be written (bad file descriptor)"),
        (1, ["weights", "list"], b"The standard output could not be written (bad file descriptor)"),
        (1, ["--version"], b"specvq: bad file descriptor."),
        (0, ["encode", "-", "out.svq"], b"The standard input is not a sound file"),
        (0, ["decode", "-", "out.wav"], b"The standard input cannot be read (bad file descriptor)"),
    ],
)
def test_standard_streams_may_be_closed(tiny_bundle, codec, recording, tmp_path, closed, args, message):
    """Messages then go nowhere, above all not into what is written."""
    shutil.copy(recording, tmp_path / "in.wav")
    script = f'exec "$@" {"0<" if closed == 0 else f"{closed}>"}&-'
    command = ["sh", "-c", script, "sh", *COMMAND, *args, *(["--weights", "tiny"] if len(args) == 3 else [])]
    env = environment(tiny_bundle)
    done = subprocess.run(command, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert b"Traceback" not in done.stderr
    if message:
        assert done.returncode == 3 and message in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        written = done.stdout if args[2] == "-" else (tmp_path / "out.svq").read_bytes()
        assert written == codec.encode(recording).to_bytes()


FAILING = """
import sys
import typer
from specvq_codec.cli import app as cli
def fail():
    print("something")
    raise {}
cli.app.command("fail")(fail)
sys.argv = ["specvq", "fail"]
cli.main()
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
@pytest.mark.parametrize(
    ("error", "code", "told"),
    [("RuntimeError('a defect')", 1, b"a defect"), ("cli.SpecVQError('told first')", 3, b"told first")],
)
def test_an_output_that_is_full_hides_no_other_failure(error, code, told):
    command = [sys.executable, "-c", FAILING.format(error)]
    with open("/dev/full", "wb") as full:
        env = os.environ | {"PYTHONUNBUFFERED": ""}
        done = subprocess.run(command, env=env, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == code and told in done.stderr and b"could not be written" not in done.stderr


def test_a_name_of_any_bytes_is_told_nobody(tiny_bundle, tmp_path):
    """Where nobody listens, it is no other failure than where somebody does."""
    for script in ('exec "$@"', 'exec "$@" 2>&-'):
        command = [
            b"sh",
            b"-c",
            script.encode(),
            b"sh",
            *map(os.fsencode, COMMAND),
            b"encode",
            b"bad\xff.wav",
            b"out.svq",
        ]
        done = subprocess.run(command, cwd=tmp_path, env=environment(tiny_bundle), capture_output=True, timeout=60)
        assert done.returncode == 3
        assert done.stderr == (
            b"" if b"2>" in command[2] else b"specvq: There is no file bad\\udcff.wav: check the path.\n"
        )


def test_the_checkout_and_the_module_are_the_same_command(tiny_bundle):
    """`python cli.py`, `python -m specvq_codec` and the console script."""
    script = os.path.join(os.path.dirname(__file__), "..", "..", "cli.py")
    wanted = run_process(tiny_bundle, "--version").stdout
    assert wanted.startswith(b"specvq ")
    assert subprocess.run([sys.executable, script, "--version"], capture_output=True, timeout=60).stdout == wanted
