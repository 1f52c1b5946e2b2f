"""Fidelity and diversity, and what top-X does to them."""

from types import SimpleNamespace

import pytest
import torch
from judging import tiny_classifier
from packs import write_pack
from sampler_cases import add_tiny_sampler
from tiny import write_tiny_bundle

from specvq_codec import Codec, UsageError
from specvq_codec.classifiers import Classifier
from specvq_codec.evaluation.conditioning import Conditioning
from specvq_codec.evaluation.curves import save_curves
from specvq_codec.evaluation.diversity import Point, pairwise_difference, trade_off
from specvq_codec.evaluation.drawing import decoded_mels, encoded, original_mel
from specvq_codec.evaluation.generation import DECODED, OTHERS
from specvq_codec.training.data import Pack

RECORDINGS = [("test", "sound", 1.2, label) for label in ("bell", "dog", "bell", "")]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return tiny_classifier()


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Conditioning:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    codec = Codec(add_tiny_sampler(bundle, num_classes=2, optional=True), "cpu", "griffin-lim")
    return Conditioning(codec, Pack(write_pack(tmp_path_factory.mktemp("packs") / "pack", RECORDINGS), "test"))


def test_difference_of_pairs():
    mels = torch.stack([torch.full((80, 10), value) for value in (0.1, 0.2, 0.4)])
    assert pairwise_difference(mels) == pytest.approx(20.0, rel=1e-4)  # 10, 20 and 30 dB


def test_more_indices_to_draw_from_give_more_diversity(known, classifier):
    originals, others, *points = trade_off(known, classifier, known.pack.clips, 0.4, (1, 4, 64), 2)
    assert [point.top_k for point in (originals, others, *points)] == [None, None, 1, 4, 64]
    assert [originals.name, others.name, points[0].name] == [DECODED, OTHERS, "new, class"]
    assert points[0].difference == 0.0 < points[1].difference and points[0].indices < points[2].indices
    assert originals.difference is not None and others.fid is None  # two of the originals are bells
    assert all(point.mkl_error is not None and point.fid > 0 for point in points)
    again = trade_off(known, classifier, known.pack.clips, 0.4, (4,), 2)
    assert again == [originals, others, points[1]]
    assert trade_off(known, classifier, known.pack.clips, 0.4, (4,), 2, seed=9)[2] != points[1]


def test_originals_decoded_without_loss_have_no_distance(known, classifier, monkeypatch):
    codes = []

    def lossless(pack, original):
        codes.append(encoded(known.codec, original_mel(pack, original)))
        return decoded_mels(known.codec, codes[-1:])[0]

    monkeypatch.setattr("specvq_codec.evaluation.diversity.original_mel", lossless)
    monkeypatch.setattr("specvq_codec.evaluation.diversity.encoded", lambda codec, mel: codes.pop(0))
    originals, others, _ = trade_off(known, classifier, known.pack.clips, 0.4, (1,), 2)
    assert originals.mkl == pytest.approx(0.0, abs=1e-5) and originals.fid == pytest.approx(0.0, abs=1e-6)
    assert others.mkl > 0.001


def test_curves_without_lines_for_originals_have_no_legend(tmp_path, recwarn):
    save_curves(tmp_path / "curves.png", [Point("new", size, 1.0, None, 2.0, 3.0, 4.0) for size in (1, 8)])
    assert not recwarn.list and (tmp_path / "curves.png").stat().st_size > 1000


def test_too_little_to_compare(known, classifier):
    for clips, seconds in ((known.pack.clips[:1], 1.0), (known.pack.clips, 0.1)):
        with pytest.raises(UsageError, match="of a column"):
            trade_off(known, classifier, clips, seconds, (1,), 2)
    picky = tiny_classifier()
    object.__setattr__(picky.network, "config", SimpleNamespace(min_frames=75))
    with pytest.raises(UsageError, match=r"judges sounds of 0\.87 s and more, and here is one of 0\.37 s"):
        trade_off(known, picky, known.pack.clips, 0.4, (1,), 2)
