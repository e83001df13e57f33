"""Lungs of real scans by threshold, for a decoder that otherwise knows phantoms only.

Pseudo-labels: air below -400 HU inside the body; airways, and vessels where they are dark, are part of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_colipri.atomic import replace_file
from napari_colipri.ct.open import open_volume
from napari_colipri.engine.config import InputSpec
from napari_colipri.engine.preprocess import to_model_grid
from training.data.errors import DataError

__all__ = ["lungs_on_grid", "read_outline", "write_outline"]

_AIR, _TISSUE = -0.4, -0.3  # of the model grid's [-1, 1], i.e. thousands of HU
_SMALLEST_ML = 40.0
_TOP = 0.2


def lungs_on_grid(
    image: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], *, bases_only: bool = False
) -> npt.NDArray[np.uint8]:
    """Return 1 left, 2 right, 0 elsewhere [X, Y, Z].

    Components above 40 ml, closed in plane; a voxel belongs to the side of the body's middle on which it lies.

    Parameters
    ----------
    image
        Model grid in [-1, 1], axes towards right, front and head.
    affine
        Of the grid.
    bases_only
        The scan is one of the abdomen: only what reaches its uppermost fifth is lung, the rest is gas of the bowel.
    """
    body = ndimage.binary_opening(image > _TISSUE, iterations=1)
    filled = np.stack([ndimage.binary_fill_holes(body[:, :, k]) for k in range(body.shape[2])], axis=2)
    inside = (image < _AIR) & ndimage.binary_erosion(filled, iterations=1)
    parts, count = ndimage.label(inside)
    sizes = ndimage.sum_labels(inside, parts, range(1, count + 1)) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    keep = np.isin(parts, 1 + np.flatnonzero(np.asarray(sizes) > _SMALLEST_ML))
    closed = np.stack([ndimage.binary_closing(keep[:, :, k], iterations=1) for k in range(keep.shape[2])], axis=2)
    columns = np.flatnonzero(filled.any(axis=(1, 2)))
    middle = (columns[0] + columns[-1]) / 2 if columns.size else image.shape[0] / 2
    right = np.arange(image.shape[0])[:, None, None] > middle
    lungs = np.where(closed, np.where(right, 2, 1), 0).astype(np.uint8)
    return _reaching_the_top(lungs, image) if bases_only else lungs


def _reaching_the_top(lungs: npt.NDArray[np.uint8], image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    used = np.flatnonzero((image > -1).any(axis=(0, 1)))
    parts, count = ndimage.label(lungs > 0)
    top = used[-1] - max(1, int(_TOP * used.size))
    reaching = [n for n in range(1, count + 1) if (parts[:, :, top:] == n).any()]
    return np.where(np.isin(parts, reaching), lungs, 0).astype(np.uint8)


def write_outline(scan: Path, target: Path, spec: InputSpec, *, bases_only: bool = False) -> float:
    """Write a scan on the model grid with the outline of its lungs; returns their volume, ml.

    Parameters
    ----------
    scan
        Any CT that the product opens.
    target
        ``.npz`` (image float16 and lungs uint8 [X, Y, Z]), whole or not at all.
    spec
        Of the grid.
    bases_only
        See :func:`lungs_on_grid`.

    Raises
    ------
    DataError
        If no lung is found.
    """
    grid = to_model_grid(open_volume(scan), spec)
    lungs = lungs_on_grid(grid.values, grid.affine, bases_only=bases_only)
    if not lungs.any():
        raise DataError(f"{scan.name}: no lung is found by threshold.", code="no_lungs")
    with replace_file(target) as temporary:
        np.savez(temporary, image=grid.values.astype(np.float16), lungs=lungs)
    return float((lungs > 0).sum()) * abs(float(np.linalg.det(grid.affine[:3, :3]))) / 1000


def read_outline(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return image [X, Y, Z] in [-1, 1] and lungs that :func:`write_outline` wrote.

    Raises
    ------
    DataError
        If the file is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            return data["image"].astype(np.float32), data["lungs"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path.name} holds no scan with the outline of its lungs.", code="no_lungs") from error
