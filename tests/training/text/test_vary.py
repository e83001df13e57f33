"""Reports varied while training: the same sentences in another order, or one caption."""

from __future__ import annotations

import numpy as np
import pytest

from napari_colipri.text.sentences import split_sections, split_sentences
from training.text.vary import TextVariation, captions, shuffle_report

REPORT = """Lungs: There is a nodule of 8 mm in the left lung. No consolidation. Emphysema is seen
Heart: The heart is enlarged. No pericardial effusion.
Pleura: Possible pleural effusion. Stable hiatal hernia."""


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def content(report: str) -> dict[str, frozenset[str]]:
    return {
        part.name: frozenset(each.rstrip(".") for each in split_sentences(part.text)) for part in split_sections(report)
    }


def order(report: str) -> list[str]:
    return [part.name for part in split_sections(report)]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_and_sentences_stay_below_their_heading(seed: int) -> None:
    assert content(shuffle_report(REPORT, generator(seed), sections=1, sentences=1)) == content(REPORT)


def test_the_generator_decides() -> None:
    varied = [shuffle_report(REPORT, generator(seed)) for seed in range(40)]
    assert varied == [shuffle_report(REPORT, generator(seed)) for seed in range(40)]
    assert len(set(varied)) > 10


def test_sections_and_sentences_are_shuffled_half_of_the_time() -> None:
    moved = [order(shuffle_report(REPORT, generator(seed), sentences=0)) != order(REPORT) for seed in range(400)]
    assert 0.33 < np.mean(moved) < 0.5  # one of six orders is the old one
    kept = shuffle_report(REPORT, generator(0), sections=0, sentences=0)
    assert order(kept) == order(REPORT)
    assert all(order(shuffle_report(REPORT, generator(seed), sections=0)) == order(REPORT) for seed in range(20))


def test_free_text_is_one_section() -> None:
    varied = {shuffle_report("One. Two. Three", generator(seed), sentences=1) for seed in range(30)}
    assert len(varied) == 6
    assert "Three. One. Two." in varied


def test_captions_say_that_one_finding_is_there() -> None:
    assert captions(REPORT) == (
        "There is a nodule of 8 mm in the left lung.",
        "Emphysema is seen.",
        "The heart is enlarged.",
    )
    assert captions("Nodules and emphysema are seen.") == ()
    assert captions("Cardiomegaly is present. Cardiomegaly is seen.") == ("Cardiomegaly is seen.",)


def test_a_caption_takes_the_report_s_place() -> None:
    always = TextVariation(caption=1)
    drawn = {always(REPORT, generator(seed)) for seed in range(40)}
    assert drawn == set(captions(REPORT))
    assert always("The trachea is midline.", generator(0)) == "The trachea is midline."
    assert always(" ", generator(0)) == ""


def test_a_probability_is_a_probability() -> None:
    with pytest.raises(ValueError, match=r"caption is 1\.5"):
        TextVariation(caption=1.5)
