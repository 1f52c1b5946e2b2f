"""Spectrograms as pictures: which recordings are shown, and under what names."""

import io

import pytest
import torch
from PIL import Image

from specvq_codec.evaluation.exhibits import Exhibits
from specvq_codec.evaluation.pictures import examples, save_spectrograms
from specvq_codec.evaluation.reconstruction import spectrogram_of
from specvq_codec.evaluation.systems import Decoded, Recording
from specvq_codec.training.data import Clip


def picture(tmp_path, title: str) -> bytes:
    save_spectrograms(tmp_path / "picture.png", [(title, torch.rand(80, 50, generator=torch.Generator()))])
    return (tmp_path / "picture.png").read_bytes()


@pytest.mark.parametrize("title", ["$_$.wav", "bad\udcff.wav", "$x$.wav", "\\alpha"])
def test_any_name_is_a_title(tmp_path, title):
    drawn = picture(tmp_path, title)
    assert Image.open(io.BytesIO(drawn)).size[0] == 900
    assert drawn != picture(tmp_path, "")


def test_titles_are_no_formulas(tmp_path):
    assert picture(tmp_path, "$x$.wav") != picture(tmp_path, "x.wav")


def clips(*domains: str) -> list[Clip]:
    return [Clip(f"{number}.wav", "", domain, 0, 100_000) for number, domain in enumerate(domains)]


def test_domains_whose_names_meet_are_all_shown():
    chosen = examples(clips("a b", "a_b", "a/b", "c"), 1)
    assert sorted(clip.domain for clip in chosen.values()) == ["a b", "a/b", "a_b", "c"]
    assert sorted(chosen) == ["a_b-1", "a_b-2", "a_b-3", "c-1"]


def test_what_cannot_be_measured_is_shown_by_the_next():
    exhibits = Exhibits(clips(*["dogs"] * 5, *["birds"] * 3), 1)
    left_out = ("2.wav", "3.wav")  # the dogs' example, and the one that would take its place
    sound = torch.zeros(1000)
    for clip in clips(*["dogs"] * 5, *["birds"] * 3):
        if clip.path not in left_out and exhibits.wants(clip):
            exhibits.show(clip, Recording(clip.path, sound, spectrogram_of(sound)), [("ours", Decoded(sound))])
    assert [exhibit.path for exhibit in exhibits.shown] == ["4.wav", "6.wav"]
