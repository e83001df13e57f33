"""Three ways to sample an array at ``matrix @ out_index``: a view, lines, or voxel by voxel; slabs on threads.

SciPy and numpy release the interpreter's lock, so slabs run side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.volume import Affine
from napari_colipri.progress import CancelToken, Progress

__all__ = ["sample"]

#: Output voxels per step between two looks at the cancel token: about 0.1 s of work.
_SLAB_VOXELS = 2_000_000
_MAX_THREADS = 4
#: Voxels by which a position may be off before an axis counts as rotated or shifted.
_EXACT = 1e-3
#: Share of a voxel by which rounding may carry a point over the outer face.
_FACE = 1e-6

_Array = npt.NDArray[Any]
_Slab = Callable[[_Array, int], None]


def sample(
    array: _Array,
    matrix: Affine,
    out: _Array,
    *,
    order: int,
    fill: float,
    progress: Progress,
    cancel: CancelToken | None,
) -> None:
    """Fill ``out`` with ``array`` sampled at ``matrix @ out_index``.

    Parameters
    ----------
    array
        Three axes. Edge voxels keep their value up to their outer face, half a voxel beyond their centre.
    matrix
        Index of ``out`` to index of ``array``, 4 x 4.
    out
        C-ordered, of the array's dtype; integers are rounded.
    order
        0 nearest, 1 linear.
    fill
        Value beyond the outer faces.

    Raises
    ------
    Cancelled
        Between two slabs.
    """
    view = _view(array, matrix, out.shape)
    if view is not None:
        out[...] = view
        progress(1.0, "Resampling")
        return
    pair = _straight_axis(array, matrix, out.shape)
    if pair is None:
        _slabs(out, 0, _General(array, matrix, order, fill), progress, cancel)
    else:
        lines = _Lines(array, matrix, out.shape, pair, order, fill)
        _slabs(out, lines.p, lines, progress, cancel)


def _slabs(out: _Array, axis: int, work: _Slab, progress: Progress, cancel: CancelToken | None) -> None:
    count = out.shape[axis]
    depth = max(1, _SLAB_VOXELS * count // max(1, out.size))
    starts = range(0, count, depth)

    def one(start: int) -> None:
        if cancel is not None:
            cancel.check()
        part = [slice(None)] * 3
        part[axis] = slice(start, start + depth)
        work(out[tuple(part)], start)

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), "resample") as pool:
        for number, _ in enumerate(pool.map(one, starts), start=1):
            progress(number / len(starts), "Resampling")
            if cancel is not None:
                cancel.check()


def _view(array: _Array, matrix: Affine, shape: tuple[int, ...]) -> _Array | None:
    """Return the part of ``array`` that ``matrix`` picks voxel by voxel, or None where it falls between voxels."""
    turn, start = np.rint(matrix[:3, :3]), np.rint(matrix[:3, 3])
    exact = np.abs(matrix[:3, :3] - turn) * shape < _EXACT
    if not exact.all() or np.abs(matrix[:3, 3] - start).max() >= _EXACT or np.abs(turn).max() > 1:
        return None
    if not (np.abs(turn).sum(axis=0) == 1).all() or not (np.abs(turn).sum(axis=1) == 1).all():
        return None
    axes, parts = [], []
    for d, count in enumerate(shape):
        a = int(np.argmax(np.abs(turn[:, d])))
        first, step = int(start[a]), int(turn[a, d])
        last = first + step * (count - 1)
        if not (0 <= first < array.shape[a] and 0 <= last < array.shape[a]):
            return None
        axes.append(a)
        parts.append(slice(first, last + step if last + step >= 0 else None, step))
    return array.transpose(axes)[tuple(parts)]


def _straight_axis(array: _Array, matrix: Affine, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the source axis that lies closest in memory and its output axis, if neither is rotated."""
    a = next((axis for axis in range(3) if abs(array.strides[axis]) == array.itemsize), None)
    if a is None:
        return None
    d = int(np.argmax(np.abs(matrix[a, :3])))
    off = [abs(matrix[a, e]) * shape[e] for e in range(3) if e != d]
    off += [abs(matrix[b, d]) * shape[d] for b in range(3) if b != a]
    return (a, d) if max(off) < _EXACT else None


def _inside(position: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.bool_]:
    return np.asarray((position >= -0.5 - _FACE) & (position <= count - 0.5 + _FACE))


