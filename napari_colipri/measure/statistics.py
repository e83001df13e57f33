"""Volume, mean HU and border contact of every label, on the source grid."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.geometry import slice_coordinates, slice_normal
from napari_colipri.ct.volume import CTVolume

__all__ = ["LabelStatistics", "label_statistics", "slice_thickness_mm"]

Labels: TypeAlias = npt.NDArray[np.uint8]
_Floats: TypeAlias = npt.NDArray[np.float64]

_LABELS = 256
_MAX_THREADS = 4


@dataclass(frozen=True)
class LabelStatistics:
    """What one label measures.

    Attributes
    ----------
    voxels
        How many source voxels carry it.
    volume_ml
        Their volume, ml; each slice counts with its own thickness where slices are unevenly spaced.
    mean_hu
        Mean over their volume, HU; None where every voxel lacks a value.
    touches_border
        Whether any of them lies on the outermost voxels: the structure may be cut off.
    """

    voxels: int
    volume_ml: float
    mean_hu: float | None
    touches_border: bool


def slice_thickness_mm(volume: CTVolume) -> _Floats:
    """Return how far each slice reaches along the slice normal: half way to each neighbour, mm.

    Parameters
    ----------
    volume
        Any spacing. The outermost slices reach as far outward as inward.

    Returns
    -------
    numpy.ndarray
        float64 [slices].
    """
    step = float(slice_normal(volume.affine) @ volume.affine[:3, 2])
    heights = slice_coordinates(volume.geometry, volume.affine) * step
    if len(heights) == 1:
        return np.array([step])
    gaps = np.diff(heights)
    return np.asarray((np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2)


def _slice_sums(labels: npt.NDArray[Any], hu: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return voxels, voxels that have a value, and sum of HU, per label of one slice: float64 [3, 256].

    Labels come in runs along a row: HU are summed run by run (``reduceat``), and only runs are counted. On
    512 x 512 x 300 this is ten times faster than ``numpy.bincount`` over voxels.
    """
    flat = labels.ravel()
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([np.zeros(1, starts.dtype), starts])
    of_run = flat[starts]
    values = hu.ravel()
    voxels = valid = np.diff(starts, append=flat.size)
    if values.dtype.kind == "f":
        sums = np.add.reduceat(values, starts, dtype=np.float64)
        if not np.isfinite(sums).all():
            known = np.isfinite(values)
            valid = np.add.reduceat(known, starts, dtype=np.int64)
            sums = np.add.reduceat(np.where(known, values, 0), starts, dtype=np.float64)
    else:
        sums = np.add.reduceat(values, starts, dtype=np.int64)
    return np.array([np.bincount(of_run, weights, _LABELS) for weights in (voxels, valid, sums)], np.float64)


def _border(labels: Labels, box: tuple[tuple[int, int], ...]) -> npt.NDArray[np.bool_]:
    """Return which labels lie on the six faces of ``box``."""
    met = np.zeros(_LABELS, np.bool_)
    held = labels[tuple(slice(*pair) for pair in box)]
    if held.size:
        for axis in range(3):
            across = np.moveaxis(held, axis, 0)  # a view: numpy.take would copy the whole volume
            met[across[0]] = True
            met[across[-1]] = True
    return met


def label_statistics(
    labels: Labels, volume: CTVolume, *, box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None = None
) -> dict[int, LabelStatistics]:
    """Measure every label that occurs, background (0) excluded.

    Parameters
    ----------
    labels
        uint8 [i, j, k], same shape as ``volume.hu``.
    volume
        Gives HU, voxel size and slice positions.
    box
        (start, stop) per axis of the part that was segmented at all; its faces count as border too.

    Returns
    -------
    dict
        Statistics by label.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if labels.shape != volume.hu.shape:
        raise ValueError(f"labels have shape {labels.shape}, the volume {volume.hu.shape}")
    hu = volume.hu

    def work(k: int) -> _Floats:
        # Rows first in memory order: Fortran-ordered slices are read as they lie
        return _slice_sums(labels[:, :, k].T, hu[:, :, k].T)

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        per_slice = np.array(list(pool.map(work, range(labels.shape[2]))))
    columns = volume.affine[:3, :3]
    area = float(np.linalg.norm(np.cross(columns[:, 0], columns[:, 1])))
    share = area * slice_thickness_mm(volume) / 1000.0
    millilitres, valid_ml, hu_ml = np.tensordot(share, per_slice, axes=1)
    border = _border(labels, tuple((0, size) for size in labels.shape))
    if box is not None:
        border |= _border(labels, box)
    voxels = per_slice[:, 0].sum(axis=0)
    return {
        int(label): LabelStatistics(
            voxels=int(voxels[label]),
            volume_ml=float(millilitres[label]),
            mean_hu=float(hu_ml[label] / valid_ml[label]) if valid_ml[label] > 0 else None,
            touches_border=bool(border[label]),
        )
        for label in np.flatnonzero(voxels)
        if label != 0
    }
