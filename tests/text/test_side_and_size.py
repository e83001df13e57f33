"""Sides, sizes and comparisons in words."""

from __future__ import annotations

import pytest

from napari_colipri.text.side_and_size import comparison_words, side_of_name, sides_in, sizes_mm, without_side


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("Left pleural effusion.", {"left"}),
        ("right-sided effusion, none on the left", {"left", "right"}),
        ("Bilateral effusions.", {"left", "right"}),
        ("both lungs are clear", {"left", "right"}),
        ("An upright posture.", set()),
    ],
)
def test_sides(text: str, sides: set[str]) -> None:
    assert sides_in(text) == sides


def test_sides_of_class_names() -> None:
    assert side_of_name("lung_upper_lobe_left") == "left"
    assert side_of_name("Right lung") == "right"
    assert side_of_name("heart") is None
    assert without_side("lung_left") == "lung"
    assert without_side("Right lung") == "lung"


def test_sizes_in_mm() -> None:
    assert sizes_mm("12 x 8 mm, 1.5 cm and 2,5 × 1 cm in segment 4") == (12.0, 15.0, 25.0)
    assert sizes_mm("T12 vertebra, 3 mmHg") == ()


@pytest.mark.parametrize(
    "text",
    [
        "Stable nodule.",
        "The effusion has increased.",
        "A new opacity.",
        "Unchanged since the prior scan.",
        "No significant difference in the nodule.",
        "The nodule was not seen on the old CT.",
        "Evaluated together with the CT dated last May.",
        "The consolidation is no longer visible.",
        "A nodule is still seen.",
        "The effusion has appeared in the meantime.",
        "Larger than before.",
        "Persistent opacity.",
    ],
)
def test_claims_of_change_are_found(text: str) -> None:
    assert comparison_words(text)


@pytest.mark.parametrize(
    "text",
    [
        "Areas of decreased attenuation.",
        "Heart size is increased.",
        "Increased septal thickness.",
        "The cardiothoracic ratio is increased.",
        "Hemodynamically stable.",
        "There is a lung nodule.",
        "An old rib fracture.",
        "renewed",
    ],
)
def test_descriptions_are_not_claims_of_change(text: str) -> None:
    assert comparison_words(text) == ()
