"""One affine, many grids: the same anatomy is measured, named and sampled alike however it is stored."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_colipri.ct import geometry
from napari_colipri.ct.geometry import (
    axis_codes,
    geometry_facts,
    geometry_reasons,
    index_to_ras,
    is_singular,
    lps_to_ras,
    measure,
    obliquity_deg,
    orthogonal_volume,
    ras_to_index,
    ras_to_lps,
    shear_deg,
)
from napari_colipri.errors import Cancelled
from napari_colipri.progress import CancelToken
from tests.volumes import (
    ORIENTATIONS,
    affine_for,
    make_volume,
    oblique_affine,
    ramp,
    rotation,
    sheared_affine,
    sheared_volume,
    tilted_volume,
    uneven_volume,
    volume_in,
)

AXES = st.tuples(*(st.floats(-1, 1) for _ in range(3))).filter(lambda axis: np.linalg.norm(axis) > 0.1)


def codes_of(volume_reasons: object) -> list[str]:
    return [item.code for item in volume_reasons]  # type: ignore[attr-defined]


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_every_orientation_is_named_and_holds_the_same_hu_at_the_same_point(codes: tuple[str, str, str]) -> None:
    volume = volume_in(codes)
    assert volume.geometry.axis_codes == codes
    assert volume.geometry.axis_aligned
    assert volume.passport.reasons == ()
    points = np.random.default_rng(1).uniform(-3, 3, (20, 3))
    index = np.rint(ras_to_index(volume, points)).astype(int)
    centres = index_to_ras(volume, index)
    np.testing.assert_allclose(volume.hu[tuple(index.T)], ramp(centres), atol=1e-3)
    reference = volume_in("RAS")
    same = np.rint(ras_to_index(reference, centres)).astype(int)
    np.testing.assert_allclose(reference.hu[tuple(same.T)], volume.hu[tuple(index.T)], atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(degrees=st.floats(0, 180), axis=AXES, codes=st.sampled_from(ORIENTATIONS))
def test_axes_of_any_rotation_are_named_as_nibabel_names_them(
    degrees: float, axis: tuple[float, float, float], codes: tuple[str, str, str]
) -> None:
    affine = oblique_affine(degrees, axis, codes=codes)
    assert axis_codes(affine) == nib.aff2axcodes(affine)


@settings(max_examples=40, deadline=None)
@given(degrees=st.floats(0.1, 40), codes=st.sampled_from(ORIENTATIONS))
def test_obliquity_and_shear_are_measured_in_degrees(degrees: float, codes: tuple[str, str, str]) -> None:
    rotated = oblique_affine(degrees, (1, 0, 0), codes=codes)
    assert obliquity_deg(rotated) == pytest.approx(degrees, abs=1e-6)
    assert shear_deg(rotated) == pytest.approx(0, abs=1e-6)
    assert shear_deg(sheared_affine(degrees, codes=codes)) == pytest.approx(degrees, abs=1e-6)


def test_rounding_of_a_float32_header_is_no_angle() -> None:
    affine = affine_for("LPS", (0.7421875, 0.7421875, 1.25), (512, 512, 300))
    noisy = affine.astype(np.float32).astype(np.float64)
    noisy[0, 1] = 1e-8
    assert measure((512, 512, 300), noisy).axis_aligned


def test_lps_and_ras_are_each_others_inverse() -> None:
    affine = oblique_affine(20, (1, 2, 3))
    np.testing.assert_array_equal(ras_to_lps(lps_to_ras(affine)), affine)
    np.testing.assert_array_equal(lps_to_ras(affine)[:2], -affine[:2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda a: a.__setitem__((0, 0), np.nan),
        lambda a: a.__setitem__((slice(0, 3), 1), 0.0),
        lambda a: a.__setitem__((slice(0, 3), 1), a[:3, 0]),
        lambda a: a.__setitem__((0, 3), np.inf),
        lambda a: a.__setitem__((slice(0, 3), 2), a[:3, 2] * 1e5),
    ],
    ids=["nan", "zero spacing", "axes in one plane", "infinite origin", "absurd spacing"],
)
def test_an_affine_that_places_nothing_is_singular(damage: object) -> None:
    affine = affine_for("LPS", (1, 1, 2), (4, 4, 4))
    assert not is_singular(affine)
    damage(affine)  # type: ignore[operator]
    assert is_singular(affine)


def test_uneven_slices_stand_at_their_true_positions() -> None:
    volume = uneven_volume((3.0, 3.0, 1.0, 6.0))
    z = index_to_ras(volume, [[0, 0, k] for k in range(5)])[:, 2]
    np.testing.assert_allclose(np.diff(z), (3.0, 3.0, 1.0, 6.0))
    index = np.array([[1.5, 2.0, 2.25], [0, 0, 3.5], [0, 0, -0.5], [0, 0, 4.5]])
    np.testing.assert_allclose(ras_to_index(volume, index_to_ras(volume, index[:2])), index[:2], atol=1e-9)


def test_tilted_uneven_slices_move_along_the_table_and_are_true_along_the_normal() -> None:
    volume = uneven_volume((3.0, 3.0, 1.0, 6.0), tilt_degrees=15)
    origins = index_to_ras(volume, [[0, 0, k] for k in range(5)])
    steps = np.diff(origins, axis=0)
    np.testing.assert_allclose(steps[:, :2], 0, atol=1e-9)  # the table moves along S only
    np.testing.assert_allclose(steps @ geometry.slice_normal(volume.affine), (3.0, 3.0, 1.0, 6.0))


# --- reasons ---------------------------------------------------------------------------------------------------------


def test_reasons_say_degrees_and_millimetres() -> None:
    assert codes_of(geometry_reasons(tilted_volume(12).geometry)) == ["oblique"]
    assert "12.0 degrees" in geometry_reasons(tilted_volume(12).geometry)[0].message
    assert codes_of(geometry_reasons(sheared_volume(18.5).geometry)) == ["sheared"]
    tilt = geometry_reasons(sheared_volume(18.5).geometry, gantry_tilt=True)
    assert codes_of(tilt) == ["gantry_tilt"]
    assert tilt[0].value == pytest.approx(18.5)
    uneven = geometry_reasons(uneven_volume().geometry)
    assert codes_of(uneven) == ["variable_spacing"]
    assert "1.00 to 5.00 mm" in uneven[0].message


def test_rotation_beyond_the_shear_is_said_too() -> None:
    affine = sheared_affine(2.0)
    affine[:3, :3] = rotation(18, (0, 0, 1)) @ affine[:3, :3]
    assert codes_of(geometry_reasons(measure((14, 12, 10), affine))) == ["sheared", "oblique"]


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_slices_are_axial_or_not_whatever_the_order_of_storage(codes: tuple[str, str, str]) -> None:
    axial = volume_in(codes, spacing_ras=(1.0, 1.0, 3.0))
    sagittal = volume_in(codes, spacing_ras=(3.0, 1.0, 1.0))
    assert codes_of(geometry_reasons(axial.geometry)) == []
    assert codes_of(geometry_reasons(sagittal.geometry)) == ["non_axial"]
    assert "sagittal" in geometry_reasons(sagittal.geometry)[0].message


def test_unknown_orientation_has_no_letters_and_no_codes() -> None:
    volume = make_volume(affine_for("LPS", (1, 1, 1), (4, 4, 4)), (4, 4, 4), orientation_known=False)
    assert codes_of(geometry_reasons(volume.geometry)) == ["unknown_orientation"]
    assert geometry_facts(volume.geometry)["axis_codes"] is None


def test_a_single_slice_is_said_in_any_direction() -> None:
    for shape in ((1, 8, 8), (8, 1, 8), (8, 8, 1)):
        assert codes_of(geometry_reasons(measure(shape, np.eye(4)))) == ["single_slice"]


# --- orthogonal volume -----------------------------------------------------------------------------------------------


def inner_points(volume: object, count: int = 60) -> np.ndarray:
    """Points well inside the source, in RAS mm."""
    shape = np.asarray(volume.geometry.shape)  # type: ignore[attr-defined]
    index = np.random.default_rng(3).uniform(1.5, shape - 2.5, (count, 3))
    return index_to_ras(volume, index)  # type: ignore[arg-type]


def linear_value(volume: object, points: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    index = ras_to_index(volume, points)  # type: ignore[arg-type]
    return np.asarray(ndimage.map_coordinates(volume.hu, index.T, order=1))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "volume",
    [sheared_volume(18.5), sheared_volume(3.0), uneven_volume(), uneven_volume(tilt_degrees=12.0)],
    ids=["tilt 18.5", "tilt 3", "uneven", "uneven and tilted"],
)
def test_an_orthogonal_volume_holds_the_same_hu_at_the_same_point(volume: object) -> None:
    straight = orthogonal_volume(volume)  # type: ignore[arg-type]
    assert straight.geometry.orthogonal
    assert straight.geometry.axis_codes == volume.geometry.axis_codes  # type: ignore[attr-defined]
    np.testing.assert_allclose(linear_value(straight, inner_points(volume)), ramp(inner_points(volume)), atol=0.1)


def test_orthogonal_volumes_come_back_as_they_are_rotated_ones_included() -> None:
    for volume in (volume_in("SAR"), tilted_volume(25, (1, 1, 0))):
        assert orthogonal_volume(volume) is volume


def test_the_straight_grid_is_at_least_as_fine_as_the_source() -> None:
    for volume in (sheared_volume(18.5), uneven_volume(), uneven_volume(tilt_degrees=12.0)):
        straight = orthogonal_volume(volume)
        assert all(np.asarray(straight.geometry.spacing_mm) <= np.asarray(volume.geometry.spacing_mm) + 1e-6)


def test_outside_the_source_is_air() -> None:
    straight = orthogonal_volume(sheared_volume(30.0, anatomy=lambda points: np.full(points.shape[:-1], 50.0)))
    assert set(np.unique(np.round(straight.hu, 3))) == {-1024.0, 50.0}


def test_a_missing_slice_is_bridged_and_a_hole_is_air() -> None:
    def tissue(points: np.ndarray) -> np.ndarray:
        return np.full(points.shape[:-1], 40.0)

    bridged = orthogonal_volume(uneven_volume((2.0, 2.0, 4.0, 2.0, 2.0), anatomy=tissue))
    assert bridged.hu.min() == 40
    torn = orthogonal_volume(uneven_volume((2.0, 2.0, 40.0, 2.0, 2.0), anatomy=tissue))
    assert (torn.hu[5, 5] == -1024).sum() >= 15


def test_int16_stays_int16_and_is_rounded() -> None:
    volume = make_volume(sheared_affine(10), dtype=np.int16)
    straight = orthogonal_volume(volume)
    assert straight.hu.dtype == np.int16
    assert not straight.hu.flags.writeable
    points = inner_points(volume)
    np.testing.assert_allclose(linear_value(make_volume(sheared_affine(10)), points), ramp(points), atol=0.1)


def test_resampling_reports_progress_and_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_colipri.ct.sampling._SLAB_VOXELS", 500)
    seen: list[float] = []
    orthogonal_volume(sheared_volume(10), progress=lambda fraction, text: seen.append(fraction))
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    token = CancelToken()
    with pytest.raises(Cancelled):
        orthogonal_volume(sheared_volume(10), progress=lambda fraction, text: token.cancel(), cancel=token)
