"""Cutting reports into sections and sentences."""

from __future__ import annotations

from napari_colipri.text.sentences import impression_or_start, split_sections, split_sentences

REPORT = """Made for the tests.

FINDINGS:
Lungs: a nodule of 1.5 cm lies in the right upper lobe, approx. 2 cm from the pleura. No effusion is seen.
- The heart is not enlarged
- Vessels are patent. See im. 12.

## Impression
1. Nodule in the right upper lobe.
2. No effusion.
"""


def test_sections_by_heading() -> None:
    sections = split_sections(REPORT)
    assert [section.name for section in sections] == ["", "FINDINGS", "Lungs", "Impression"]
    assert sections[0].text == "Made for the tests."
    assert sections[-1].text.startswith("1. Nodule")


def test_decimals_and_abbreviations_do_not_end_a_sentence() -> None:
    lungs = split_sections(REPORT)[2].text
    assert split_sentences(lungs) == (
        "a nodule of 1.5 cm lies in the right upper lobe, approx. 2 cm from the pleura.",
        "No effusion is seen.",
        "The heart is not enlarged",
        "Vessels are patent.",
        "See im. 12.",
    )


def test_wrapped_lines_are_one_sentence_and_list_items_are_their_own() -> None:
    assert split_sentences("One line\ncontinues here. Two.\n\n1. Three\n2. Four") == (
        "One line continues here.",
        "Two.",
        "Three",
        "Four",
    )


def test_nothing_in_nothing_out() -> None:
    assert split_sentences(" \n ") == ()
    assert split_sections("") == ()
    assert impression_or_start("") == ""


def test_excerpt_prefers_the_impression_and_keeps_whole_sentences() -> None:
    assert impression_or_start(REPORT) == "Nodule in the right upper lobe. No effusion."
    assert impression_or_start(REPORT, limit=35) == "Nodule in the right upper lobe."
    cut = impression_or_start("A first sentence that is far too long for its place.", limit=24)
    assert cut == "A first sentence that…"
