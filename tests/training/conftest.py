import numpy as np
import pytest
import soundfile
from tiny import sound


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder of three recordings, at three rates, and two files that are none."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "deep").mkdir()
    soundfile.write(folder / "one.wav", sound(1.0), 22_050)
    soundfile.write(folder / "deep" / "two.flac", np.stack([sound(2.0, 44_100, 1)] * 2, 1), 44_100)
    soundfile.write(folder / "three.wav", sound(0.5, 8_000, 2), 8_000)
    (folder / "notes.txt").write_text("no sound")
    (folder / "broken.wav").write_bytes((folder / "one.wav").read_bytes()[:5000])
    return folder


@pytest.fixture
def manifest(recordings):
    def write(text):
        (recordings / "manifest.csv").write_text(text)

    yield write
    (recordings / "manifest.csv").unlink(missing_ok=True)
