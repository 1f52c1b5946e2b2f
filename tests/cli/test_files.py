"""encode, decode and info of single files and folders."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from running import files_below

from specvq_codec import Codec, Codes
from specvq_codec.cli.places import jobs_below
from specvq_codec.weights import load_bundle


def test_a_file_there_and_back(specvq, recording, codec):
    done = specvq("encode", recording, "out.svq")
    assert done.out == ""
    assert f"{recording} -> out.svq: 1.20 s, " in done.err and " bit/s" in done.err
    assert Codes.load("out.svq", codec.bundle) == codec.encode(recording)
    assert specvq("decode", "out.svq", "out.wav").out == ""
    samples, rate = soundfile.read("out.wav")
    assert (rate, len(samples)) == (22_050, 26_460)
    assert np.abs(samples - codec.decode("out.svq")).max() <= 1 / 2**15
    assert files_below(Path()) == ["out.svq", "out.wav"]


@pytest.mark.parametrize(("rate", "wanted", "length"), [("original", 44_100, 52_920), ("16000", 16_000, 19_200)])
def test_decoding_at_another_rate(specvq, encoded, rate, wanted, length):
    done = specvq("decode", encoded, "out.flac", "--rate", rate, "--json")
    assert json.loads(done.out)["num_samples"] == length
    about = soundfile.info("out.flac")
    assert (about.samplerate, about.frames, about.channels, about.format) == (wanted, length, 1, "FLAC")


def test_json_of_encode_and_decode(specvq, recording):
    found = json.loads(specvq("encode", recording, "out.svq", "--json").out)
    size = Path("out.svq").stat().st_size
    assert found["input"] == str(recording) and found["output"] == "out.svq"
    assert (found["seconds"], found["bytes"]) == (1.2, size)
    assert found["bits_per_second"] == pytest.approx(8 * size / 1.2)
    found = json.loads(specvq("decode", "out.svq", "out.wav", "--json").out)
    assert (found["sample_rate"], found["num_samples"], found["lost_columns"]) == (22_050, 26_460, [])


def test_entropy_is_chosen(specvq, recording):
    for entropy in ("fixed", "static"):
        specvq("encode", recording, f"{entropy}.svq", "--entropy", entropy)
        assert json.loads(specvq("info", f"{entropy}.svq", "--json").out)["entropy"] == entropy


def test_vocoder_is_chosen(specvq, encoded):
    for vocoder in ("melgan", "griffin-lim"):
        specvq("decode", encoded, f"{vocoder}.wav", "--vocoder", vocoder)
    assert Path("melgan.wav").read_bytes() != Path("griffin-lim.wav").read_bytes()


def test_weights_are_found_by_the_fingerprint_in_the_file(specvq, other_bundle, tiny_bundle, recording, monkeypatch):
    monkeypatch.setenv("SPECVQ_WEIGHTS", str(other_bundle.path))
    specvq("encode", recording, "out.svq", "--weights", "other")
    assert json.loads(specvq("info", "out.svq", "--json").out)["weights_name"] == "other"
    specvq("decode", "out.svq", "out.wav")
    samples, _ = soundfile.read("out.wav", dtype="float32")
    assert np.abs(samples - Codec(other_bundle, "cpu").decode("out.svq")).max() <= 1 / 2**15
    done = specvq("decode", "out.svq", "other.wav", "--weights", tiny_bundle.path, code=4)
    assert tiny_bundle.fingerprint.hex()[:8] in done.err and other_bundle.fingerprint.hex()[:8] in done.err


def test_an_existing_file_is_overwritten_only_when_asked(specvq, recording, encoded):
    for command, source, target in (("encode", recording, "a.svq"), ("decode", encoded, "a.wav")):
        Path(target).write_text("precious")
        assert "exists already: use -f" in specvq(command, source, target, code=2).err
        assert Path(target).read_text() == "precious"
        specvq(command, source, target, "-f")
        assert Path(target).stat().st_size > 20


def test_info(specvq, encoded, tiny_bundle):
    text = specvq("info", encoded).out
    assert "1.200 s (52920 samples at 44100 Hz)" in text
    assert f"{tiny_bundle.fingerprint.hex()[:8]} (tiny)" in text
    assert "intact" in text
    found = json.loads(specvq("info", encoded, "--json").out)
    size = Path(encoded).stat().st_size
    assert (found["bytes"], found["seconds"], found["indices"], found["blocks"]) == (size, 1.2, 35, 1)
    assert sum(found["kbps_by_part"].values()) == pytest.approx(found["kbps"])
    assert found["kbps"] == pytest.approx(8 * size / 1.2 / 1000)
    assert found["intact"] is True


def test_info_needs_no_weights(specvq, encoded, no_weights):
    assert "(not installed here)" in specvq("info", encoded).out


def test_damage(specvq, encoded_minute):
    data = bytearray(encoded_minute.read_bytes())
    data[60] ^= 4
    Path("damaged.svq").write_bytes(data)
    done = specvq("info", "damaged.svq", "--json", code=3)
    found = json.loads(done.out)
    assert found["damaged_blocks"] == [0] and found["kbps_by_part"]["damaged"] > 0
    assert sum(found["kbps_by_part"].values()) == pytest.approx(found["kbps"])
    assert "--lenient" in done.err
    done = specvq("decode", "damaged.svq", "out.wav", code=3)
    assert "block 1 of 2 (0.0 s to 47.6 s)" in done.err and "--lenient" in done.err
    assert not Path("out.wav").exists()
    done = specvq("decode", "damaged.svq", "out.wav", "--lenient", "--json")
    assert json.loads(done.out)["lost_columns"] == [[0, 256]]
    assert "lost 0.0 s to 47.6 s" in done.err
    samples, _ = soundfile.read("out.wav")
    assert len(samples) == 60 * 22_050 and not samples[: 256 * 4096].any() and samples[256 * 4096 :].any()
    assert "has no sampler" in specvq("decode", "damaged.svq", "concealed.wav", "--conceal", code=4).err
    assert not Path("concealed.wav").exists()
    Path("cut.svq").write_bytes(data[:-1])
    assert "--lenient" not in specvq("info", "cut.svq", code=3).err
    specvq("decode", "cut.svq", "cut.wav", "--lenient", code=3)  # the first block is damaged, the second cut
    assert not Path("cut.wav").exists()


def test_concealment(specvq, encoded_minute, sampler_bundle, monkeypatch):
    monkeypatch.setattr("specvq_codec.weights.places.DEFAULT", sampler_bundle.path)
    data = bytearray(encoded_minute.read_bytes())
    data[60] ^= 4
    Path("damaged.svq").write_bytes(data)
    done = specvq("decode", "damaged.svq", "out.wav", "--conceal", "--json")
    assert json.loads(done.out)["lost_columns"] == [[0, 256]]
    assert "lost 0.0 s to 47.6 s, invented in the output" in done.err
    samples, _ = soundfile.read("out.wav")
    assert len(samples) == 60 * 22_050 and samples[: 200 * 4096].any()


@pytest.fixture
def sounds(specvq, recording):
    """A folder of sounds with the same names but for their suffixes, one bad file, and others that are no sounds."""
    folder = Path("sounds")
    (folder / "deep" / "er").mkdir(parents=True)
    shutil.copy(recording, folder / "a.wav")
    samples, rate = soundfile.read(recording)
    soundfile.write(folder / "a.flac", samples / 2, rate)
    soundfile.write(folder / "deep" / "er" / "B.WAV", samples[:20_000], rate, format="WAV")
    (folder / "deep" / "bad.wav").write_text("no sound")
    (folder / "notes.txt").write_text("no sound")
    return folder


def test_a_folder_there_and_back(specvq, sounds):
    done = specvq("encode", sounds, "codes", "--json", code=3)
    assert "sounds/deep/bad.wav is not a sound file" in done.err
    assert "1 of 4 files could not be done; the others are written" in done.err
    found = json.loads(done.out)
    outputs = [entry["output"] for entry in found["files"]]
    assert outputs == ["codes/a.flac.svq", "codes/a.wav.svq", "codes/deep/er/B.svq"]
    assert [entry["input"] for entry in found["failed"]] == ["sounds/deep/bad.wav"]
    assert files_below(Path("codes")) == ["a.flac.svq", "a.wav.svq", "deep/er/B.svq"]
    done = specvq("decode", "codes", "decoded", "--rate", "original")
    assert done.out == ""
    assert files_below(Path("decoded")) == ["a.flac.wav", "a.wav.wav", "deep/er/B.wav"]
    assert soundfile.info("decoded/deep/er/B.wav").frames == 20_000


def test_a_folder_again_leaves_what_is_there(specvq, sounds):
    (sounds / "deep" / "bad.wav").unlink()
    (sounds / "a.flac").unlink()
    specvq("encode", sounds, "codes")
    Path("codes/a.svq").write_text("precious")
    Path("codes/deep/er/B.svq").unlink()
    assert "codes/a.svq exists already" in specvq("encode", sounds, "codes", code=2).err
    assert Path("codes/a.svq").read_text() == "precious"
    assert Path("codes/deep/er/B.svq").exists()
    specvq("encode", sounds, "codes", "-f")
    assert Path("codes/a.svq").read_bytes()[:3] == b"SVQ"


def test_only_what_is_not_there_is_encoded_when_asked(specvq, sounds):
    (sounds / "deep" / "bad.wav").unlink()
    (sounds / "a.flac").unlink()
    specvq("encode", sounds, "codes")
    Path("codes/a.svq").write_text("precious")
    Path("codes/deep/er/B.svq").unlink()
    assert (
        "1 of 2 files could not be done; the others are written. --skip-existing"
        in specvq("encode", sounds, "codes", code=2).err
    )
    Path("codes/deep/er/B.svq").unlink()
    done = specvq("encode", sounds, "codes", "--skip-existing")
    assert "1 of 2 files were there already" in done.err and "B.svq" in done.err
    assert Path("codes/a.svq").read_text() == "precious"
    assert Path("codes/deep/er/B.svq").read_bytes()[:3] == b"SVQ"
    Path("codes/a.svq").unlink()
    specvq("decode", "codes", "decoded")
    done = specvq("decode", "codes", "decoded", "--skip-existing", "--json")
    assert json.loads(done.out) == {"files": [], "failed": []}


def test_a_file_whose_result_has_no_name_keeps_no_other_from_being_done(specvq, recording):
    Path("sounds").mkdir()
    for name in ("x" * 251 + ".wav", "x" * 251 + ".voc", "y.wav"):  # the first two would have names of 259 bytes
        shutil.copy(recording, f"sounds/{name}")
    done = specvq("encode", "sounds", "codes", code=2)
    assert "cannot be written (file name too long)" in done.err and "2 of 3 files could not be done" in done.err
    assert files_below(Path("codes")) == ["y.svq"]
    Path("codes/y.svq").unlink()
    done = specvq("encode", "sounds", "codes", "--skip-existing", code=2)
    assert files_below(Path("codes")) == ["y.svq"]


def test_what_to_leave_out_is_not_told_where_it_would_not_help(specvq, sounds):
    specvq("encode", sounds, "codes", code=3)
    Path("codes/deep/bad.svq").write_bytes(b"there")
    assert "--skip-existing" not in specvq("encode", sounds, "codes", "-f", code=3).err


def test_what_is_left_out_of_a_folder_is_named(specvq, sounds, monkeypatch):
    (sounds / "deep" / "bad.wav").unlink()
    Path("elsewhere").mkdir()
    (sounds / "link").symlink_to(Path("elsewhere").absolute())
    scandir = os.scandir

    def closed(place):
        if str(place).endswith("er"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", closed)
    (sounds / "gone.wav").symlink_to("nowhere.wav")
    done = specvq("encode", sounds, "codes")
    assert "specvq: left out sounds/deep/er: permission denied" in done.err
    assert "specvq: left out sounds/link: it is a link to a folder" in done.err
    assert "specvq: left out sounds/gone.wav: no such file or directory" in done.err
    assert files_below(Path("codes")) == ["a.flac.svq", "a.wav.svq"]


def test_a_file_that_is_replaced_keeps_its_permissions(specvq, recording):
    specvq("encode", recording, "out.svq")
    Path("out.svq").chmod(0o600)
    specvq("encode", recording, "out.svq", "-f")
    assert Path("out.svq").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_called_like_a_stream(specvq, recording):
    shutil.copy(recording, "-")
    specvq("encode", "./-", "out.svq")
    assert Path("out.svq").read_bytes()[:3] == b"SVQ"


def test_bundles_of_one_fingerprint_keep_their_vocoders(specvq, recording, tiny_bundle, monkeypatch):
    """In a folder, too, whatever was decoded before."""
    shutil.copytree(tiny_bundle.path, "elsewhere")
    bundles = [tiny_bundle, load_bundle(Path("elsewhere"))]
    assert bundles[0].fingerprint == bundles[1].fingerprint
    Path("codes").mkdir()
    for name in ("a.svq", "b.svq"):
        Codec(tiny_bundle, "cpu").encode(recording).save(f"codes/{name}")
    left, used, vocode = iter(bundles), [], Codec.vocode
    monkeypatch.setattr("specvq_codec.codes.bundle_for", lambda mark: next(left))
    monkeypatch.setattr(Codec, "vocode", lambda self, frames: used.append(self.bundle.path) or vocode(self, frames))
    specvq("decode", "codes", "decoded")
    assert used == [bundle.path for bundle in bundles]


def test_names_never_collide(tmp_path):
    for name in ("b.wav", "b.mp3", "b.wav.wav", "c.wav", "d/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    jobs = jobs_below(tmp_path, Path("out"), frozenset({".wav", ".mp3"}), ".svq")
    targets = {job.source.relative_to(tmp_path).as_posix(): job.target.as_posix() for job in jobs}
    assert targets == {
        "b.mp3": "out/b.mp3.svq",
        "b.wav": "out/b.wav.svq",
        "b.wav.wav": "out/b.wav.wav.svq",
        "c.wav": "out/c.svq",
        "d/b.wav": "out/d/b.svq",
    }


def test_strange_names(specvq, recording):
    for name in ("[bold]x[y].wav", "-dash.wav", "sp ace\n.wav", "ü\U0001f3b5.wav"):
        shutil.copy(recording, name)
        specvq("encode", "--", name, f"{name}.svq")
        specvq("decode", "--", f"{name}.svq", f"{name}.out.wav")
        assert soundfile.info(f"{name}.out.wav").frames == 26_460
