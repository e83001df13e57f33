"""From class scores on the model grid to a label map on the source grid. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.geometry import slice_coordinates
from napari_colipri.ct.volume import Affine, CTVolume
from napari_colipri.engine.slicers import MIXED, AnySlicer, Labels, Reach, RowSlicer, Scores
from napari_colipri.engine.stages import Stages
from napari_colipri.engine.types import SegmentationClass
from napari_colipri.engine.windows import Box, Piece, slices
from napari_colipri.measure.statistics import label_statistics
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["class_statistics", "covered_box", "draw_labels", "labels_of_pieces", "labels_to_source"]

Ends: TypeAlias = tuple[tuple[bool, bool], tuple[bool, bool], tuple[bool, bool]]

_PLANES_PER_TASK = 8
_MAX_THREADS = 4
#: Source voxels up to one model voxel beyond the outermost centres take the edge's scores: the model grid is the whole
#: number of voxels that fits the extent, so the first and last slices of a volume lie just outside it.
_REACH = 1.0 + 1e-6


#: The same towards a neighbouring piece of the grid, which knows better.
_NO_REACH = 1e-6


def _to_grid(grid_affine: Affine, volume: CTVolume) -> tuple[Affine, npt.NDArray[np.float64]]:
    """Return voxel-to-grid matrix and the k coordinate of each slice (fractional where slices are unevenly spaced)."""
    return np.linalg.inv(grid_affine) @ volume.affine, slice_coordinates(volume.geometry, volume.affine)


def _axis_of_rows(matrix: Affine, shape: tuple[int, int, int]) -> int | None:
    """Return the grid axis along which i runs, the same for every row of a slice, or None where there is none.

    True of every orthogonal volume, whose model grid has its own axes, and of a gantry tilt, which leaves i alone.
    """
    along = int(np.abs(matrix[:3, 0]).argmax())
    drift = np.abs(np.delete(matrix[:3, 0], along)).max() * shape[0] + abs(matrix[along, 1]) * shape[1]
    return along if float(drift) < 1e-3 else None


def labels_to_source(
    scores: Scores,
    grid_affine: Affine,
    volume: CTVolume,
    *,
    inside: Box | None = None,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> Labels:
    """Return the best class at every source voxel.

    Parameters
    ----------
    scores
        Logits or probabilities, float32 [K, X, Y, Z], channel 0 = background, K at most 255.
    grid_affine
        Model grid to RAS mm, 4 x 4, centre of voxels.
    volume
        Gives the source grid: any orientation, rotated, sheared, or with uneven slices at their true positions.
    inside
        ``ModelGrid.inside``: where the grid holds image. Scores in the padding are then not used.
    progress, cancel
        Called and checked between slices.

    Returns
    -------
    numpy.ndarray
        uint8 [i, j, k], same shape as ``volume.hu``, Fortran order; 0 outside the model grid (more than one model voxel
        beyond its outermost centres).

    Raises
    ------
    Cancelled
        When ``cancel`` was set.
    """
    if scores.ndim != 4 or not 1 <= len(scores) <= MIXED:
        raise ValueError(f"scores must be [K, X, Y, Z] with 1 to {MIXED} classes, not shape {scores.shape}")
    labels = np.zeros(volume.geometry.shape, np.uint8, order="F")
    if inside is not None:
        scores, grid_affine = scores[:, *slices(inside)], _moved(grid_affine, inside)
    draw_labels(labels, _two_at_least(scores), grid_affine, volume, progress=progress, cancel=cancel)
    return labels


def draw_labels(
    out: Labels,
    scores: Scores,
    grid_affine: Affine,
    volume: CTVolume,
    *,
    ends: Ends = ((True, True),) * 3,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> None:
    """Write the best class into the source voxels that a grid, or a piece of one, reaches; others stay as they are.

    Parameters
    ----------
    out
        uint8 [i, j, k], Fortran order.
    scores, grid_affine, volume, progress, cancel
        As :func:`labels_to_source`; at least two voxels along each axis of the grid.
    ends
        For each axis, whether the image ends at the low and at the high side. Where it does not, nothing beyond the
        outermost centres is labelled: the neighbouring piece does that.

    Raises
    ------
    Cancelled
        When ``cancel`` was set.
    """
    matrix, heights = _to_grid(grid_affine, volume)
    shape = volume.geometry.shape
    along = _axis_of_rows(matrix, shape)
    x, y, z = ((_REACH if low else _NO_REACH, _REACH if high else _NO_REACH) for low, high in ends)
    reach: Reach = (x, y, z)
    slicer = (
        AnySlicer(scores, matrix, shape, reach) if along is None else RowSlicer(scores, along, matrix, shape, reach)
    )
    labels = out.transpose(2, 1, 0)

    def work(start: int) -> int:
        for k in range(start, min(start + _PLANES_PER_TASK, shape[2])):
            if cancel is not None:
                cancel.check()
            slicer.slice(float(heights[k]), labels[k])
        return start

    starts = range(0, shape[2], _PLANES_PER_TASK)
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for done, _ in enumerate(pool.map(work, starts), start=1):
            progress(done / len(starts), "Drawing masks")


def labels_of_pieces(
    pieces: Sequence[Piece],
    decode: Callable[[Piece], Scores],
    grid_affine: Affine,
    volume: CTVolume,
    *,
    progress: Progress = report_nothing,
    cancel: CancelToken,
) -> Labels:
    """Decode and draw a grid piece by piece, so that no more than one piece's scores exist at a time.

    Parameters
    ----------
    pieces
        As :func:`napari_colipri.engine.windows.pieces` gives them; one where the tower takes the grid whole.
    decode
        Returns the scores [K, X, Y, Z] over what a piece shows.
    grid_affine, volume, progress, cancel
        As :func:`labels_to_source`; asked between pieces too.

    Returns
    -------
    numpy.ndarray
        uint8 [i, j, k], same shape as ``volume.hu``, Fortran order.
    """
    labels = np.zeros(volume.hu.shape, np.uint8, order="F")
    stages = Stages(progress)
    for number, piece in enumerate(pieces):
        cancel.check()
        kept = _two_at_least(decode(piece)[:, *piece.inner])
        cancel.check()
        later = stages.part((number + 0.4) / len(pieces), (number + 1) / len(pieces))
        affine = _moved(grid_affine, piece.kept)
        draw_labels(labels, kept, affine, volume, ends=piece.ends, progress=later, cancel=cancel)
    return labels


def _moved(affine: Affine, box: Box) -> Affine:
    """Return the affine of a box of the grid."""
    moved = affine.copy()
    moved[:3, 3] = affine[:3, :3] @ np.array([low for low, _ in box]) + affine[:3, 3]
    return moved


def _two_at_least(scores: Scores) -> Scores:
    """Return scores with at least two voxels along each axis."""
    for axis in range(1, 4):
        if scores.shape[axis] == 1:
            scores = np.repeat(scores, 2, axis=axis)
    return scores


def covered_box(grid_affine: Affine, grid_shape: tuple[int, int, int], volume: CTVolume) -> Box:
    """Return the smallest box of source voxels that holds all that :func:`labels_to_source` can label.

    A structure that reaches the box's border may be cut off there, though inside the volume: the model saw no more.

    Parameters
    ----------
    grid_affine, grid_shape
        Of the model grid.
    volume
        Gives the source grid.

    Returns
    -------
    tuple
        (start, stop) along i, j and k.
    """
    matrix, heights = _to_grid(grid_affine, volume)
    corners = np.array(np.meshgrid(*[(-_REACH, size - 1 + _REACH) for size in grid_shape], indexing="ij")).reshape(
        3, -1
    )
    inverse = np.linalg.inv(matrix)
    points = inverse[:3, :3] @ corners + inverse[:3, 3:]
    box = []
    for axis, size in enumerate(volume.geometry.shape):
        centres = heights if axis == 2 else np.arange(size, dtype=np.float64)
        near = np.flatnonzero((centres >= points[axis].min() - 1e-6) & (centres <= points[axis].max() + 1e-6))
        box.append((int(near[0]), int(near[-1]) + 1) if near.size else (0, 0))
    return box[0], box[1], box[2]


def class_statistics(
    labels: Labels, volume: CTVolume, classes: Sequence[Any], *, box: Box | None = None
) -> tuple[SegmentationClass, ...]:
    """Measure every class of a label map on the source grid.

    Parameters
    ----------
    labels
        uint8 [i, j, k].
    volume
        The volume that the labels belong to.
    classes
        Entries with ``label``, ``name``, ``display_name`` and ``code``, as ``ClassConfig`` of the bundle.
    box
        :func:`covered_box`, where the model grid does not cover the volume.

    Returns
    -------
    tuple of SegmentationClass
        One per entry, empty classes included (0 ml, no mean HU).
    """
    measured = label_statistics(labels, volume, box=box)
    out = []
    for entry in classes:
        values = measured.get(int(entry.label))
        out.append(
            SegmentationClass(
                label=int(entry.label),
                name=entry.name,
                display_name=entry.display_name,
                volume_ml=values.volume_ml if values else 0.0,
                mean_hu=values.mean_hu if values else None,
                touches_border=values.touches_border if values else False,
                code=dict(entry.code) if entry.code else None,
            )
        )
    return tuple(out)
