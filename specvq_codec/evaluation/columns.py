"""The columns of the table of reconstruction: what they are called, how they are written, and what they mean."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from .reconstruction import Row, Section


@dataclass(frozen=True)
class Column:
    """One measure.

    Attributes:
        measure: its name in `Row`.
        heading: above the column.
        form: how a value is written.
        better: which values are; "one" for those nearest to 1.
        meaning: in some words, for readers who do not know it.
    """

    measure: str
    heading: str
    form: str
    better: Literal["less", "more", "one", ""]
    meaning: str

    def cell(self, row: Row) -> str:
        """The value of a row as it is written; nothing where there is none."""
        value = getattr(row, self.measure)
        if value is None:
            return ""
        text = self.form.format(value)
        return text if text.strip("-0.%") else text.lstrip("-")  # no minus before a zero


COLUMNS = (
    Column("bits_per_second", "bit/s", "{:.1f}", "less", "bits per second of whole files, or of packets alone"),
    Column("spectrogram_l1", "mel L1", "{:.4f}", "less", "log-mel distance before any vocoder; 0.01 is 1 dB"),
    Column(
        "spectrogram_sharpness", "mel sharpness", "{:.2f}", "one", "detail before any vocoder, 1 as in the original"
    ),
    Column("log_mel_l1", "log-mel L1", "{:.4f}", "less", "log-mel distance of the sound; 0.01 is 1 dB"),
    Column("sharpness", "sharpness", "{:.2f}", "one", "detail of the sound's spectrogram, 1 as in the original"),
    Column("stft", "STFT", "{:.3f}", "less", "multi-resolution STFT distance"),
    Column("stoi", "STOI", "{:.3f}", "more", "intelligibility of speech, 1 for the original"),
    Column("pesq", "PESQ", "{:.2f}", "more", "perceived quality of speech, 4.64 for the original, 1 for the worst"),
    Column("fid", "FID", "{:.2f}", "less", "Fréchet distance of a classifier's features of ten seconds"),
    Column("kid", "KID", "{:.3g}", "less", "kernel distance of these features"),
    Column(
        "mkl", "MKL", "{:.3f}", "less", "divergence of what the classifier hears in original and decoded sound, nats"
    ),
    Column("usage", "usage", "{:.1%}", "", "share of the codebook that occurs"),
    Column("entropy", "entropy", "{:.3f}", "", "evenness of the indices, 1 where all are as frequent"),
    Column("encode_speed", "encode x", "{:.1f}", "more", "seconds of sound encoded in a second"),
    Column("decode_speed", "decode x", "{:.1f}", "more", "seconds of sound decoded in a second"),
)


def columns_of(sections: Sequence[Section]) -> list[Column]:
    """The columns in which at least one section has a value."""
    rows = [row for section in sections for row in section.rows]
    return [column for column in COLUMNS if any(getattr(row, column.measure) is not None for row in rows)]


def as_csv(sections: Sequence[Section]) -> str:
    """All sections as one table of comma-separated values, one line for each domain and row, in full precision."""
    measures = [field.name for field in fields(Row)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["domain", "recordings", "seconds", *measures])
    for section in sections:
        for row in section.rows:
            writer.writerow([section.domain, section.recordings, section.seconds, *(getattr(row, m) for m in measures)])
    return text.getvalue()
