"""Letters at the edges: right for every view a user can make, absent where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_colipri.desktop.overlays import EdgeLetters, edge_letters, letters_of_direction

SCALE = (3.0, 0.8, 0.8)
STRAIGHT = np.diag(SCALE)
DEFAULT = ("away", "down", "right")


@pytest.mark.parametrize(
    ("order", "left", "right", "top", "bottom"),
    [
        ((0, 1, 2), "R", "L", "A", "P"),
        ((1, 0, 2), "R", "L", "S", "I"),
        ((2, 0, 1), "A", "P", "S", "I"),
        ((0, 2, 1), "A", "P", "R", "L"),
        ((2, 1, 0), "S", "I", "A", "P"),
        ((1, 2, 0), "S", "I", "R", "L"),
    ],
)
def test_every_order_of_the_dims(order: tuple[int, int, int], left: str, right: str, top: str, bottom: str) -> None:
    assert edge_letters(order, DEFAULT, STRAIGHT, SCALE) == EdgeLetters(left, right, top, bottom)


def test_a_mirrored_camera_swaps_the_letters_with_the_image() -> None:
    letters = edge_letters((0, 1, 2), ("away", "up", "left"), STRAIGHT, SCALE)
    assert letters == EdgeLetters(left="L", right="R", top="P", bottom="A")


def test_a_rotated_layer_takes_its_letters_along() -> None:
    quarter = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # napari's "rotate layers": 90 degrees in the axial plane
    letters = edge_letters((0, 1, 2), DEFAULT, quarter @ STRAIGHT, SCALE)
    assert letters == EdgeLetters(left="A", right="P", top="L", bottom="R")


def test_an_oblique_view_gets_two_letters() -> None:
    angle = np.deg2rad(30)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    letters = edge_letters((0, 1, 2), DEFAULT, turn @ STRAIGHT, SCALE)
    assert {letters.left, letters.right} == {"RA", "LP"}


def test_none_in_3d_and_none_where_the_file_stores_no_orientation() -> None:
    assert edge_letters((0, 1, 2), DEFAULT, STRAIGHT, SCALE, ndisplay=3) == EdgeLetters()
    assert edge_letters((0, 1, 2), DEFAULT, STRAIGHT, SCALE, orientation_known=False) == EdgeLetters()


def test_a_null_direction_has_no_letter() -> None:
    assert letters_of_direction((0, 0, 0)) == ""
    assert letters_of_direction((np.nan, 0, 0)) == ""
