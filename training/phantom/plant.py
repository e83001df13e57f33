"""Findings planted into real scans, and sham edits of equal extent to compare them with.

Only volumes of the training split may be planted for training; volumes of the evaluation split are planted for
evaluation. The planted voxels are the only ones that change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from training.phantom.body import Body
from training.phantom.findings import Finding, Scene, Truth, View
from training.phantom.findings.plan import Plan, draw_plan, plant
from training.phantom.generate import one_thread
from training.phantom.grid import Grid
from training.phantom.real_scan import coarse, from_ras, scan_body, to_ras

__all__ = ["PLANTABLE", "Planted", "plant_into", "sham_edit"]

#: What can be planted knowing nothing but the lungs.
PLANTABLE: tuple[str, ...] = (
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Mosaic attenuation pattern",
    "Consolidation",
    "Interlobular septal thickening",
)
_MARGIN_VOXELS = 2  # of soft edge round the truth that may change


@dataclass(frozen=True, eq=False)
class Planted:
    """A scan with planted findings, in the voxel order of the original.

    Attributes
    ----------
    hu
        Values of the original outside of ``changed``.
    truth
        uint32 bits, as in :class:`~training.phantom.generate.Phantom`.
    changed
        Voxels that were edited.
    findings
        Those that found a place; centres in the scan's RAS mm.
    """

    hu: npt.NDArray[np.generic]
    truth: npt.NDArray[np.uint32]
    changed: npt.NDArray[np.bool_]
    findings: tuple[Finding, ...]


def _noise_hu(hu: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_]) -> float:
    """Return the noise of a scan: the median absolute difference of neighbours along x in dark lung, as a deviation."""
    near = np.abs(np.diff(hu, axis=0))[inside[1:] & inside[:-1]]
    return float(np.median(near) / 0.6745 / np.sqrt(2)) if near.size else 0.0


def plant_into(
    volume_hu: npt.NDArray[np.generic],
    affine: npt.NDArray[np.float64],
    lungs: npt.NDArray[np.uint8],
    findings: Sequence[str],
    seed: int,
    *,
    soft_mm: float | None = None,
) -> Planted:
    """Plant findings into a real scan.

    Parameters
    ----------
    volume_hu
        [i, j, k], any axis-aligned orientation.
    affine
        Voxel to RAS mm, 4 x 4. A tilt is ignored: lengths stay true, "dependent" follows the nearest axis.
    lungs
        Like ``volume_hu``: 1 left lung, 2 right lung.
    findings
        Names out of :data:`PLANTABLE`.
    seed
        Same seed, same edit.
    soft_mm
        Width of an edge; the in-plane spacing, at least 1.2 mm, without it.

    Raises
    ------
    ValueError
        If a finding cannot be planted, shapes differ, or the mask holds no lung.
    """
    unknown = [name for name in findings if name not in PLANTABLE]
    if unknown:
        raise ValueError(f"Cannot be planted into a real scan: {', '.join(unknown)}; possible: {', '.join(PLANTABLE)}.")
    if volume_hu.shape != lungs.shape:
        raise ValueError(f"Scan {volume_hu.shape} and lung mask {lungs.shape} differ in shape.")
    if not (lungs > 0).any():
        raise ValueError("The lung mask holds no lung.")
    hu_ras, affine_ras = to_ras(volume_hu, affine)
    lungs_ras = np.ascontiguousarray(to_ras(lungs, affine)[0], np.uint8)
    original = np.ascontiguousarray(hu_ras, np.float32)
    mm = np.linalg.norm(affine_ras[:3, :3], axis=0)
    middle = np.argwhere(lungs_ras > 0).mean(axis=0)
    grid = Grid(original.shape, (float(mm[0]), float(mm[1]), float(mm[2])), _centre(original.shape, mm, middle))
    with one_thread(torch.device("cpu")), torch.no_grad():
        body = scan_body(original.copy(), lungs_ras, grid, seed, soft_mm or max(1.2, float(mm[0])))
        truth, found = _plant(body, draw_plan(seed, tuple(findings)), seed)
    return _finish(original, body, truth, found, affine, affine_ras, volume_hu.dtype, lungs_ras > 0, seed)


def _centre(
    shape: tuple[int, ...], mm: npt.NDArray[np.float64], middle: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return where the grid's centre lies when the middle of the lungs is the origin, mm."""
    at = ((np.asarray(shape) - 1) / 2 - middle) * mm
    return (float(at[0]), float(at[1]), float(at[2]))


