"""Stored numbers to Hounsfield units, block by block into one buffer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.readers.stream import Stream, read_exact
from napari_colipri.ct.resample import AIR_HU
from napari_colipri.errors import OutOfResources, StudyRefused
from napari_colipri.progress import CancelToken, Progress

__all__ = ["MAX_VOXELS", "PADDING_HU", "Voxels", "check_declared", "convert_voxels", "read_voxels"]

#: Largest volume taken: 4 GiB of int16, e.g. 1024 x 1024 x 2048.
MAX_VOXELS = 2**31
#: Scanners fill the corners outside the reconstruction circle with -2000, -2048 or -3024. Nothing in a patient is below
#: air, and noise around it stays above this value: everything at or below becomes :data:`AIR_HU`.
PADDING_HU = -1500
_BLOCK = 1 << 22
_INT16 = np.iinfo(np.int16)

_Flat = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Voxels:
    """HU in file order.

    Attributes
    ----------
    hu
        1-D, int16 where stored integers and an integral rescale allow it, else float32.
    not_finite
        NaN and infinite voxels that became air.
    padding
        Voxels at or below :data:`PADDING_HU` that became air.
    """

    hu: npt.NDArray[np.int16] | npt.NDArray[np.float32]
    not_finite: int
    padding: int


def check_declared(shape: tuple[int, ...], path: Path) -> int:
    """Return the number of voxels of ``shape``.

    Raises
    ------
    StudyRefused
        ``unreadable`` for sizes below 1, ``too_large`` above :data:`MAX_VOXELS`.
    """
    if min(shape) < 1:
        sizes = " × ".join(str(size) for size in shape)
        raise StudyRefused(f"The header is damaged: it announces {sizes} voxels.", code="unreadable", path=path)
    count = 1
    for size in shape:
        count *= size  # Python integers: no overflow
    if count > MAX_VOXELS:
        sizes = " × ".join(str(size) for size in shape)
        message = f"The header announces {sizes} voxels; volumes up to {MAX_VOXELS:,} voxels can be opened."
        raise StudyRefused(message, code="too_large", path=path)
    return count


def _empty(count: int, dtype: npt.DTypeLike) -> _Flat:
    try:
        return np.empty(count, dtype)
    except MemoryError as error:
        raise OutOfResources(
            f"{count * np.dtype(dtype).itemsize / 2**30:.1f} GiB of memory are needed for this volume.",
            code="out_of_memory",
        ) from error


class _Sink:
    """Collects blocks: int16 where that can hold them, float32 from the first value on that does not fit."""

    def __init__(self, count: int, dtype: np.dtype[Any], slope: float, intercept: float) -> None:
        integral = (
            float(slope).is_integer() and float(intercept).is_integer() and max(abs(slope), abs(intercept)) < 2**15
        )
        self.exact = integral and dtype.kind in "iu" and dtype.str[1:] != "u8"
        self.slope, self.intercept = slope, intercept
        self.plain = slope == 1 and intercept == 0
        self.hu = _empty(count, np.int16 if self.exact else np.float32)
        self.direct = self.exact and dtype.kind == "i" and dtype.itemsize == 2
        self.not_finite = 0
        self.padding = 0

    def put(self, start: int, block: _Flat) -> None:
        """Store one block of raw values from voxel ``start`` on."""
        stop = start + block.size
        if self.exact:
            self._put_integers(start, stop, block)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                values = block.astype(np.float64, copy=False)
                self.hu[start:stop] = values if self.plain else values * self.slope + self.intercept
        self._clean(self.hu[start:stop])

    def _put_integers(self, start: int, stop: int, block: _Flat) -> None:
        if self.plain and block.dtype == np.int16:
            if not np.shares_memory(block, self.hu):
                self.hu[start:stop] = block
            return
        values = block.astype(np.int64)
        if not self.plain:
            values *= int(self.slope)
            values += int(self.intercept)
        if self.hu.dtype == np.int16 and (values.min() < _INT16.min or values.max() > _INT16.max):
            wide = _empty(self.hu.size, np.float32)
            wide[:start] = self.hu[:start]
            self.hu, self.direct = wide, False
        self.hu[start:stop] = values

    def _clean(self, block: _Flat) -> None:
        if block.dtype.kind == "f":
            finite = np.isfinite(block)
            if not finite.all():
                self.not_finite += int(block.size - np.count_nonzero(finite))
                block[~finite] = AIR_HU
        if block.min() <= PADDING_HU:
            padding = block <= PADDING_HU
            self.padding += int(np.count_nonzero(padding))
            block[padding] = AIR_HU


def read_voxels(
    stream: Stream,
    count: int,
    dtype: np.dtype[Any],
    path: Path,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    progress: Progress,
    cancel: CancelToken | None,
) -> Voxels:
    """Read ``count`` stored values and rescale them.

    int16 with an integral rescale is read in place; everything else passes through a block of 4 million values, so the
    memory needed is that of the result.

    Parameters
    ----------
    stream
        At the first voxel.
    dtype
        Stored type with its byte order; integers or floats.
    slope, intercept
        HU = stored * slope + intercept.

    Raises
    ------
    StudyRefused
        ``truncated``, ``unreadable``.
    OutOfResources
        Where the buffer cannot be had.
    Cancelled
        Between two blocks.
    """
    sink = _Sink(count, dtype, slope, intercept)
    scratch: _Flat | None = None
    native = dtype.newbyteorder("=")
    swap = dtype.byteorder == (">" if sys.byteorder == "little" else "<")
    for start in range(0, count, _BLOCK):
        if cancel is not None:
            cancel.check()
        size = min(_BLOCK, count - start)
        if sink.direct:
            block = sink.hu[start : start + size]
        else:
            scratch = _empty(min(_BLOCK, count), native) if scratch is None else scratch
            block = scratch[:size]
        read_exact(stream, memoryview(block.data).cast("B"), path)
        if swap:
            block.byteswap(inplace=True)
        sink.put(start, block)
        progress((start + size) / count, "Reading")
    return Voxels(sink.hu, sink.not_finite, sink.padding)


def convert_voxels(stored: _Flat) -> Voxels:
    """Treat values that are in memory already, 1-D in file order, as :func:`read_voxels` treats a file's."""
    sink = _Sink(stored.size, stored.dtype, 1.0, 0.0)
    for start in range(0, stored.size, _BLOCK):
        sink.put(start, stored[start : start + _BLOCK])
    return Voxels(sink.hu, sink.not_finite, sink.padding)
