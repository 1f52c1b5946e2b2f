"""The comparison of codecs as one HTML page that stands alone.

Everything is in the file: tables, drawings, pictures and sounds as data: URIs. There is no script, and the page's
Content-Security-Policy forbids it to ask the network for anything. The frame of the page is `report.html`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from .. import spectrogram as spec
from .columns import COLUMNS, Column, columns_of
from .exhibits import SECONDS, Excerpt, Exhibit
from .folder import NONE, LeftOut
from .labels import section_name
from .pictures import spectrogram_png
from .rate_plot import rate_plot
from .reconstruction import Row, Section

TITLE = "How close decoded sound is to the original"
PLOTTED = ("log_mel_l1", "stft", "stoi", "pesq", "fid", "mkl")
_LOWEST, _HIGHEST = f"{spec.F_MIN:g} Hz", f"{spec.F_MAX / 1000:g} kHz"


def report(
    subtitle: str, sections: Sequence[Section], exhibits: Sequence[Exhibit] = (), left_out: Sequence[LeftOut] = ()
) -> str:
    """The page.

    Args:
        subtitle: what was compared on what.
        sections: as `reconstruction.evaluate` returns them, the one over all recordings first.
        exhibits: recordings to see and hear.
        left_out: what was not measured.

    Raises:
        UsageError: matplotlib is not installed, which is needed where there are exhibits.
    """
    columns = columns_of(sections)
    parts = {
        "Rate and quality": _plots(sections[0], columns),
        "Tables": "".join(_table(section, columns) for section in sections) + _legend(columns),
        "See and hear": _exhibits(exhibits),
        "Left out": _left_out(left_out),
    }
    parts = {title: part for title, part in parts.items() if part}
    anchors = {title: title.lower().replace(" ", "-") for title in parts}
    frame = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    return frame.substitute(
        title=TITLE,
        subtitle=escape(subtitle),
        contents="".join(f'<a href="#{anchors[title]}">{title}</a>' for title in parts),
        body="".join(
            f'<section><h2 id="{anchors[title]}">{title}</h2>{part}</section>\n' for title, part in parts.items()
        ),
    )


def _plots(section: Section, columns: Sequence[Column]) -> str:
    drawn = []
    for column in columns:
        plot = rate_plot(section.rows, column) if column.measure in PLOTTED else ""
        if plot:
            wanted = f" ({column.better} is better)" if column.better else ""
            title = f"<strong>{escape(column.heading)}</strong>{wanted}: {escape(column.meaning)}"
            drawn.append(f"<figure><figcaption>{title}</figcaption>{plot}</figure>")
    if not drawn:
        return ""
    text = "<p>All recordings. The numbers are those of the tables; dashed lines are limits, which have no rate.</p>"
    names = "".join(f"<li>{_numbered(number, row)}</li>" for number, row in enumerate(section.rows, 1))
    return f'{text}<div class="plots">{"".join(drawn)}<ul class="names">{names}</ul></div>'


def _table(section: Section, columns: Sequence[Column]) -> str:
    headings = "".join(
        f'<th scope="col" title="{escape(column.meaning)}">{escape(column.heading)}</th>' for column in columns
    )
    rows = []
    for number, row in enumerate(section.rows, 1):
        cells = "".join(f"<td>{escape(column.cell(row))}</td>" for column in columns)
        rows.append(f'<tr><th scope="row">{_numbered(number, row)}</th>{cells}</tr>')
    of = "recording" if section.recordings == 1 else "recordings"
    title = (
        f"{escape(section.domain)} <span class='quiet'>{section.recordings} {of}, {_duration(section.seconds)}</span>"
    )
    region = f'class="scroll" tabindex="0" role="region" aria-label="{escape(section.domain)}"'
    return (
        f'<h3>{title}</h3><div {region}><table><thead><tr><th scope="col">codec</th>{headings}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _numbered(number: int, row: Row) -> str:
    return f'<span class="number">{number}</span>{escape(row.name)}'


def _legend(columns: Sequence[Column]) -> str:
    """What the columns mean."""
    words = {"less": "; less is better", "more": "; more is better", "one": "", "": ""}
    told = "".join(
        f"<dt>{escape(column.heading)}</dt><dd>{escape(column.meaning)}{words[column.better]}</dd>"
        for column in COLUMNS
        if column in columns
    )
    note = (
        "Recordings weigh as much as they are long, but for FID, KID and MKL, in which every window of ten seconds "
        "counts the same, and so does a rest of a second or more. All rows are of the same recordings."
    )
    return f"<details open><summary>What the columns mean</summary><dl>{told}</dl><p>{note}</p></details>"


def _exhibits(exhibits: Sequence[Exhibit]) -> str:
    text = (
        f"<p>At most {SECONDS} s of some recordings. Pictures are of the sound, on a mel scale, from -80 dB (black) to "
        f"20 dB; sounds are without loss (FLAC), mono at {spec.SAMPLE_RATE} Hz.</p>"
    )
    return text + "".join(map(_exhibit, exhibits)) if exhibits else ""


def _exhibit(exhibit: Exhibit) -> str:
    shown = "".join(_excerpt(exhibit, excerpt) for excerpt in exhibit.excerpts)
    domain = "" if exhibit.domain == NONE else f"{escape(section_name(exhibit.domain))}: "
    return f'<h3>{domain}{escape(exhibit.path)}</h3><div class="excerpts">{shown}</div>'


def _excerpt(exhibit: Exhibit, excerpt: Excerpt) -> str:
    """A spectrogram between its axes, and the sound."""
    seconds = excerpt.mel.shape[1] * spec.HOP_LENGTH / spec.SAMPLE_RATE
    rate = "" if excerpt.bits_per_second is None else f", {excerpt.bits_per_second:.0f} bit/s"
    about = escape(f"{excerpt.name}, {exhibit.path}", quote=True)
    picture = (
        f'<div class="picture"><div class="hertz"><span>{_HIGHEST}</span><span>{_LOWEST}</span></div>'
        f'<img alt="Log-mel spectrogram: {about}" src="{_data("image/png", spectrogram_png(excerpt.mel))}">'
        f'<div class="seconds"><span>0</span><span>{seconds:.1f} s</span></div></div>'
    )
    sound = ""
    if excerpt.flac is not None:
        address = _data("audio/flac", excerpt.flac)
        sound = f'<audio controls preload="none" aria-label="{about}" src="{address}"></audio>'
    return f"<figure><figcaption><strong>{escape(excerpt.name)}</strong>{rate}</figcaption>{picture}{sound}</figure>"


def _left_out(left_out: Sequence[LeftOut]) -> str:
    lines = "".join(f"<li><b>{escape(path)}</b>: {escape(reason)}</li>" for path, reason in left_out)
    return f'<ul class="left-out">{lines}</ul>' if lines else ""


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
