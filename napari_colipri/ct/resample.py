"""Resampling of sheared, rotated and unevenly spaced volumes to straight grids, slab by slab."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.geometry import (
    corners_ras,
    invert,
    measure,
    reorientation,
    slice_coordinates,
    uneven_index,
)
from napari_colipri.ct.sampling import sample
from napari_colipri.ct.volume import Affine, CTVolume, Geometry, HUArray
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["AIR_HU", "orthogonal_volume", "patient_grid", "sample_hu", "sample_labels"]

#: HU outside the scanned volume.
AIR_HU = -1024
#: A straight grid never exceeds the larger of the source and this (1 GiB of int16); it is coarsened instead.
_MAX_VOXELS = 2**29
#: Slices further apart than this many median steps are a hole: filled with air, never bridged.
_HOLE_STEPS = 3.0

_Any3D = npt.NDArray[Any]


def patient_grid(volume: CTVolume, codes: str) -> tuple[tuple[int, int, int], Affine]:
    """Return the grid along the patient's axes that covers a volume and is at least as fine.

    One step along a grid axis moves by at most one source voxel along every source axis, and is never longer than the
    spacing of the nearest source axis. Only above 2^29 voxels (and above the source's own count) is it coarsened.

    Parameters
    ----------
    volume
        Any geometry.
    codes
        Directions of the grid's axes, e.g. ``"IPL"``.

    Returns
    -------
    tuple of int
        Voxels along each grid axis.
    ndarray
        Grid index to RAS mm, 4 x 4.
    """
    _, affine, geometry = _even_grid(volume.geometry, volume.affine)
    axes, _ = reorientation(affine, codes)
    rows = ["RAS".find(code) if code in "RAS" else "LPI".find(code) for code in codes]
    voxels_per_mm = np.abs(invert(affine)[:3, :3]).max(axis=0)
    steps = np.minimum(1.0 / voxels_per_mm[rows], np.asarray(geometry.spacing_mm)[list(axes)])
    corners = corners_ras(geometry, affine)[:, rows]
    low, extent = corners.min(axis=0), np.ptp(corners, axis=0)
    limit = max(_MAX_VOXELS, math.prod(geometry.shape))
    steps *= max(1.0, float(np.prod(extent / steps) / limit) ** (1 / 3))
    # rounding of float32 headers must not add a voxel of air
    shape = np.maximum(np.ceil(extent / steps - 1e-3), 1).astype(int)
    half = steps * (shape - 1) / 2
    grid = np.zeros((4, 4))
    grid[3, 3] = 1.0
    for axis, (row, code) in enumerate(zip(rows, codes, strict=True)):
        sign = 1.0 if code in "RAS" else -1.0
        grid[row, axis] = sign * steps[axis]
        grid[row, 3] = low[axis] + extent[axis] / 2 - sign * half[axis]
    return (int(shape[0]), int(shape[1]), int(shape[2])), grid


def _even_grid(geometry: Geometry, affine: Affine) -> tuple[npt.NDArray[np.float64], Affine, Geometry]:
    """Return the fractional source slice of each evenly spaced slice, with the affine and geometry of the even grid.

    Even slices are at least as fine as the closest pair of the source's, but at most four per median step.
    """
    places = slice_coordinates(geometry, affine)
    if geometry.slice_positions_mm is None or places.size < 2:
        return np.arange(float(places.size)), affine, replace(geometry, slice_positions_mm=None)
    steps = np.diff(places)
    step = max(float(steps.min()), float(np.median(steps)) / 4)
    count = max(1, math.ceil(float(places[-1]) / step - 1e-6)) + 1
    index = np.clip(uneven_index(places, np.arange(count) * step), 0, places.size - 1)
    even = np.array(affine, dtype=np.float64)
    even[:3, 2] = affine[:3, 2] * step
    shape = (geometry.shape[0], geometry.shape[1], count)
    return index, even, measure(shape, even, orientation_known=geometry.orientation_known)


def _even_slices(array: _Any3D, geometry: Geometry, affine: Affine, *, labels: bool) -> tuple[_Any3D, Affine, Geometry]:
    """Interpolate along k from the true slice positions to even ones; unchanged where they are even."""
    index, even_affine, even = _even_grid(geometry, affine)
    if even.shape == geometry.shape and geometry.slice_positions_mm is None:
        return array, affine, even
    steps = np.diff(slice_coordinates(geometry, affine))
    hole = steps > _HOLE_STEPS * np.median(steps)
    out = np.empty(even.shape, array.dtype, order="F")
    for number, value in enumerate(index):
        low = min(int(value), hole.size - 1)
        share = value - low
        if hole[low] and 1e-6 < share < 1 - 1e-6:
            out[..., number] = 0 if labels else AIR_HU
        elif labels or share in {0.0, 1.0}:
            out[..., number] = array[..., low + int(share >= 0.5)]
        else:
            blend = array[..., low] * np.float32(1 - share) + array[..., low + 1] * np.float32(share)
            out[..., number] = np.rint(blend) if out.dtype.kind == "i" else blend
    return out, even_affine, even


def _resampled(
    array: _Any3D,
    affine: Affine,
    shape: tuple[int, int, int],
    grid: Affine,
    *,
    labels: bool,
    progress: Progress,
    cancel: CancelToken | None,
) -> _Any3D:
    out = np.empty(shape, array.dtype)
    matrix = invert(affine) @ grid
    fill = 0 if labels else AIR_HU
    sample(array, matrix, out, order=0 if labels else 1, fill=fill, progress=progress, cancel=cancel)
    return out


def sample_hu(
    volume: CTVolume,
    shape: tuple[int, int, int],
    grid: Affine,
    *,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> HUArray:
    """Sample a volume linearly on any grid, from its true slice positions.

    Parameters
    ----------
    volume
        Any geometry.
    shape, grid
        Voxels of the new grid, and its index to RAS mm.

    Returns
    -------
    ndarray
        HU [shape], of the volume's dtype; ``AIR_HU`` outside the volume and in holes of more than three median steps.

    Raises
    ------
    Cancelled
        Between two slabs.
    """
    array, affine, _ = _even_slices(volume.hu, volume.geometry, volume.affine, labels=False)
    return _resampled(array, affine, shape, grid, labels=False, progress=progress, cancel=cancel)


def sample_labels(
    labels: npt.NDArray[np.integer[Any]],
    volume: CTVolume,
    shape: tuple[int, int, int],
    grid: Affine,
    *,
    cancel: CancelToken | None = None,
) -> npt.NDArray[np.integer[Any]]:
    """Sample labels of the source grid [i, j, k] at the nearest voxel; 0 outside."""
    # lines along the axis that is unrotated most often, i, are ten times faster than voxels
    ordered = np.asfortranarray(labels) if volume.hu.flags.f_contiguous else labels
    array, affine, _ = _even_slices(ordered, volume.geometry, volume.affine, labels=True)
    return _resampled(array, affine, shape, grid, labels=True, progress=report_nothing, cancel=cancel)


def orthogonal_volume(
    volume: CTVolume, *, progress: Progress = report_nothing, cancel: CancelToken | None = None
) -> CTVolume:
    """Return a volume with axes at right angles and even slices.

    Orthogonal volumes come back as they are, rotated ones included. Uneven slices are interpolated along the volume's
    own axes, from their true positions. A sheared volume has no axes of its own: it is resampled along the patient's,
    in the order and directions nearest to its own. Grids are at least as fine as the source.

    Parameters
    ----------
    volume
        Any geometry.

    Returns
    -------
    CTVolume
        HU of the source's dtype, ``AIR_HU`` outside the source; source and passport are the original's. Its
        ``fingerprint`` is that of the resampled values: identify a study by the original's.

    Raises
    ------
    Cancelled
        Between two slabs.
    """
    if volume.geometry.orthogonal:
        return volume
    array, affine, geometry = _even_slices(volume.hu, volume.geometry, volume.affine, labels=False)
    if not geometry.orthogonal:
        shape, grid = patient_grid(volume, "".join(geometry.axis_codes))
        array = _resampled(array, affine, shape, grid, labels=False, progress=progress, cancel=cancel)
        affine, geometry = grid, measure(shape, grid, orientation_known=geometry.orientation_known)
    array.setflags(write=False)
    return CTVolume(array, affine, geometry, volume.source, volume.passport)
