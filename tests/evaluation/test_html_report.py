"""The HTML report: what is in it, that it stands alone, and how it looks in a browser."""

import io
import json
import re
from dataclasses import fields
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch
from browser import browse, needs_browser, requested, screenshot
from PIL import Image
from tiny import sound

from specvq_codec.evaluation.exhibits import MOST, SECONDS, Exhibits
from specvq_codec.evaluation.folder import LeftOut
from specvq_codec.evaluation.html_report import report
from specvq_codec.evaluation.reconstruction import Row, Section, spectrogram_of
from specvq_codec.evaluation.systems import Decoded, Recording
from specvq_codec.training.data import Clip

HOSTILE = """<script>alert(1)</script>"onerror='x'&amp;"""
MAGMA = ((252, 137, 97), (183, 55, 121))  # colours that nothing but a spectrogram has


def row(name, **values):
    return Row(**({field.name: None for field in fields(Row)} | {"name": name} | values))


ROWS = (
    row("ours", bits_per_second=200.0, log_mel_l1=0.04, stft=1.5, usage=0.9),
    row(HOSTILE, bits_per_second=6000.0, log_mel_l1=0.03, stft=1.2, stoi=0.9),
    row("limit", log_mel_l1=0.01, stft=1.0),
)


@pytest.fixture(scope="module")
def exhibits():
    clips = [Clip("dogs/a.wav", "", "dogs", 0, 220_500), Clip(f"{HOSTILE}/b.wav", "", HOSTILE, 0, 3000)]
    exhibits = Exhibits(clips, 1)
    for clip in clips:
        original = torch.from_numpy(sound(clip.length / 22_050))
        recording = Recording(clip.path, original, spectrogram_of(original))
        decoded = [("ours", Decoded(0.5 * original, bits=1000.0)), (HOSTILE, Decoded(spectrogram=recording.mel))]
        assert exhibits.wants(clip)
        exhibits.show(clip, recording, decoded)
    return exhibits.shown


@pytest.fixture(scope="module")
def page(exhibits, tmp_path_factory):
    """A report on little, with names that would break a careless one."""
    sections = [Section("all", 2, 100.0, ROWS), Section(HOSTILE, 1, 12.0, ROWS)]
    page = tmp_path_factory.mktemp("report") / "report.html"
    page.write_text(report(f"ours, {HOSTILE}", sections, exhibits, [LeftOut(f"{HOSTILE}.wav", "it is silent")]))
    return page


