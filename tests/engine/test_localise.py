"""A heat map is the difference of cosines; its peak lies where the response is, in millimetres."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_colipri.engine.localise import heat_values, peak
from tests.volumes import affine_for, oblique_affine

SHAPE = (9, 8, 7)


def _bump(centre: tuple[float, float, float]) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.arange(size) for size in SHAPE], indexing="ij"), axis=-1)
    return (-((grid - np.array(centre)) ** 2).sum(axis=-1)).astype(np.float32)


@given(st.tuples(*[st.floats(1.0, size - 2.0) for size in SHAPE]))
def test_the_peak_of_a_parabola_is_found_between_tokens(centre: tuple[float, float, float]) -> None:
    point, _ = peak(_bump(centre), np.eye(4))
    np.testing.assert_allclose(point, centre, atol=1e-3)


@pytest.mark.parametrize(
    "affine",
    [affine_for("LPS", (40, 40, 40), SHAPE), affine_for("SAR", (16, 16, 16), SHAPE), oblique_affine(17.0, shape=SHAPE)],
    ids=["LPS", "SAR", "oblique"],
)
def test_the_peak_is_in_patient_millimetres(affine: np.ndarray) -> None:
    centre = (4.25, 3.0, 2.5)
    point, value = peak(_bump(centre), affine)
    np.testing.assert_allclose(point, affine[:3, :3] @ centre + affine[:3, 3], atol=1e-3)
    assert value == _bump(centre).max()


def test_nothing_outside_the_image_is_a_peak() -> None:
    values = _bump((4, 3, 2))
    inside = np.zeros(SHAPE, np.bool_)
    inside[6:8, 5:7, 4:6] = True
    point, _ = peak(np.where(inside, values, np.nan).astype(np.float32), np.eye(4))
    np.testing.assert_allclose(point, (6, 5, 4))  # no refinement towards the outside either


def test_a_peak_at_the_border_stays_at_the_border() -> None:
    point, _ = peak(_bump((0, 0, 0)), np.eye(4))
    assert point == (0.0, 0.0, 0.0)


def test_a_flat_map_has_its_peak_at_a_token() -> None:
    point, value = peak(np.ones(SHAPE, np.float32), np.eye(4))
    assert point == (0.0, 0.0, 0.0)
    assert value == 1.0


def test_a_map_without_values_has_no_peak() -> None:
    with pytest.raises(ValueError, match="no peak"):
        peak(np.full(SHAPE, np.nan, np.float32), np.eye(4))


def test_values_are_differences_of_cosines_and_nan_outside() -> None:
    random = np.random.default_rng(0)
    dense = random.normal(size=(*SHAPE, 16)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=-1, keepdims=True)
    present, absent = (vector / np.linalg.norm(vector) for vector in random.normal(size=(2, 16)).astype(np.float32))
    inside = random.random(SHAPE) > 0.5
    values = heat_values(dense, present, absent, inside)
    assert values.dtype == np.float32
    assert np.array_equal(np.isfinite(values), inside)
    np.testing.assert_allclose(values[inside], (dense @ present - dense @ absent)[inside], atol=1e-6)
