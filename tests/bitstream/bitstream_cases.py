"""Grids, tables and headers that the tests of the bitstream share."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from specvq_codec.bitstream import COLUMN_SAMPLES, Coding, CodingModel, Header, Prior, frequency_tables
from specvq_codec.bitstream.blocks import pack_block

FINGERPRINT = bytes.fromhex("0123456789abcdef")
GOLDEN = Path(__file__).parents[1] / "golden" / "svq"


@dataclass(frozen=True)
class Case:
    """A sound's indices, and the model that codes them."""

    model: CodingModel
    indices: NDArray[np.int16]  # (T, 5)
    sample_rate: int
    num_samples: int


def skewed_model(codebook_size: int, seed: int = 0, concentration: float = 0.3) -> CodingModel:
    """Static tables in which few indices are frequent, more so the lower the concentration."""
    rng = np.random.default_rng(seed)
    counts = [rng.multinomial(50_000, rng.dirichlet(np.full(codebook_size, concentration))) for _ in range(5)]
    return CodingModel(codebook_size, frequency_tables(np.array(counts)))


def draw_indices(model: CodingModel, columns: int, seed: int = 0, uniform: bool = False) -> NDArray[np.int16]:
    """Indices, shape (columns, 5), with the probabilities of the model's tables, or all equally likely."""
    rng = np.random.default_rng(seed)
    if uniform or model.static is None:
        return rng.integers(0, model.codebook_size, (columns, 5), dtype=np.int16)
    rows = [rng.choice(model.codebook_size, columns, p=(table + 1.0) / 2**24) for table in model.static]
    return np.stack(rows, axis=1).astype(np.int16)


def draw_likely(prior: Prior, columns: int, seed: int = 0) -> NDArray[np.int16]:
    """Indices, shape (columns, 5), each drawn from the frequencies that a prior gives it."""
    rng, steps = np.random.default_rng(seed), prior.start(1)
    indices = np.empty(5 * columns, dtype=np.int16)
    for place in range(5 * columns):
        ends = np.cumsum(steps.frequencies()[0])
        indices[place] = np.searchsorted(ends, rng.integers(2**24), side="right")
        steps.push(indices[place : place + 1])
    return indices.reshape(columns, 5)


def make_case(codebook_size: int, columns: int, seed: int = 0, concentration: float = 0.3) -> Case:
    """A sound at 22 050 Hz with so many columns."""
    model = skewed_model(codebook_size, seed, concentration)
    return Case(model, draw_indices(model, columns, seed), 22050, columns * COLUMN_SAMPLES)


def forge(header: Header, payloads: list[bytes]) -> bytes:
    """A file whose checks all fit, whatever its payloads are."""
    return header.to_bytes() + b"".join(pack_block(header, index, payload) for index, payload in enumerate(payloads))


@st.composite
def cases(draw: st.DrawFn, max_columns: int = 600) -> Case:
    """Any sound of up to ``max_columns`` columns: any rate, length, codebook size, skew; likely indices or not."""
    codebook_size = draw(st.integers(2, 4096) | st.sampled_from([2, 3, 4, 128, 1024, 4096]))
    rate = draw(st.sampled_from([22050, 8000, 44100, 192000]) | st.integers(1000, 768_000))
    num_samples = draw(st.integers(1, max_columns * COLUMN_SAMPLES * rate // 22050))
    seed = draw(st.integers(0, 2**32))
    model = skewed_model(codebook_size, seed, draw(st.sampled_from([0.01, 0.3, 10.0])))
    columns = Header(Coding.FIXED, bytes(4), rate, num_samples).columns
    return Case(model, draw_indices(model, columns, seed, draw(st.booleans())), rate, num_samples)


def golden_cases() -> list[dict[str, Any]]:
    """The descriptions of the golden files."""
    described: list[dict[str, Any]] = json.loads((GOLDEN / "cases.json").read_text())["cases"]
    return described
