"""Real scans of the training split, on the model grid, with lung sides for the decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_colipri.ct.open import open_volume
from napari_colipri.engine.config import InputSpec
from napari_colipri.engine.preprocess import to_model_grid
from training.embedded.data import RealScan

__all__ = ["TRAINING_SCANS", "load_real", "lung_sides"]

#: The only real volumes that may train shipped weights (see docs/training-data.md).
TRAINING_SCANS = (
    "acrin-flt-013/acrin-flt-013.nii.gz",
    "lungdx/lungdx_A0002_B40f_3.nii.gz",
    "lungdx/lungdx_A0002_B70f_2.nii.gz",
    "crlm-1004/crlm-1004_-1004_STANDARD_1.nii.gz",
    "crlm-1004/crlm-1004_-1006_k_0.nii.gz",
)


def lung_sides(image: npt.NDArray[np.float32], affine: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Threshold pseudo-label of the lungs on the model grid: 1 left, 2 right.

    Air below -400 HU inside the body, components above 40 ml, closed in plane; a voxel belongs to the side of the
    body's midline on which it lies.
    """
    air = image < -0.4
    body = ndimage.binary_opening(image > -0.3, iterations=1)
    filled = np.zeros_like(body)
    for k in range(body.shape[2]):
        filled[:, :, k] = ndimage.binary_fill_holes(body[:, :, k])
    inside = air & ndimage.binary_erosion(filled, iterations=1)
    parts, count = ndimage.label(inside)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    sizes = ndimage.sum_labels(inside, parts, range(1, count + 1)) * voxel_ml
    keep = np.isin(parts, 1 + np.flatnonzero(np.asarray(sizes) > 40.0))
    closed = np.stack([ndimage.binary_closing(keep[:, :, k], iterations=1) for k in range(keep.shape[2])], axis=2)
    columns = np.flatnonzero(filled.any(axis=(1, 2)))
    middle = (columns[0] + columns[-1]) / 2 if columns.size else image.shape[0] / 2
    right = np.arange(image.shape[0])[:, None, None] > middle  # RAS: x grows to the right
    return np.where(closed, np.where(right, 2, 1), 0).astype(np.uint8)


def load_real(data: Path, spec: InputSpec) -> list[RealScan]:
    """Read the training split."""
    out = []
    for name in TRAINING_SCANS:
        grid = to_model_grid(open_volume(data / name), spec)
        lungs = lung_sides(grid.values, grid.affine)
        if name.startswith("crlm"):  # lung bases under a dome: enough air to learn from, none in the bowel
            lungs = _upper_only(lungs, grid.values)
        out.append(RealScan(name, grid.values, lungs))
    return out


def _upper_only(lungs: npt.NDArray[np.uint8], image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Keep components that reach the uppermost fifth of the scan: lung, not bowel gas."""
    used = np.flatnonzero((image > -1).any(axis=(0, 1)))
    parts, count = ndimage.label(lungs > 0)
    top = used[-1] - max(1, int(0.2 * used.size))
    reaching = [n for n in range(1, count + 1) if (parts[:, :, top:] == n).any()]
    return np.where(np.isin(parts, reaching), lungs, 0).astype(np.uint8)
