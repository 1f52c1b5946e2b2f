"""Files from the network, here from a server on this machine: fetched once, whole, and checked."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from specvq_codec.bitstream.errors import WeightsError
from specvq_codec.downloads import cache_folder, fetch

CONTENT = bytes(range(256)) * 300
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


ASKED = []  # the paths that the server was asked for


class Answers(BaseHTTPRequestHandler):
    """What servers do, by the name that is asked for."""

    def do_GET(self):
        ASKED.append(self.path)
        if self.path == "/moved.pth":
            self.send_response(302)
            self.send_header("Location", "/weights.pth")
            self.end_headers()
        elif self.path in ("/weights.pth", "/weights.pth?download=true", "/broken-off.pth"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: 1000 if "broken" in self.path else None])
        elif self.path == "/nonsense.pth":
            self.wfile.write(b"220 mail.example.org ESMTP\r\n")
        elif self.path != "/nothing.pth":
            self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The address of a server, while the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ASKED.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def kept():
    with contextlib.suppress(FileNotFoundError):
        return sorted(path.name for path in cache_folder().iterdir())
    return []


@pytest.mark.parametrize("name", ["weights.pth", "moved.pth"])
@pytest.mark.parametrize("digits", [8, 64])
def test_a_file_is_fetched_once(server, name, digits):
    address = f"{server}/{name}#sha256={CHECKSUM[:digits].upper()}"
    assert fetch(address).read_bytes() == CONTENT
    asked = list(ASKED)
    assert fetch(address).read_bytes() == CONTENT
    assert ASKED == asked == [f"/{name}", "/weights.pth"][: 1 + (name == "moved.pth")]
    assert kept() == [f"{CHECKSUM[:digits]}-{name}"]


def test_addresses_may_ask(server):
    address = f"{server}/weights.pth?download=true#sha256={CHECKSUM}"
    assert fetch(address).read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_fetched_again(server):
    address = f"{server}/weights.pth#sha256={CHECKSUM}"
    fetch(address).write_bytes(b"something else")
    assert fetch(address).read_bytes() == CONTENT
    assert len(ASKED) == 2


@pytest.mark.parametrize(
    ("name", "checksum", "message"),
    [
        ("weights.pth", "0" * 64, "not the file that its checksum is of"),
        ("broken-off.pth", CHECKSUM, "broken-off.pth ended after 1000 of 76800 bytes: try again"),
        ("absent.pth", CHECKSUM, r"could not be fetched \(Not Found\)"),
        ("nothing.pth", CHECKSUM, r"could not be fetched \(.*without response"),
        ("nonsense.pth", CHECKSUM, r"could not be fetched \(220 mail"),
        ("Two words.pth", CHECKSUM, r"could not be fetched \(.*'/Two words\.pth'"),
    ],
)
def test_what_is_not_the_file_is_not_kept(server, name, checksum, message):
    with pytest.raises(WeightsError, match=message):
        fetch(f"{server}/{name}#sha256={checksum}")
    assert kept() == []


def test_addresses_that_are_none(server):
    with pytest.raises(WeightsError, match=r"could not be fetched \(Invalid IPv6 URL\)"):
        fetch(f"https://[bad/weights.pth#sha256={CHECKSUM}")
    with pytest.raises(WeightsError, match=r"could not be fetched \(nonnumeric port: 'Http'\)"):
        fetch(f"http://127.0.0.1:Http/weights.pth#sha256={CHECKSUM}")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with pytest.raises(WeightsError, match=r"could not be fetched \(file name too long\): give a file"):
        fetch(f"{server}/{'a' * 300}#sha256={CHECKSUM}")
    assert kept() == ASKED == []


def test_without_a_home_the_cache_has_to_be_named(server, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", homeless)
    with pytest.raises(WeightsError, match=r"no home folder .* set XDG_CACHE_HOME"):
        fetch(f"{server}/weights.pth#sha256={CHECKSUM}")
    assert ASKED == []


def test_a_cache_that_cannot_be(server, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"could not be fetched \(not a directory\)"):
        fetch(f"{server}/weights.pth#sha256={CHECKSUM}")


def test_no_server(server):
    with pytest.raises(WeightsError, match=r"could not be fetched \(.*refused"):
        fetch(f"http://127.0.0.1:9/weights.pth#sha256={CHECKSUM}")
    assert kept() == []


@pytest.mark.parametrize("end", ["", "#", "#sha256=", "#sha256=1234567", "#sha256=xyzxyzxyz", "#md5=12345678"])
def test_addresses_without_a_checksum(server, end):
    with pytest.raises(WeightsError, match="needs the file's checksum"):
        fetch(f"{server}/weights.pth{end}")
    assert ASKED == []
