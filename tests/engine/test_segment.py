"""Class scores become labels on the source grid: as plain interpolation would, at the true place, nowhere cut."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from napari_colipri.ct.geometry import slice_coordinates
from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.config import InputSpec
from napari_colipri.engine.preprocess import to_model_grid
from napari_colipri.engine.segment import class_statistics, covered_box, labels_to_source
from napari_colipri.engine.slicers import argmax_labels
from napari_colipri.engine.types import ModelGrid
from napari_colipri.errors import Cancelled
from napari_colipri.progress import CancelToken
from tests.volumes import (
    ORIENTATIONS,
    affine_for,
    make_volume,
    sheared_affine,
    tilted_volume,
    uneven_volume,
    volume_in,
)

Scores = npt.NDArray[np.float32]

SPEC = InputSpec("RAS", (5.0, 5.0, 5.0), (16, 16, 16))


def _scores(seed: int = 0, classes: int = 5, shape: tuple[int, int, int] = (16, 16, 16)) -> Scores:
    """Smooth blobs with some noise, as logits are."""
    rng = np.random.default_rng(seed)
    blobs = [ndimage.gaussian_filter(rng.normal(size=shape), 2.0) * 30 for _ in range(classes)]
    return (np.array(blobs) + rng.normal(size=(classes, *shape)) * 0.1).astype(np.float32)


def _positions(grid_affine: npt.NDArray[np.float64], volume: CTVolume) -> npt.NDArray[np.float64]:
    """Grid index of every source voxel [3, i, j, k]."""
    index = np.indices(volume.hu.shape, dtype=np.float64)
    index[2] = slice_coordinates(volume.geometry, volume.affine)
    matrix = np.linalg.inv(grid_affine) @ volume.affine
    return np.asarray(np.tensordot(matrix[:3, :3], index, axes=1) + matrix[:3, 3, None, None, None])


def _plain(scores: Scores, grid_affine: npt.NDArray[np.float64], volume: CTVolume) -> npt.NDArray[np.uint8]:
    """Every class interpolated everywhere, then the best: the definition."""
    position = _positions(grid_affine, volume)
    size = np.array(scores.shape[1:])[:, None, None, None]
    reached = ((position >= -1 - 1e-6) & (position <= size + 1e-6)).all(axis=0)
    values = [ndimage.map_coordinates(score, position, order=1, mode="nearest") for score in scores]
    return np.where(reached, np.argmax(values, axis=0), 0).astype(np.uint8)


def _assert_as_plain(volume: CTVolume, grid: ModelGrid, scores: Scores) -> None:
    labels = labels_to_source(scores, grid.affine, volume)
    assert labels.dtype == np.uint8
    assert labels.shape == volume.hu.shape
    assert len(np.unique(labels)) > 2
    assert float((labels != _plain(scores, grid.affine, volume)).mean()) <= 2e-4


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_equals_plain_interpolation_in_every_orientation(codes: tuple[str, str, str]) -> None:
    volume = volume_in(codes, shape_ras=(37, 48, 26), spacing_ras=(2.1, 2.3, 3.2))
    _assert_as_plain(volume, to_model_grid(volume, SPEC), _scores())


@pytest.mark.parametrize(
    "volume",
    [
        tilted_volume(25.0, (1, 2, 3), shape=(30, 40, 25)),
        make_volume(sheared_affine(18.0, shape=(30, 40, 25)), (30, 40, 25)),
        uneven_volume(size=(30, 40)),
        uneven_volume(tilt_degrees=15.0, size=(30, 40)),
    ],
    ids=["rotated", "gantry tilt", "uneven", "uneven and tilted"],
)
def test_equals_plain_interpolation_on_odd_grids(volume: CTVolume) -> None:
    _assert_as_plain(volume, to_model_grid(volume, SPEC), _scores(seed=1))


def test_equals_plain_interpolation_at_any_angle_between_the_grids() -> None:
    volume = tilted_volume(33.0, (3, 1, 2), shape=(30, 40, 25))
    straight = make_volume(affine_for("RAS", (5.0, 5.0, 5.0), (16, 16, 16)), (16, 16, 16))
    labels = labels_to_source(_scores(seed=2), straight.affine, volume)
    assert float((labels != _plain(_scores(seed=2), straight.affine, volume)).mean()) <= 2e-4


def test_a_side_stays_a_side() -> None:
    for codes in ORIENTATIONS:
        volume = volume_in(codes, shape_ras=(30, 20, 20))
        grid = to_model_grid(volume, SPEC)
        index = np.moveaxis(np.indices(grid.values.shape), 0, -1)
        right = (index @ grid.affine[:3, :3].T + grid.affine[:3, 3])[..., 0] > 0
        scores = np.stack([np.zeros(right.shape), np.where(right, 1.0, -1.0)]).astype(np.float32)
        labels = labels_to_source(scores, grid.affine, volume, inside=grid.inside)
        voxels = np.moveaxis(np.indices(labels.shape), 0, -1)
        mm = (voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3])[..., 0]
        assert labels[mm > 2.5].all()
        assert not labels[mm < -2.5].any()


def test_the_outermost_slices_of_a_volume_are_labelled() -> None:
    # 33.3 mm are six and a bit model voxels: the remainder lies outside the model grid's centres
    volume = make_volume(affine_for("LPS", (3.7, 3.7, 3.7), (9, 9, 9)), (9, 9, 9))
    grid = to_model_grid(volume, SPEC)
    scores = np.zeros((2, 16, 16, 16), np.float32)
    scores[1][tuple(slice(*pair) for pair in grid.inside)] = 1.0
    scores[0] = 0.5
    assert (labels_to_source(scores, grid.affine, volume, inside=grid.inside) == 1).all()


def test_scores_of_the_padding_are_not_used() -> None:
    volume = make_volume(affine_for("LPS", (3.7, 3.7, 3.7), (9, 9, 9)), (9, 9, 9))
    grid = to_model_grid(volume, SPEC)
    scores = np.zeros((2, 16, 16, 16), np.float32)
    scores[1] = 9.0  # nonsense in the padding
    scores[1][tuple(slice(*pair) for pair in grid.inside)] = -1.0
    assert not labels_to_source(scores, grid.affine, volume, inside=grid.inside).any()


def test_nothing_is_labelled_beyond_the_model_grid() -> None:
    shape = (120, 30, 30)
    volume = make_volume(affine_for("LPS", (2.0, 2.0, 2.0), shape), shape)
    grid = to_model_grid(volume, SPEC)
    labels = labels_to_source(
        np.stack([np.zeros((16,) * 3), np.ones((16,) * 3)]).astype(np.float32), grid.affine, volume
    )
    box = covered_box(grid.affine, (16, 16, 16), volume)
    assert labels[tuple(slice(*pair) for pair in box)].all()
    assert labels.sum() == np.prod([stop - start for start, stop in box])
    # 16 voxels of 5 mm, and one model voxel at either end, centres of 2 mm voxels
    assert 80 <= (box[0][1] - box[0][0]) * 2 <= 90
    assert box[1:] == ((0, 30), (0, 30))


def test_a_grid_that_misses_the_volume_gives_background() -> None:
    volume = volume_in(("L", "P", "S"))
    far = np.diag([5.0, 5.0, 5.0, 1.0])
    far[:3, 3] = 1000.0
    assert not labels_to_source(_scores(), far, volume).any()
    assert covered_box(far, (16, 16, 16), volume) == ((0, 0), (0, 0), (0, 0))


def test_grids_of_one_voxel_along_an_axis() -> None:
    volume = make_volume(affine_for("LPS", (2.0, 2.0, 5.0), (20, 20, 1)), (20, 20, 1))
    grid = to_model_grid(volume, SPEC)
    scores = _scores()
    labels = labels_to_source(scores, grid.affine, volume, inside=grid.inside)
    assert labels.shape == (20, 20, 1)
    assert labels.any()


def test_argmax_takes_the_first_of_equals() -> None:
    scores = np.random.default_rng(0).integers(0, 3, (7, 20, 20)).astype(np.float32)
    np.testing.assert_array_equal(argmax_labels(scores), np.argmax(scores, axis=0))


def test_cancel_and_progress() -> None:
    volume = volume_in(("L", "P", "S"), shape_ras=(20, 20, 30))
    grid = to_model_grid(volume, SPEC)
    seen: list[float] = []
    labels_to_source(_scores(), grid.affine, volume, progress=lambda fraction, _: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        labels_to_source(_scores(), grid.affine, volume, cancel=token)


def test_scores_must_be_class_first() -> None:
    volume = volume_in(("L", "P", "S"))
    with pytest.raises(ValueError, match="scores must be"):
        labels_to_source(np.zeros((16, 16, 16), np.float32), np.eye(4), volume)


@dataclass(frozen=True)
class Class:
    """As a bundle describes it."""

    label: int
    name: str
    display_name: str
    code: dict[str, str] | None = None


CLASSES = (
    Class(1, "lung_left", "Left lung", {"scheme": "SCT", "value": "44029006", "meaning": "Left lung"}),
    Class(2, "heart", "Heart"),
    Class(3, "liver", "Liver"),
)


def test_class_statistics_cover_every_class_the_decoder_knows() -> None:
    volume = volume_in(("L", "P", "S"), shape_ras=(10, 12, 8), spacing_ras=(2.0, 2.5, 4.0))
    volume = replace(volume, hu=np.where(np.indices(volume.hu.shape)[0] < 5, 40, -800).astype(np.float32))
    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[:5] = 1
    labels[6:8, 4:6, 3:5] = 2
    lung, heart, liver = class_statistics(labels, volume, CLASSES)
    assert (lung.name, lung.display_name, lung.label) == ("lung_left", "Left lung", 1)
    assert lung.code == {"scheme": "SCT", "value": "44029006", "meaning": "Left lung"}
    assert lung.volume_ml == pytest.approx(5 * 12 * 8 * 0.02)
    assert lung.mean_hu == pytest.approx(40)
    assert lung.touches_border
    assert heart.volume_ml == pytest.approx(8 * 0.02)
    assert heart.mean_hu == pytest.approx(-800)
    assert not heart.touches_border
    assert (liver.volume_ml, liver.mean_hu, liver.touches_border) == (0.0, None, False)


def test_a_structure_at_the_end_of_what_the_model_saw_touches_the_border() -> None:
    shape = (120, 30, 30)
    volume = make_volume(affine_for("LPS", (2.0, 2.0, 2.0), shape), shape)
    grid = to_model_grid(volume, SPEC)
    box = covered_box(grid.affine, (16, 16, 16), volume)
    labels = np.zeros(shape, np.uint8)
    labels[box[0][0] : box[0][0] + 5, 10:15, 10:15] = 1
    assert not class_statistics(labels, volume, CLASSES)[0].touches_border
    assert class_statistics(labels, volume, CLASSES, box=box)[0].touches_border