class Parsed(HTMLParser):
    """All elements, with their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(page.read_text())
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "path", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # nothing is left open

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_everything_is_there(page):
    parsed = Parsed(page)
    assert parsed.open == []
    assert len(parsed.all("table")) == 2 and len(parsed.all("tr")) == 2 * 4
    assert len(parsed.all("svg")) == 3  # log-mel L1, STFT and STOI; nothing has PESQ, FID and MKL
    assert len(parsed.all("img")) == 2 * 3 and len(parsed.all("audio")) == 2 * 2
    for text in ("0.0400", "6000.0", "90.0%", "1.7 min", "12.0 s", "it is silent", "dogs: dogs/a.wav"):
        assert text in parsed.text, text
    assert "PESQ" not in parsed.text


def test_names_are_escaped(page):
    parsed = Parsed(page)
    assert parsed.all("script") == []
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert parsed.text.count(HOSTILE) >= 6


def test_the_page_stands_alone(page):
    text, parsed = page.read_text(), Parsed(page)
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    addresses = [value for _, attributes in parsed.elements for name in ("src", "href", "srcset", "action")
                 if (value := attributes.get(name))]  # fmt: skip
    assert addresses and all(re.match(r"data:|#", address) for address in addresses)
    (policy,) = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;") and "script" not in policy
    anchors = {attributes["id"] for _, attributes in parsed.elements if "id" in attributes}
    assert {address[1:] for address in addresses if address.startswith("#")} <= anchors


def test_what_is_seen_is_also_told(page):
    parsed = Parsed(page)
    assert all("pectrogram" in image["alt"] for image in parsed.all("img"))
    assert all(player["aria-label"] for player in parsed.all("audio"))
    told = [drawing["aria-label"] for drawing in parsed.all("svg")]
    assert "ours: 0.0400 at 200 bit/s" in told[0] and "limit: 0.0100" in told[0] and "at 6000 bit/s" in told[2]
    assert parsed.all("html")[0]["lang"] == "en"


def test_excerpts_are_short_and_without_loss(exhibits):
    long, short = exhibits
    original, ours, patches = long.excerpts
    samples, rate = soundfile.read(io.BytesIO(ours.flac), dtype="float32")
    assert (rate, len(samples)) == (22_050, SECONDS * 22_050)
    assert np.abs(samples - 0.5 * sound(10.0)[: len(samples)]).max() < 1e-4
    assert original.mel.shape == ours.mel.shape == patches.mel.shape == (80, SECONDS * 22_050 // 256)
    assert ours.bits_per_second == pytest.approx(100.0) and patches.flac is None
    assert len(soundfile.read(io.BytesIO(short.excerpts[0].flac))[0]) == 3000


def test_many_domains_do_not_make_a_large_report():
    clips = [Clip(f"{i}/a.wav", "", str(i), 0, 66_150) for i in range(50)]
    assert sum(Exhibits(clips, 2).wants(clip) for clip in clips) == MOST
    assert not any(Exhibits(clips, 0).wants(clip) for clip in clips)


def test_a_report_without_sounds_and_rates():
    page = report("nothing", [Section("all", 1, 1.0, (row("limit", log_mel_l1=0.1),))])
    assert "<table>" in page and "<svg" not in page and "<img" not in page and "Left out" not in page


@needs_browser
def test_pictures_and_sounds_can_be_shown(page, tmp_path):
    probe = """<script>
    const media = [...document.querySelectorAll("audio")].map(a => new Promise(done => {
        a.addEventListener("loadedmetadata", () => done(a.duration)); a.addEventListener("error", () => done(-1));
        a.preload = "metadata"; a.load();
    }));
    const drawn = document.querySelector("svg").getBoundingClientRect().height;
    addEventListener("load", () => Promise.all(media).then(seconds => {
        const sizes = [...document.images].map(i => i.naturalWidth + "x" + i.naturalHeight);
        document.title = JSON.stringify({sizes, seconds, drawn});
    }));
    </script>"""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    copy = tmp_path / "probed.html"
    copy.write_text(text.replace("</body>", probe + "</body>"))
    title = re.search(r"<title>(.*?)</title>", browse(copy, "--virtual-time-budget=20000", "--dump-dom"))[1]
    found = json.loads(title)
    assert found["sizes"] == ["689x80"] * 3 + ["12x80"] * 2 + ["16x80"]
    assert found["seconds"] == pytest.approx([8.0, 8.0, 3000 / 22_050, 3000 / 22_050], abs=0.01)
    assert found["drawn"] > 100


@needs_browser
def test_the_network_is_asked_for_nothing(page, tmp_path):
    assert {address for address in requested(page, tmp_path / "log.json") if not address.startswith("data:")} == set()
    leaky = tmp_path / "leaky.html"
    leaky.write_text('<img src="http://127.0.0.1:9/picture.png">')
    assert "http://127.0.0.1:9/picture.png" in requested(leaky, tmp_path / "leaky.json")  # it would be seen


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 500])
def test_how_it_looks(page, tmp_path, dark, width):
    screenshot(page, tmp_path / "page.png", dark, width=width, height=5000)
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)  # (5000, width, 3)
    assert pixels.shape[1] == width
    ground = pixels[2, 2]
    assert (ground.mean() < 60) == dark
    for colour in MAGMA:  # spectrograms, under the page's own policy
        assert (np.abs(pixels - colour).max(2) < 12).sum() > 200
    used = (np.abs(pixels - ground).max(2) > 12).any(1)  # rows of pixels that show something
    assert used[:1500].mean() > 0.3
    assert (np.abs(pixels[:, -4:] - ground).max(2) < 12).all()  # nothing is wider than the screen
