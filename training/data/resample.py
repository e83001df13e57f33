"""A volume to the stored grid, through the product's preprocessing, and a label map to the same grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_colipri.ct.geometry import invert
from napari_colipri.ct.resample import orthogonal_volume, patient_grid
from napari_colipri.ct.volume import Affine, CTVolume
from napari_colipri.engine.preprocess import reorient, to_model_grid
from napari_colipri.errors import StudyRefused
from training.data.plan import Plan
from training.data.store import UNKNOWN

__all__ = ["Stored", "field_shape", "labels_on", "store_grid"]

_Three = tuple[int, int, int]
_TISSUE_HU = -300


@dataclass(frozen=True, eq=False)
class Stored:
    """A volume on the stored grid.

    Attributes
    ----------
    hu
        int16 [X, Y, Z], no padding.
    affine
        Index of ``hu`` to RAS mm.
    field_shape, field_start, padding_hu, body
        See :class:`training.data.store.Prepared`.
    """

    hu: npt.NDArray[np.int16]
    affine: Affine
    field_shape: _Three
    field_start: _Three
    padding_hu: int
    body: tuple[_Three, _Three]


def field_shape(volume: CTVolume, plan: Plan) -> _Three:
    """Return the voxels that the product's sampling makes of a volume before it crops, along the plan's axes."""
    if volume.geometry.shear_deg >= 0.05:
        shape, affine = patient_grid(volume, plan.axis_order)
    else:
        hu, affine = reorient(volume.hu, volume.affine, plan.axis_order)
        shape = hu.shape
    old = np.linalg.norm(affine[:3, :3], axis=0)
    sizes = [
        1 if voxels == 1 else max(1, math.floor(voxels * float(before) / after))
        for voxels, before, after in zip(shape, old, plan.spacing_mm, strict=True)
    ]
    return sizes[0], sizes[1], sizes[2]


def _body(hu: npt.NDArray[np.int16]) -> tuple[_Three, _Three]:
    """Return the box (first voxel, one past the last) that holds 99 % of the tissue along each axis.

    The table is too thin to move the box by much.
    """
    tissue = hu > _TISSUE_HU
    start, stop = [], []
    for axis in range(3):
        along = np.cumsum(tissue.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.int64))
        if along[-1] == 0:
            return (0, 0, 0), (hu.shape[0], hu.shape[1], hu.shape[2])
        start.append(int(np.searchsorted(along, 0.005 * along[-1])))
        stop.append(int(np.searchsorted(along, 0.995 * along[-1])) + 1)
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def store_grid(volume: CTVolume, plan: Plan) -> Stored:
    """Sample a volume as the plan says.

    The values are those of ``to_model_grid`` before the bundle's window is applied: clamped to ``hu_range`` and rounded
    to whole HU. Padding is not stored.
    """
    if volume.geometry.shear_deg < 0.05:
        volume = orthogonal_volume(volume)  # once, uneven slices too; others come back as they are
    whole = field_shape(volume, plan)
    low, high = plan.hu_range
    grid = to_model_grid(volume, plan.spec(plan.keep or whole, (float(low), float(high))))
    inside = tuple(slice(*pair) for pair in grid.inside)
    middle, half = (low + high) / 2, (high - low) / 2
    hu = np.rint(grid.values[inside] * np.float32(half) + np.float32(middle)).astype(np.int16)
    start = [math.ceil(max(n - kept, 0) / 2) for n, kept in zip(whole, plan.keep or whole, strict=True)]
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ np.array([pair[0] for pair in grid.inside], np.float64)
    padding = round(float(grid.values.min()) * half + middle)
    return Stored(hu, affine, whole, (start[0], start[1], start[2]), padding, _body(hu))


def labels_on(labels: CTVolume, shape: _Three, affine: Affine) -> npt.NDArray[np.uint8]:
    """Sample a label map at the nearest voxel of any grid; :data:`UNKNOWN` outside the map.

    Parameters
    ----------
    labels
        A label map as the readers return it: whole numbers 0 to 255 in ``hu``.
    shape, affine
        Of the wanted grid.

    Raises
    ------
    StudyRefused
        ``not_labels`` for other values, ``mask_elsewhere`` where map and grid do not meet.
    """
    values = labels.hu
    if float(values.min()) < 0 or float(values.max()) > UNKNOWN or np.mod(values, 1).any():
        raise StudyRefused("The label map holds values that are no whole numbers from 0 to 255.", code="not_labels")
    matrix = invert(labels.affine) @ affine
    out = ndimage.affine_transform(
        values.astype(np.uint8),
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=shape,
        order=0,
        mode="grid-constant",
        cval=UNKNOWN,
    )
    if (out == UNKNOWN).all():
        raise StudyRefused("Image and label map share no place in the patient.", code="mask_elsewhere")
    return np.asarray(out, np.uint8)
