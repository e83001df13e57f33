"""A real scan as a canvas: what the painters of lung findings need to know about it, from its lung mask alone.

Lobes, apex, domes and hila of a real patient are not known: planes through the lungs' extent stand for them, and the
report of a planted finding speaks of such a lobe. Findings that need heart, vessels, bronchi or wall are left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from nibabel import orientations
from scipy import ndimage

from training.phantom.body import Body
from training.phantom.canvas import FAR, Canvas
from training.phantom.classes import LABEL
from training.phantom.grid import Frame, Grid
from training.phantom.heart import Mediastinum
from training.phantom.lungs import Lungs
from training.phantom.patient import Patient, draw_patient
from training.phantom.wall import Chest

__all__ = ["coarse", "from_ras", "lung_sides", "scan_body", "to_ras"]

_COARSE_MM = 8.0


def to_ras(
    array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    """Return a view [x, y, z] with axes towards right, front and head, and its affine."""
    codes = orientations.io_orientation(affine)
    turned = orientations.apply_orientation(array, codes)
    return turned, affine @ orientations.inv_ornt_aff(codes, array.shape)


def from_ras(array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]) -> npt.NDArray[np.generic]:
    """Return an array from :func:`to_ras` in the order of the original ``affine``."""
    back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.io_orientation(affine))
    return np.asarray(orientations.apply_orientation(array, back))


def _patient(lungs: npt.NDArray[np.bool_], grid: Grid, seed: int) -> Patient:
    """Return a patient whose lengths are those of the lungs."""
    where = np.argwhere(lungs)
    low, high = (np.asarray(grid.spacing_mm) * edge + grid.affine[:3, 3] for edge in (where.min(0), where.max(0)))
    height = high[2] - low[2]
    plain = draw_patient(seed, phase="none")
    return replace(
        plain,
        half_width=float(high[0] - low[0]) / 2,
        half_depth=float(high[1] - low[1]) / 2,
        top_z=float(high[2]),
        dome_right=float(low[2] + 0.28 * height),
        dome_left=float(low[2] + 0.24 * height),
        carina_z=float(high[2] - 0.4 * height),
    )


def scan_body(hu: npt.NDArray[np.float32], lungs: npt.NDArray[np.uint8], grid: Grid, seed: int, soft_mm: float) -> Body:
    """Return a body with the lungs of a real scan; its other organs are nowhere.

    Parameters
    ----------
    hu, lungs
        [x, y, z] towards right, front, head; lungs 1 left, 2 right.
    grid
        With the origin in the middle of the lungs.
    seed
        Of the texture.
    soft_mm
        Width of an edge.
    """
    c = Canvas(grid, Frame.straight(), soft_mm=soft_mm)
    c.hu = torch.from_numpy(np.ascontiguousarray(hu))
    mask = lungs > 0
    p = _patient(mask, grid, seed)
    # distance to the surface, which lies half a voxel from the nearest voxel of the other side
    inner = ndimage.distance_transform_edt(mask, sampling=grid.spacing_mm)
    outer = ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm)
    sd = torch.from_numpy((outer - inner + np.where(mask, 0.5, -0.5) * min(grid.spacing_mm)).astype(np.float32))
    right = torch.from_numpy(lungs == 2) | ((torch.from_numpy(lungs) == 0) & (c.x > 0))
    back = float(c.y[torch.from_numpy(mask)].min())
    oblique = c.z - (p.top_z - 60.0) + 0.85 * (c.y - back)
    lower = oblique < 0
    lobe = torch.where(
        right,
        torch.where(lower, LABEL["lung_lower_lobe_right"], LABEL["lung_upper_lobe_right"]),
        torch.where(lower, LABEL["lung_lower_lobe_left"], LABEL["lung_upper_lobe_left"]),
    ).to(torch.uint8)
    lobe[right & ~lower & (c.z < p.carina_z - 30)] = LABEL["lung_middle_lobe_right"]
    nothing = torch.full_like(c.hu, FAR)
    chest = Chest(nothing, -nothing, -nothing, nothing, c.y, nothing, -nothing, nothing)
    organs = Mediastinum(nothing, {}, None, {}, nothing)
    texture = 0.75 * c.noise(p.rng("texture"), 13.0) + 0.65 * c.noise(p.rng("slow texture"), 40.0)
    return Body(c, p, chest, organs, Lungs(sd, right, lobe, nothing), texture)


def coarse(body: Body) -> Body:
    """Return every n-th voxel of a body, about 8 mm apart: the reference by which findings are placed."""
    c = body.canvas
    step = tuple(max(1, round(_COARSE_MM / mm)) for mm in c.grid.spacing_mm)
    cut = tuple(slice(None, None, n) for n in step)
    shape = tuple(len(range(0, size, n)) for size, n in zip(c.grid.shape, step, strict=True))
    spacing = tuple(mm * n for mm, n in zip(c.grid.spacing_mm, step, strict=True))
    first = c.grid.affine[:3, 3]
    centre = tuple(float(first[a] + (shape[a] - 1) / 2 * spacing[a]) for a in range(3))
    small = Canvas(
        Grid((shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]), (centre[0], centre[1], centre[2])),
        Frame.straight(),
        soft_mm=_COARSE_MM,
    )
    lungs = Lungs(body.lungs.inside[cut], body.lungs.right[cut], body.lungs.lobe[cut], body.lungs.fissure[cut])
    nothing = torch.full_like(small.hu, FAR)
    chest = Chest(nothing, -nothing, -nothing, nothing, small.y, nothing, -nothing, nothing)
    return Body(small, body.patient, chest, Mediastinum(nothing, {}, None, {}, nothing), lungs, body.texture[cut])


def lung_sides(mask: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return a mask of both lungs as 1 (left) and 2 (right), in its own voxel order.

    They are split at the sagittal plane within the middle third of the mask that crosses the fewest of its voxels; near
    the trachea and where the lungs touch, that is an approximation.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    turned, _ = to_ras(mask, affine)
    counts = np.asarray(turned, bool).sum(axis=(1, 2)).astype(float)
    used = np.flatnonzero(counts)
    if not used.size:
        raise ValueError("The lung mask holds no lung.")
    smooth = np.convolve(counts, np.ones(3) / 3, mode="same")
    third = (used[-1] - used[0]) // 3
    first = used[0] + third
    middle = first + int(smooth[first : used[-1] - third + 1].argmin())
    side = np.where(np.arange(turned.shape[0]) > middle, 2, 1).astype(np.uint8)[:, None, None]
    return np.asarray(from_ras(np.where(turned, side, 0).astype(np.uint8), affine), np.uint8)
