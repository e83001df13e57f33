"""What is drawn lies where the patient is, and an edit finds its way back to the source's own voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_colipri.ct import sampling
from napari_colipri.ct.display import DisplayVolume, to_display
from napari_colipri.ct.geometry import apply, axis_codes, index_to_ras
from napari_colipri.ct.resample import patient_grid
from napari_colipri.ct.volume import CTVolume
from napari_colipri.errors import Cancelled
from napari_colipri.progress import CancelToken
from tests.volumes import (
    ORIENTATIONS,
    affine_for,
    chest,
    make_volume,
    oblique_affine,
    ramp,
    sheared_affine,
    sheared_volume,
    tilted_volume,
    uneven_volume,
    volume_in,
)

AXES = st.tuples(*(st.floats(-1, 1) for _ in range(3))).filter(lambda axis: np.linalg.norm(axis) > 0.1)


def odd_volumes() -> list[CTVolume]:
    return [tilted_volume(13, (1, 2, 0.5)), sheared_volume(18.5), uneven_volume(), uneven_volume(tilt_degrees=9.0)]


ODD = pytest.mark.parametrize("volume", odd_volumes(), ids=["rotated", "tilted", "uneven", "uneven and tilted"])


def world_of(display: DisplayVolume, index: np.ndarray) -> np.ndarray:
    """World mm as napari computes it from the layer's scale and translate."""
    return np.asarray(index) * display.scale + display.translate


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_aligned_volumes_are_viewed_without_a_copy_and_look_alike(codes: tuple[str, str, str]) -> None:
    volume = volume_in(codes)
    display = to_display(volume)
    reference = to_display(volume_in("IPL"))
    assert not display.resampled
    assert display.degrees == 0
    assert display.note == ""
    assert np.shares_memory(display.data, volume.hu)
    assert axis_codes(display.affine) == ("I", "P", "L")
    np.testing.assert_allclose(display.data, reference.data, atol=1e-3)
    assert display.scale == pytest.approx(reference.scale)
    assert display.translate == pytest.approx(reference.translate)
    assert display.edge_letters == (("S", "I"), ("A", "P"), ("R", "L"))


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_world_coordinates_are_minus_s_minus_a_minus_r(codes: tuple[str, str, str]) -> None:
    display = to_display(volume_in(codes))
    index = np.argwhere(np.ones(display.data.shape, dtype=bool))
    world = world_of(display, index)
    ras = display.world_to_ras(world)
    np.testing.assert_allclose(ras, apply(display.affine, index), atol=1e-9)
    np.testing.assert_allclose(display.ras_to_world(ras), world, atol=1e-12)
    np.testing.assert_allclose(display.data[tuple(index.T)], ramp(ras), atol=1e-3)


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_labels_and_edits_go_there_and_back_exactly(codes: tuple[str, str, str]) -> None:
    volume = volume_in(codes)
    display = to_display(volume)
    labels = np.random.default_rng(0).integers(0, 5, volume.hu.shape, dtype=np.uint8)
    shown = display.source_labels_to_display(labels)
    assert np.shares_memory(shown, labels)
    edit = np.argwhere(np.random.default_rng(1).random(display.data.shape) < 0.2)
    edited, expected = labels.copy(), labels.copy()
    edited[display.display_edit_to_source(edit)] = 9
    display.source_labels_to_display(expected)[tuple(edit.T)] = 9
    np.testing.assert_array_equal(edited, expected)