def _plant(body: Body, plan: Plan, seed: int) -> tuple[Truth, tuple[Finding, ...]]:
    grid = body.canvas.grid
    truth = Truth(grid.shape, torch.device("cpu"))
    z = grid.axes()[2]
    view = View(grid, body.canvas.frame, float(z[0]) - 10, float(z[-1]) + 10, (0.0, 0.0), 1e4)
    return truth, plant(Scene(body, coarse(body), view, truth, rim_mm=1.5 * min(grid.spacing_mm)), plan, seed)


def _finish(
    original: npt.NDArray[np.float32],
    body: Body,
    truth: Truth,
    found: tuple[Finding, ...],
    affine: npt.NDArray[np.float64],
    affine_ras: npt.NDArray[np.float64],
    dtype: np.dtype[np.generic],
    inside: npt.NDArray[np.bool_],
    seed: int,
) -> Planted:
    """Give the edit the scan's own noise, keep all other voxels, and turn everything back."""
    bits = truth.bits.numpy().astype(np.uint32)
    near = ndimage.binary_dilation(bits > 0, iterations=_MARGIN_VOXELS)
    edit = body.canvas.hu.numpy() - original
    changed = near & (np.abs(edit) > 0.5)
    noise = _noise_hu(original, inside) * np.random.default_rng((seed, 11)).standard_normal(original.shape)
    new = np.where(changed, original + edit + noise * np.clip(np.abs(edit) / 200, 0, 1), original)
    if np.issubdtype(dtype, np.integer):
        new = np.where(changed, np.round(new), original)
    shift = affine_ras[:3, :3] @ (-body.canvas.grid.affine[:3, 3] / body.canvas.grid.spacing_mm) + affine_ras[:3, 3]
    mm = affine_ras[:3, :3] / np.linalg.norm(affine_ras[:3, :3], axis=0)
    placed = tuple(_moved(item, mm, shift) for item in found)
    parts = (from_ras(part, affine) for part in (new.astype(dtype), bits, changed))
    hu, mask, where = (np.ascontiguousarray(part) for part in parts)
    return Planted(hu, mask.astype(np.uint32), where.astype(bool), placed)


def _moved(item: Finding, axes: npt.NDArray[np.float64], origin: npt.NDArray[np.float64]) -> Finding:
    at = axes @ np.asarray(item.centre_mm) + origin
    return replace(item, centre_mm=(round(float(at[0]), 1), round(float(at[1]), 1), round(float(at[2]), 1)))


def sham_edit(
    volume_hu: npt.NDArray[np.generic], planted: Planted, lungs: npt.NDArray[np.uint8], seed: int
) -> npt.NDArray[np.generic]:
    """Return the original with an edit of equal extent and no lesion, to compare a planted scan with.

    The voxels that the planting changed are resampled by half a voxel along two axes and get as much noise as that
    takes away; a model that reacts to it reacts to editing, not to the finding.

    Parameters
    ----------
    volume_hu
        The scan without the planted findings.
    planted
        What was planted into it.
    lungs
        Its lung mask, by which the noise is measured.
    seed
        Of the noise.
    """
    original = np.asarray(volume_hu, np.float32)
    moved = 0.5 * (original + np.roll(original, 1, axis=0))
    moved = 0.5 * (moved + np.roll(moved, 1, axis=1))
    noise = _noise_hu(original, lungs > 0) * np.sqrt(1 - 0.25)  # four equal weights leave a quarter of the variance
    edit = moved + noise * np.random.default_rng((seed, 12)).standard_normal(original.shape).astype(np.float32)
    out = np.where(planted.changed, edit, original)
    if np.issubdtype(volume_hu.dtype, np.integer):
        out = np.round(out)
    return np.asarray(out.astype(volume_hu.dtype))
