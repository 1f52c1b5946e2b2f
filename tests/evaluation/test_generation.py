"""The paper's tables, on a tiny pack: what stands in which row, and that it is what it is said to be."""

from dataclasses import replace

import pytest
import torch
from judging import tiny_classifier
from packs import add_features, write_mel_pack, write_pack
from sampler_cases import add_tiny_sampler
from tiny import write_tiny_bundle

from specvq_codec import Codec, UsageError
from specvq_codec.evaluation.caching import VerdictCache
from specvq_codec.evaluation.conditioning import Conditioning
from specvq_codec.evaluation.distributions import frechet_distance, inception_score, kernel_distance
from specvq_codec.evaluation.drawing import decoded_mels, draw, encoded, original_mel, originals_of, settings_of
from specvq_codec.evaluation.generation import DECODED, ORIGINALS, OTHERS, judge, sections_of
from specvq_codec.evaluation.relevance import Verdict, verdict
from specvq_codec.sampling import Sampling
from specvq_codec.training.data import Pack
from specvq_codec.training.distributed import Processes

RECORDINGS = [("test", "sound", 1.0 + 0.1 * (n % 3), "bell") for n in range(6)]
RECORDINGS += [("test", "sound", 1.2, "dog"), ("test", "sound", 0.99, "dog"), ("test", "sound", 1.9, "")]
FEATURES = {"feature_frames": 4, "feature_depth": 7}


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    folder = write_pack(tmp_path_factory.mktemp("packs") / "pack", RECORDINGS)
    add_features(folder, 7)
    return Pack(folder, "test")


@pytest.fixture(scope="module")
def make(pack, tmp_path_factory):
    """Makes a codec whose sampler has some conditions, and what it can be told of the pack."""

    def known(name: str = "tiny", **settings) -> Conditioning:
        bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / name)
        return Conditioning(Codec(add_tiny_sampler(bundle, **settings), "cpu", "griffin-lim"), pack)

    return known


@pytest.fixture(scope="module")
def cache() -> VerdictCache:
    return VerdictCache(tiny_classifier(), None)


