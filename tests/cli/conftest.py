import os
import shutil
import signal
import sys
import warnings
from typing import NamedTuple

import pytest
import soundfile
from tiny import sound

from specvq_codec import Codec
from specvq_codec.cli import main


class Outcome(NamedTuple):
    """What a run of the command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def specvq(tiny_bundle, monkeypatch, capsys, tmp_path):
    """Runs the command line in this process, in an empty folder, with the tiny bundle as the default one."""
    monkeypatch.delenv("SPECVQ_WEIGHTS", raising=False)
    monkeypatch.setattr("specvq_codec.weights.places.DEFAULT", tiny_bundle.path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*args, code=0):
        monkeypatch.setattr(sys, "argv", ["specvq", *map(str, args)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stopped:
            warnings.simplefilter("default")
            main()
        out, err = capsys.readouterr()
        found = stopped.value.code or 0
        assert found == code, err
        assert "Traceback" not in err
        left = [name for _, _, names in os.walk(".") for name in names if name.endswith(".part")]
        assert left == []
        return Outcome(found, out, err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """A sound file of 1.2 s at 44.1 kHz."""
    path = tmp_path_factory.mktemp("recording") / "in.wav"
    soundfile.write(path, sound(1.2, 44_100), 44_100)
    return path


@pytest.fixture(scope="session")
def encoded_recording(recording, tiny_bundle):
    path = recording.with_suffix(".svq")
    Codec(tiny_bundle, "cpu").encode(recording).save(path)
    return path


@pytest.fixture(scope="session")
def encoded_minute(tmp_path_factory, tiny_bundle):
    """An encoded minute, in two blocks."""
    path = tmp_path_factory.mktemp("minute") / "minute.svq"
    Codec(tiny_bundle, "cpu").encode(sound(60.0)).save(path)
    return path


@pytest.fixture
def encoded(specvq, encoded_recording):
    return shutil.copy(encoded_recording, "in.svq")


@pytest.fixture
def no_weights(specvq, monkeypatch, tmp_path):
    """No bundle is installed."""
    monkeypatch.setattr("specvq_codec.weights.places.DEFAULT", tmp_path / "none")