def test_a_radiologist_sees_the_heart_on_the_right_of_the_screen_and_the_liver_below() -> None:
    affine = affine_for("RAS", (4, 4, 4), (80, 56, 84))
    display = to_display(make_volume(affine, (80, 56, 84), chest))
    axial = display.data[display.data.shape[0] // 2 + 5]  # rows grow to the back, columns to the patient's left
    heart = np.argwhere(axial == 45.0).mean(axis=0)
    spine = np.argwhere(axial == 500.0).mean(axis=0)
    assert heart[1] > axial.shape[1] / 2
    assert spine[0] > heart[0]
    liver = np.argwhere(display.data == 60.0).mean(axis=0)
    assert liver[0] > display.data.shape[0] / 2
    assert liver[2] < display.data.shape[2] / 2


@settings(max_examples=25, deadline=None)
@given(degrees=st.floats(0.1, 89), axis=AXES, codes=st.sampled_from(ORIENTATIONS))
def test_any_rotation_shows_the_same_hu_at_the_same_point(
    degrees: float, axis: tuple[float, float, float], codes: tuple[str, str, str]
) -> None:
    volume = make_volume(oblique_affine(degrees, axis, codes=codes))
    if volume.geometry.axis_aligned:
        return
    display = to_display(volume)
    assert display.resampled
    assert display.degrees == pytest.approx(volume.geometry.obliquity_deg)
    check_points(volume, display)


@ODD
def test_odd_volumes_show_the_same_hu_at_the_same_point(volume: CTVolume) -> None:
    display = to_display(volume)
    assert display.resampled
    assert "Masks and measurements keep its own voxels" in display.note
    check_points(volume, display)


def check_points(volume: CTVolume, display: DisplayVolume) -> None:
    shape = np.asarray(volume.geometry.shape)
    index = np.random.default_rng(4).uniform(1.5, shape - 2.5, (80, 3))
    ras = index_to_ras(volume, index)
    at = (display.ras_to_world(ras) - display.translate) / display.scale
    np.testing.assert_allclose(ndimage.map_coordinates(display.data, at.T, order=1), ramp(ras), atol=0.1)


def test_angles_and_spacing_are_said_in_the_note() -> None:
    assert "rotated by 13.0 degrees" in to_display(tilted_volume(13)).note
    assert "sheared by 18.5 degrees" in to_display(sheared_volume(18.5)).note
    assert "unevenly spaced" in to_display(uneven_volume()).note


@ODD
def test_the_display_grid_is_at_least_as_fine_and_covers_every_voxel(volume: CTVolume) -> None:
    display = to_display(volume)
    assert min(display.scale) <= min(volume.geometry.spacing_mm) + 1e-6
    assert sorted(display.scale)[1] <= sorted(volume.geometry.spacing_mm)[1] + 1e-6
    everything = np.argwhere(np.ones(display.data.shape, dtype=bool))
    labels = np.zeros(volume.hu.shape, dtype=np.uint8)
    labels[display.display_edit_to_source(everything)] = 1
    assert labels.all()


@ODD
def test_an_edit_changes_the_voxels_whose_centre_it_covers_and_no_other(volume: CTVolume) -> None:
    display = to_display(volume)
    low = np.asarray(display.data.shape) // 3
    edit = np.argwhere(np.ones((4, 5, 6), dtype=bool)) + low
    before = np.random.default_rng(5).integers(0, 200, volume.hu.shape, dtype=np.uint8)
    after = before.copy()
    after[display.display_edit_to_source(edit)] = 255
    centres = index_to_ras(volume, np.argwhere(np.ones(volume.hu.shape, dtype=bool)))
    cell = np.floor(apply(np.linalg.inv(display.affine), centres) + 0.5).astype(int)
    covered = {tuple(row) for row in edit}
    expected = np.array([tuple(row) in covered for row in cell]).reshape(volume.hu.shape)
    assert expected.any()
    np.testing.assert_array_equal(after, np.where(expected, 255, before))


@settings(max_examples=15, deadline=None)
@given(degrees=st.floats(1, 60), axis=AXES, seed=st.integers(0, 100))
def test_separate_edits_never_touch_the_same_voxel_twice(
    degrees: float, axis: tuple[float, float, float], seed: int
) -> None:
    volume = tilted_volume(degrees, axis, shape=(6, 5, 4))
    display = to_display(volume)
    part = np.random.default_rng(seed).random(display.data.shape) < 0.5
    count = np.zeros(volume.hu.shape, dtype=int)
    for chosen in (part, ~part):
        count[display.display_edit_to_source(np.argwhere(chosen))] += 1
    assert (count == 1).all()


@ODD
def test_labels_of_an_odd_volume_are_shown_at_their_place(volume: CTVolume) -> None:
    display = to_display(volume)
    labels = np.zeros(volume.hu.shape, dtype=np.uint8)
    middle = np.asarray(volume.hu.shape) // 2
    labels[tuple(slice(value - 2, value + 2) for value in middle)] = 3
    shown = display.source_labels_to_display(labels)
    assert set(np.unique(shown)) == {0, 3}
    # uneven slices are made even first, which moves a border by at most half a fine step
    agree = []
    for index in np.argwhere(np.ones(shown.shape, dtype=bool)):
        source = display.source_index(world_of(display, index))
        agree.append(shown[tuple(index)] == (0 if source is None else labels[source]))
    assert np.mean(agree) > (0.999 if volume.geometry.slice_positions_mm is None else 0.98)


def test_labels_of_another_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        to_display(volume_in("LPS")).source_labels_to_display(np.zeros((2, 2, 2), dtype=np.uint8))


def test_edits_outside_the_grid_or_empty_change_nothing() -> None:
    for volume in (volume_in("LPS"), tilted_volume(20)):
        display = to_display(volume)
        assert display.display_edit_to_source(np.zeros((0, 3), dtype=int))[0].size == 0
        assert display.display_edit_to_source([[-1, 0, 0], [10_000, 0, 0]])[0].size == 0


def test_the_source_voxel_under_a_world_point_is_found() -> None:
    for volume in (volume_in("PIR"), *odd_volumes()):
        display = to_display(volume)
        for index in ((1, 2, 3), (4, 0, 2)):
            world = display.ras_to_world(index_to_ras(volume, index))
            assert display.source_index(world) == index
        assert display.source_index(display.ras_to_world([1e4, 0, 0])) is None


def test_no_letters_without_a_known_orientation() -> None:
    affine = affine_for("LPS", (1, 1, 2), (4, 4, 4))
    assert to_display(make_volume(affine, (4, 4, 4), orientation_known=False)).edge_letters is None


@pytest.mark.parametrize("order", ["F", "C"])
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "HU"])
def test_lines_and_views_sample_what_scipy_samples(order: str, labels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(2).normal(0, 400, (9, 8, 7)).astype(np.uint8 if labels else np.float32, order=order)
    for volume in (sheared_volume(12), tilted_volume(12), volume_in("RPI"), uneven_volume()):
        shape, grid = patient_grid(volume, "IPL")
        matrix = np.linalg.inv(affine_for("LPS", (2, 2.5, 3), array.shape)) @ grid
        matrix[:3, :3] = np.where(np.abs(matrix[:3, :3]) < 1e-9, 0, matrix[:3, :3])
        quick, slow = (np.empty(shape, array.dtype) for _ in range(2))
        run = {"order": 0 if labels else 1, "fill": 77, "progress": lambda fraction, text: None, "cancel": None}
        sampling.sample(array, matrix, quick, **run)
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "_view", lambda *_: None)
            patch.setattr(sampling, "_straight_axis", lambda *_: None)
            sampling.sample(array, matrix, slow, **run)
        agree = quick == slow if labels else np.isclose(quick, slow, atol=1e-2)
        assert agree.mean() > (0.97 if labels else 0.999)  # nearest may differ at exact halves


def test_a_tilted_single_slice_is_shown() -> None:
    shape = (14, 12, 1)
    display = to_display(make_volume(oblique_affine(20, shape=shape), shape, lambda p: np.full(p.shape[:-1], 30.0)))
    assert (display.data == 30).sum() > 50


def test_int16_is_shown_as_int16() -> None:
    assert to_display(make_volume(sheared_affine(10), dtype=np.int16)).data.dtype == np.int16
    assert to_display(volume_in("LPS", dtype=np.int16)).data.dtype == np.int16


def test_resampling_for_display_can_be_cancelled() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        to_display(tilted_volume(20), cancel=token)