@pytest.fixture(scope="module", autouse=True)
def fewest():
    """Six originals are enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("specvq_codec.evaluation.generation.FEWEST", 6)
        yield


@pytest.fixture(scope="module")
def measured(make, cache, fewest):
    """A sampler that may be told the class, from 1 and 64 indices, two samples of each."""
    settings = settings_of([make(num_classes=2, optional=True)], (1, 64))
    originals = originals_of(settings)
    judged = judge(settings, originals, cache, samples=2, seed=3)
    return settings, originals, judged, sections_of(settings, originals, judged)


def same(one: Verdict, other: Verdict) -> bool:
    return all(torch.equal(*parts) for parts in zip(one, other, strict=True))


def test_rows_and_sections(measured):
    settings, originals, _, sections = measured
    assert [one.columns for one in originals] == [5, 5, 6] * 2 + [6, 6]  # the sampler's window has 6
    assert [(section.label, section.originals) for section in sections] == [("all", 8), ("bell", 6), ("dog", 1)]
    drawn = [("new, no condition", 1), ("new, no condition", 64), ("new, class", 1), ("new, class", 64)]
    names = [(ORIGINALS, None), (DECODED, None), (OTHERS, None), *drawn]
    for section in sections:
        assert [(row.name, row.top_k) for row in section.rows] == names
        assert [row.sounds for row in section.rows] == [section.originals] * 3 + [2 * section.originals] * 4
        scores = [row.scores for row in section.rows]
        many = section.originals >= 6  # of fewer only MKL is told
        assert [one.fid is not None for one in scores] == [False, many, False, *[many] * 4]
        assert [one.kid is not None for one in scores] == [False, many, False, *[many] * 4]
        assert [one.inception is not None for one in scores] == [many, many, False, *[many] * 4]
        assert [one.mkl is not None for one in scores] == [False, True, section.originals > 1, *[True] * 4]
    assert settings[2].condition == "class" and sections[0].rows[5].condition == "class"


def test_scores_are_those_of_all_samples(measured, cache):
    settings, originals, _, sections = measured
    pack, codec = settings[3].known.pack, settings[3].known.codec
    mels = [original_mel(pack, one) for one in originals]
    codes = [
        draw(settings[3].known, one, ("class",), 2, Sampling(64, seed=3 + place)) for place, one in enumerate(originals)
    ]
    made = Verdict.together(verdict(cache.classifier, decoded_mels(codec, some)) for some in codes)
    real = verdict(cache.classifier, mels)
    scores = sections[0].rows[6].scores
    assert scores.fid == frechet_distance(real.hidden, made.hidden)
    assert (scores.kid, scores.kid_deviation) == kernel_distance(real.hidden, made.hidden)
    assert (scores.inception, scores.inception_deviation) == inception_score(made.unbiased)
    pairs = [
        float((p * (p / (q + 1e-6)).log()).sum())
        for place, p in enumerate(real.probabilities)
        for q in made.probabilities[2 * place : 2 * place + 2]
    ]
    assert scores.mkl == pytest.approx(sum(pairs) / 16)
    chance = [
        float((p * (p / (q + 1e-6)).log()).sum())
        for place, p in enumerate(real.probabilities)
        for other, mel in enumerate(mels)
        if other != place
        for q in cache([decoded_mels(codec, [encoded(codec, mel)])[0]]).probabilities
    ]
    assert sections[0].rows[2].scores.mkl == pytest.approx(sum(chance) / (8 * 7))


def test_a_codec_encodes_the_originals_as_it_does_sound(measured):
    settings, originals, *_ = measured
    pack, codec = settings[0].known.pack, settings[0].known.codec
    for one in originals[::3]:
        whole = codec.encode(pack.waveform(one.clip)[: one.columns * 4096])
        again = encoded(codec, original_mel(pack, one))
        assert (again.indices == whole.indices).all() and again.num_samples == whole.num_samples


def test_work_can_be_shared(measured, cache):
    settings, originals, _, sections = measured
    parts = [judge(settings, originals, cache, 2, seed=3, processes=Processes(rank, 3)) for rank in range(3)]
    assert [len(part) for part in parts] == [3, 3, 2]
    assert sections_of(settings, originals, [one for part in parts[::-1] for one in part]) == sections


def test_the_seed_decides(measured, cache):
    settings, originals, judged, _ = measured
    again = judge(settings[1:2], originals[:3], cache, samples=2, seed=3)
    assert all(same(one.drawn[0], judged[one.place].drawn[1]) for one in again)
    other = judge(settings[1:2], originals[:3], cache, samples=2, seed=9)
    assert not any(same(one.drawn[0], judged[one.place].drawn[1]) for one in other)


def test_samplers_of_several_numbers_of_features(make, cache):
    known = [make("four", **FEATURES), make("one", feature_frames=1, feature_depth=7), make("none")]
    settings = settings_of(known, (8,))
    assert [one.condition for one in settings] == ["4 features", "1 feature", "no condition"]
    originals = originals_of(settings, limit=3)
    (total, *_) = sections_of(settings, originals, judge(settings, originals, cache, samples=1))
    assert [(row.name, row.weights, row.features) for row in total.rows] == [
        (ORIGINALS, None, None),
        (DECODED, "four", None),  # all samplers have the same codebook
        (OTHERS, "four", None),
        ("new, 4 features, by four", "four", 4),
        ("new, 1 feature, by one", "one", 1),
        ("new, no condition, by none", "none", 0),
    ]
    assert len({row.scores.mkl for row in total.rows[3:]}) == 3
    assert [one.condition for one in settings_of(known, (8,), features=(0, 4))] == ["4 features", "no condition"]
    with pytest.raises(UsageError, match=r"5 features: .* told 1 feature, or 4 features, or no condition"):
        settings_of(known, (8,), features=(0, 5))


def test_samplers_and_classes_of_one_name_are_told_apart(make, cache):
    known = [make("twin", feature_frames=frames, feature_depth=7) for frames in (1, 4)]
    settings = settings_of(known, (8,))
    originals = originals_of(settings, limit=3)
    judged = judge(settings, originals, cache, samples=1)
    originals[0] = replace(originals[0], clip=replace(originals[0].clip, label="all"))
    total, *classes = sections_of(settings, originals, judged)
    one, other = (row.weights for row in total.rows[-2:])
    assert one != other and f"by {one}" in total.rows[-2].name and f"by {other}" in total.rows[-1].name
    assert (total.label, total.originals) == ("all", 3) and ("all/", 1) in [(c.label, c.originals) for c in classes]


def test_class_and_features(make):
    known = [make(num_classes=2, optional=True, **FEATURES)]
    both = ["no condition", "class", "4 features", "class and 4 features"]
    assert [one.condition for one in settings_of(known, (8,))] == both
    assert [one.condition for one in settings_of(known, (8,), with_class=False)] == both[::2]
    assert [one.condition for one in settings_of(known, (8,), (4,), with_class=True)] == both[3:]
    with pytest.raises(UsageError, match="told the class"):
        settings_of([make("plain")], (8,), with_class=True)


def test_packs_of_spectrograms(measured, cache, tmp_path):
    settings, originals, judged, _ = measured
    bundle = settings[0].known.codec.bundle
    known = Conditioning(
        Codec(bundle, "cpu", "griffin-lim"), Pack(write_mel_pack(tmp_path / "mels", settings[0].known.pack), "test")
    )
    settings = settings_of([known], (64,), with_class=True)
    assert [one.columns for one in originals_of(settings)] == [one.columns for one in originals]
    found = judge(settings, originals_of(settings, 3), cache, samples=2, seed=3)
    assert same(found[0].drawn[0], judged[0].drawn[3])
    # a spectrogram is in half precision there, and goes on where the waveform would have been cut
    assert torch.allclose(found[0].real.logits, judged[0].real.logits, rtol=0.05, atol=0.5)


def test_too_few_originals(make, monkeypatch):
    settings = settings_of([make("few")], (8,))
    assert len(originals_of(settings, limit=2)) == 2
    with pytest.raises(UsageError, match="Two recordings of 1 s"):
        originals_of(settings, limit=1)
