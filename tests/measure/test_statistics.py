"""Volumes, mean HU and border contact equal a voxel by voxel count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from napari_colipri.ct.volume import CTVolume
from napari_colipri.measure.statistics import label_statistics, slice_thickness_mm
from tests.volumes import ORIENTATIONS, make_volume, oblique_affine, uneven_volume, volume_in


def _random_labels(shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 6, tuple(-(-size // 3) for size in shape))
    for axis in range(3):
        coarse = np.repeat(coarse, 3, axis=axis)
    labels: npt.NDArray[np.uint8] = coarse[tuple(slice(size) for size in shape)].astype(np.uint8)
    labels[labels == 4] = 255
    return labels


def _noisy(volume: CTVolume) -> CTVolume:
    values = np.random.default_rng(3).integers(-1024, 3071, volume.hu.shape).astype(volume.hu.dtype)
    return replace(volume, hu=values)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("codes", ORIENTATIONS[::7], ids="".join)
def test_equal_a_count_voxel_by_voxel(codes: tuple[str, str, str], dtype: type[np.int16] | type[np.float32]) -> None:
    volume = _noisy(volume_in(codes, shape_ras=(17, 19, 15), dtype=dtype))
    labels = _random_labels(volume.hu.shape)
    measured = label_statistics(labels, volume)
    assert sorted(measured) == [label for label in np.unique(labels).tolist() if label]
    for label, values in measured.items():
        mask = labels == label
        assert values.voxels == mask.sum()
        assert values.volume_ml == pytest.approx(mask.sum() * 2.0 * 1.5 * 3.0 / 1000)
        assert values.mean_hu == pytest.approx(volume.hu[mask].mean(dtype=np.float64), abs=1e-3)


def test_volume_is_that_of_the_voxels_of_a_rotated_grid() -> None:
    volume = make_volume(oblique_affine(30.0, (1, 2, 0)), (14, 12, 10))
    labels = np.ones(volume.hu.shape, np.uint8)
    assert label_statistics(labels, volume)[1].volume_ml == pytest.approx(labels.size * volume.voxel_ml)


def test_unevenly_spaced_slices_count_with_their_own_thickness() -> None:
    steps = (3.0, 3.0, 1.0, 5.0)
    volume = uneven_volume(steps)
    np.testing.assert_allclose(slice_thickness_mm(volume), [3.0, 3.0, 2.0, 3.0, 5.0])
    volume = replace(volume, hu=np.broadcast_to(np.arange(5, dtype=np.float32) * 100, volume.hu.shape))
    labels = np.ones(volume.hu.shape, np.uint8)
    measured = label_statistics(labels, volume)[1]
    area = 14 * 12 * 2.0 * 2.5
    assert measured.volume_ml == pytest.approx(area * 16.0 / 1000)
    assert measured.mean_hu == pytest.approx((3 * 0 + 3 * 100 + 2 * 200 + 3 * 300 + 5 * 400) / 16)


@pytest.mark.parametrize("tilt", [0.0, 20.0])
def test_thickness_is_measured_along_the_normal(tilt: float) -> None:
    volume = uneven_volume((3.0, 3.0, 3.0, 1.0, 5.0, 5.0, 5.0, 5.0), tilt_degrees=tilt)
    assert slice_thickness_mm(volume).tolist() == pytest.approx([3, 3, 3, 2, 3, 5, 5, 5, 5])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_one_voxel_on_any_face_touches_the_border(axis: int, end: int) -> None:
    volume = volume_in(("L", "P", "S"))
    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[3, 4, 2] = 1
    assert not label_statistics(labels, volume)[1].touches_border
    place = [3, 4, 2]
    place[axis] = end
    labels[tuple(place)] = 1
    assert label_statistics(labels, volume)[1].touches_border


def test_the_faces_of_the_segmented_part_are_border_too() -> None:
    volume = volume_in(("L", "P", "S"))
    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[3, 4, 2] = 1
    assert label_statistics(labels, volume, box=((3, 7), (0, 9), (0, 5)))[1].touches_border
    assert not label_statistics(labels, volume, box=((2, 7), (0, 9), (0, 5)))[1].touches_border
    assert not label_statistics(labels, volume, box=((0, 0), (0, 0), (0, 0)))[1].touches_border


def test_voxels_without_a_value_do_not_spoil_the_mean() -> None:
    volume = volume_in(("L", "P", "S"))
    hu = np.full(volume.hu.shape, 50, np.float32)
    hu[3, 4, 2] = np.nan
    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[2:5, 3:6, 1:4] = 1
    labels[3, 4, 2] = 2
    labels[3, 4, 3] = 2
    hu[3, 4, 3] = 50
    measured = label_statistics(labels, replace(volume, hu=hu))
    assert measured[1].mean_hu == pytest.approx(50)
    assert measured[2].voxels == 2
    assert measured[2].mean_hu == pytest.approx(50)
    labels[3, 4, 3] = 1
    assert label_statistics(labels, replace(volume, hu=hu))[2].mean_hu is None


def test_nothing_labelled_is_nothing_measured() -> None:
    volume = volume_in(("L", "P", "S"))
    assert label_statistics(np.zeros(volume.hu.shape, np.uint8), volume) == {}


def test_another_grid_is_refused() -> None:
    volume = volume_in(("L", "P", "S"))
    with pytest.raises(ValueError, match="shape"):
        label_statistics(np.zeros((2, 2, 2), np.uint8), volume)