def _neighbours(
    position: npt.NDArray[np.float64], count: int, order: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Return the two indices around each position and the share of the second."""
    if order == 0:
        nearest = np.clip(np.floor(position + 0.5), 0, count - 1).astype(np.intp)
        return nearest, nearest, np.zeros(nearest.shape, np.float32)
    position = np.clip(position, 0, count - 1)
    low = np.minimum(position.astype(np.intp), max(count - 2, 0))
    return low, np.minimum(low + 1, count - 1), (position - low).astype(np.float32)


class _Lines:
    """Whole lines along an unrotated axis: each is blended from four source lines, then sampled along itself."""

    def __init__(
        self, array: _Array, matrix: Affine, shape: tuple[int, ...], pair: tuple[int, int], order: int, fill: float
    ) -> None:
        a, self.d = pair
        self.b, self.c = (axis for axis in range(3) if axis != a)
        self.p, self.q = (axis for axis in range(3) if axis != self.d)
        self.source = array.transpose(self.b, self.c, a)
        self.matrix, self.order, self.fill = matrix, order, fill
        self.row = np.arange(shape[self.q], dtype=np.float64)
        along = matrix[a, self.d] * np.arange(shape[self.d]) + matrix[a, 3]
        self.beyond = ~_inside(along, array.shape[a])
        self.low, self.high, self.share = _neighbours(along, array.shape[a], order)

    def __call__(self, slab: _Array, start: int) -> None:
        lines = slab.transpose(self.p, self.q, self.d)
        for number in range(lines.shape[0]):
            lines[number] = self._plane(start + number)

    def _plane(self, p: int) -> _Array:
        place = [
            self.matrix[axis, self.p] * p + self.matrix[axis, self.q] * self.row + self.matrix[axis, 3]
            for axis in (self.b, self.c)
        ]
        inside = _inside(place[0], self.source.shape[0]) & _inside(place[1], self.source.shape[1])
        if not inside.any():
            return np.full((1, 1), self.fill, self.source.dtype)
        low_b, high_b, share_b = _neighbours(place[0], self.source.shape[0], self.order)
        low_c, high_c, share_c = _neighbours(place[1], self.source.shape[1], self.order)
        if self.order == 0:
            plane = self.source[low_b, low_c][:, self.low]
        else:
            weight_b, weight_c = share_b[:, None], share_c[:, None]
            blend = self.source[low_b, low_c] * ((1 - weight_b) * (1 - weight_c))
            blend += self.source[high_b, low_c] * (weight_b * (1 - weight_c))
            blend += self.source[low_b, high_c] * ((1 - weight_b) * weight_c)
            blend += self.source[high_b, high_c] * (weight_b * weight_c)
            plane = self._along(blend)
        plane[~inside] = self.fill
        plane[:, self.beyond] = self.fill
        return plane

    def _along(self, lines: npt.NDArray[np.float32]) -> _Array:
        plane = lines[:, self.low]
        if self.share.any():
            plane += (lines[:, self.high] - plane) * self.share
        return np.rint(plane, out=plane) if self.source.dtype.kind in "iu" else plane


class _General:
    """Any rotation and shear, by SciPy."""

    def __init__(self, array: _Array, matrix: Affine, order: int, fill: float) -> None:
        self.array, self.matrix, self.order, self.fill = array, matrix, order, fill

    def __call__(self, slab: _Array, start: int) -> None:
        from scipy import ndimage

        turn, offset = self.matrix[:3, :3], self.matrix[:3, 3] + self.matrix[:3, 0] * start
        # edge voxels keep their value up to their outer face, hence "nearest" and a mask instead of "constant"
        ndimage.affine_transform(
            self.array, turn, offset, slab.shape, slab, order=self.order, mode="nearest", prefilter=False
        )
        outside = self._outside(start, slab.shape)
        if outside is not None:
            slab[outside] = self.fill

    def _outside(self, start: int, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
        """Return which voxels of a slab lie beyond the source's faces, or None where none does.

        Along the last axis of a row every source coordinate is linear, so the inside is one interval.
        """
        x = np.arange(start, start + shape[0])[:, None]
        y = np.arange(shape[1])[None, :]
        low, high = np.full(shape[:2], -np.inf), np.full(shape[:2], np.inf)
        for axis, count in enumerate(self.array.shape):
            base = self.matrix[axis, 0] * x + self.matrix[axis, 1] * y + self.matrix[axis, 3]
            slope = self.matrix[axis, 2]
            near, far = -0.5 - _FACE - base, count - 0.5 + _FACE - base
            if abs(slope) < 1e-12:
                low = np.where((near > 0) | (far < 0), np.inf, low)
                continue
            near, far = (near / slope, far / slope) if slope > 0 else (far / slope, near / slope)
            low, high = np.maximum(low, near), np.minimum(high, far)
        if low.max() <= 0 and high.min() >= shape[2] - 1:
            return None
        z = np.arange(shape[2])
        return np.asarray((z < low[..., None]) | (z > high[..., None]))
