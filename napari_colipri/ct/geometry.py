"""Affine maths and measured geometry. One truth: voxel index [i, j, k] to patient RAS millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.passport import Reason, reason
from napari_colipri.ct.volume import Affine, CTVolume, Geometry
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = [
    "apply",
    "axis_codes",
    "axis_order",
    "corners_ras",
    "geometry_facts",
    "geometry_reasons",
    "index_to_ras",
    "invert",
    "is_singular",
    "lps_to_ras",
    "measure",
    "obliquity_deg",
    "orthogonal_volume",
    "ras_to_index",
    "ras_to_lps",
    "reorientation",
    "shear_deg",
    "slice_coordinates",
    "slice_normal",
    "spacing_mm",
]

Points = npt.NDArray[np.float64]

_POSITIVE, _NEGATIVE = "RAS", "LPI"
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Angles below this are rounding of float32 headers: 0.05 degrees are 0.3 mm across a whole chest.
_NOISE_DEG = 0.05
#: Voxel sizes outside this range (mm) are damage, not anatomy.
_SMALLEST_MM, _LARGEST_MM = 1e-3, 1e3


def apply(affine: Affine, points: npt.ArrayLike) -> Points:
    """Map points [..., 3] by a 4 x 4 affine."""
    array = np.asarray(points, dtype=np.float64)
    return np.asarray(array @ affine[:3, :3].T + affine[:3, 3])


def invert(affine: Affine) -> Affine:
    """Return the inverse of a 4 x 4 affine: RAS mm to voxel index."""
    return np.asarray(np.linalg.inv(affine), dtype=np.float64)


def lps_to_ras(affine: Affine) -> Affine:
    """Turn a voxel-to-LPS affine (DICOM, ITK) into voxel-to-RAS; its own inverse."""
    return np.asarray(_LPS @ affine)


def ras_to_lps(affine: Affine) -> Affine:
    """Turn a voxel-to-RAS affine into voxel-to-LPS (DICOM, ITK)."""
    return np.asarray(_LPS @ affine)


def spacing_mm(affine: Affine) -> tuple[float, float, float]:
    """Norms of the affine's columns, mm, along i, j, k."""
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    return float(norms[0]), float(norms[1]), float(norms[2])


def is_singular(affine: Affine) -> bool:
    """Whether an affine places voxels nowhere: NaN, zero or absurd spacing, or axes in one plane."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > 1e6:
        return True
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    if norms.min() < _SMALLEST_MM or norms.max() > _LARGEST_MM:
        return True
    return bool(abs(np.linalg.det(affine[:3, :3] / norms)) < 1e-3)


def axis_order(affine: Affine) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Patient axis (0 R, 1 A, 2 S) nearest to each voxel axis, and the direction (+1 or -1) along it.

    The rule of ``nibabel.orientations.io_orientation`` (nearest rotation first, then the strongest axis first), so
    that oblique grids are named as by the public tools.
    """
    matrix = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(matrix)
    nearest = left @ right
    order, signs = [0, 0, 0], [1, 1, 1]
    for axis in np.argsort(np.min(-(nearest**2), axis=0), kind="stable"):
        row = int(np.argmax(np.abs(nearest[:, axis])))
        order[axis] = row
        signs[axis] = 1 if nearest[row, axis] >= 0 else -1
        nearest[row, :] = 0.0
    return (order[0], order[1], order[2]), (signs[0], signs[1], signs[2])


def axis_codes(affine: Affine) -> tuple[str, str, str]:
    """Direction in which i, j and k grow, e.g. ``("L", "P", "S")``."""
    order, signs = axis_order(affine)
    letters = [(_POSITIVE if sign > 0 else _NEGATIVE)[row] for row, sign in zip(order, signs, strict=True)]
    return letters[0], letters[1], letters[2]


def reorientation(affine: Affine, codes: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How to see a grid with its axes towards ``codes``.

    Parameters
    ----------
    affine
        Voxel to RAS mm.
    codes
        Wanted directions, e.g. ``"IPL"`` or ``"RAS"``.

    Returns
    -------
    tuple of int
        Source axis that becomes each new axis: ``array.transpose(axes)``.
    tuple of bool
        Whether each new axis runs against its source axis.
    """
    order, signs = axis_order(affine)
    rows = [max(_POSITIVE.find(code), _NEGATIVE.find(code)) for code in codes]
    axes = [order.index(row) for row in rows]
    flips = [(code in _POSITIVE) != (signs[axis] > 0) for code, axis in zip(codes, axes, strict=True)]
    return (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])


def _angle_deg(a: Points, b: Points) -> float:
    # atan2 keeps its precision near 0, where arccos turns 1e-7 of float32 rounding into 0.03 degrees
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), np.dot(a, b))))


def obliquity_deg(affine: Affine) -> float:
    """Largest angle between a voxel axis and its nearest patient axis, degrees."""
    order, signs = axis_order(affine)
    return max(_angle_deg(affine[:3, axis], signs[axis] * np.eye(3)[order[axis]]) for axis in range(3))


def shear_deg(affine: Affine) -> float:
    """Largest departure from right angles between voxel axes, degrees."""
    pairs = ((0, 1), (0, 2), (1, 2))
    return max(abs(90.0 - _angle_deg(affine[:3, a], affine[:3, b])) for a, b in pairs)


def slice_normal(affine: Affine) -> Points:
    """Return the unit normal of the i-j plane, RAS, on the side towards which k grows."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal = normal / np.linalg.norm(normal)
    return np.asarray(normal if normal @ affine[:3, 2] >= 0 else -normal)


def measure(
    shape: Sequence[int],
    affine: Affine,
    *,
    orientation_known: bool = True,
    slice_positions_mm: Sequence[float] | None = None,
) -> Geometry:
    """Measure a grid.

    Parameters
    ----------
    shape
        Voxels along i, j, k.
    affine
        Voxel to RAS mm, not singular.
    orientation_known
        False where the file stores none.
    slice_positions_mm
        Position of every slice along the normal, mm, where slices are unevenly spaced.
    """
    positions = None if slice_positions_mm is None else tuple(float(value) for value in slice_positions_mm)
    return Geometry(
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        spacing_mm=spacing_mm(affine),
        axis_codes=axis_codes(affine),
        orientation_known=orientation_known,
        obliquity_deg=obliquity_deg(affine),
        shear_deg=shear_deg(affine),
        slice_positions_mm=positions,
    )


def slice_coordinates(geometry: Geometry, affine: Affine) -> Points:
    """Place of every slice in units of the affine's k column, float64 [K]; 0, 1, 2 … where slices are even.

    A voxel lies at ``affine @ (i, j, slice_coordinates[k], 1)``: slice 0 at the affine's origin, the others moved
    along the k column (which may be sheared against the plane) until their distance along the normal is true.
    """
    count = geometry.shape[2]
    if geometry.slice_positions_mm is None or count < 2:
        return np.arange(count, dtype=np.float64)
    positions = np.asarray(geometry.slice_positions_mm, dtype=np.float64)
    distance = np.abs(positions - positions[0])
    return np.asarray(distance / abs(float(slice_normal(affine) @ affine[:3, 2])))


def index_to_ras(volume: CTVolume, index: npt.ArrayLike) -> Points:
    """RAS mm of voxel indices [..., 3] (fractions allowed), true also where slices are unevenly spaced."""
    points: Points = np.array(index, dtype=np.float64)
    if volume.geometry.slice_positions_mm is not None:
        places = slice_coordinates(volume.geometry, volume.affine)
        points[..., 2] = np.interp(points[..., 2], np.arange(places.size), places)
    return apply(volume.affine, points)


def ras_to_index(volume: CTVolume, points: npt.ArrayLike) -> Points:
    """Fractional voxel indices [..., 3] of RAS mm points; beyond the ends of uneven slices by the nearest step."""
    index = apply(invert(volume.affine), points)
    if volume.geometry.slice_positions_mm is not None:
        index[..., 2] = uneven_index(slice_coordinates(volume.geometry, volume.affine), index[..., 2])
    return index


def uneven_index(places: Points, values: npt.ArrayLike) -> Points:
    """Fractional slice number at ``values`` (units of :func:`slice_coordinates`); the end steps go on outside."""
    array = np.asarray(values, dtype=np.float64)
    result = np.interp(array, places, np.arange(places.size))
    if places.size > 1:
        result = np.where(array < places[0], (array - places[0]) / (places[1] - places[0]), result)
        beyond = places.size - 1 + (array - places[-1]) / (places[-1] - places[-2])
        result = np.where(array > places[-1], beyond, result)
    return np.asarray(result)


def orthogonal_volume(
    volume: CTVolume, *, progress: Progress = report_nothing, cancel: CancelToken | None = None
) -> CTVolume:
    """Return a volume with right angles and even slices; see :func:`napari_colipri.ct.resample.orthogonal_volume`."""
    from napari_colipri.ct import resample  # it stands on this module

    return resample.orthogonal_volume(volume, progress=progress, cancel=cancel)


def corners_ras(geometry: Geometry, affine: Affine) -> Points:
    """Return the eight outer corners of a grid, half a voxel beyond the outermost centres, RAS mm, [8, 3]."""
    places = slice_coordinates(geometry, affine)
    first = places[1] - places[0] if places.size > 1 else 1.0
    last = places[-1] - places[-2] if places.size > 1 else 1.0
    ends = (
        (-0.5, geometry.shape[0] - 0.5),
        (-0.5, geometry.shape[1] - 0.5),
        (places[0] - first / 2, places[-1] + last / 2),
    )
    grid = np.array(np.meshgrid(*ends, indexing="ij"), dtype=np.float64)
    return apply(affine, grid.reshape(3, -1).T)


def geometry_facts(geometry: Geometry) -> dict[str, Any]:
    """JSON-serialisable facts for :attr:`Passport.geometry`."""
    extent = [count * step for count, step in zip(geometry.shape, geometry.spacing_mm, strict=True)]
    if geometry.slice_positions_mm is not None:
        extent[2] = abs(geometry.slice_positions_mm[-1] - geometry.slice_positions_mm[0]) + geometry.spacing_mm[2]
    return {
        "shape": list(geometry.shape),
        "spacing_mm": [round(value, 5) for value in geometry.spacing_mm],
        "axis_codes": "".join(geometry.axis_codes) if geometry.orientation_known else None,
        "orientation_known": geometry.orientation_known,
        "obliquity_deg": round(geometry.obliquity_deg, 3),
        "shear_deg": round(geometry.shear_deg, 3),
        "evenly_spaced": geometry.slice_positions_mm is None,
        "extent_mm": [round(value, 2) for value in extent],
    }


def _shape_reasons(geometry: Geometry) -> list[Reason]:
    thick = int(np.argmax(geometry.spacing_mm))
    others = [step for axis, step in enumerate(geometry.spacing_mm) if axis != thick]
    if min(geometry.shape) == 1:
        return [reason("single_slice", "Only one slice: it can be shown, but models need a volume.", 1)]
    code = geometry.axis_codes[thick]
    # the storage order of axes says nothing; the thick direction tells how the slices were made
    if geometry.orientation_known and geometry.spacing_mm[thick] > 1.5 * max(others) and code not in "IS":
        plane = "sagittal" if code in "LR" else "coronal"
        message = f"The slices are {plane}, {geometry.spacing_mm[thick]:.2f} mm apart; models expect axial slices."
        return [reason("non_axial", message, plane)]
    return []


def _spacing_reason(positions: tuple[float, ...]) -> Reason:
    steps = np.abs(np.diff(np.asarray(positions)))
    message = (
        f"Slices are unevenly spaced: {steps.min():.2f} to {steps.max():.2f} mm apart, median "
        f"{np.median(steps):.2f} mm. Every slice is placed at its true position."
    )
    return reason("variable_spacing", message, [float(steps.min()), float(steps.max()), float(np.median(steps))])


def geometry_reasons(geometry: Geometry, *, gantry_tilt: bool = False) -> list[Reason]:
    """List what is odd about a grid, in plain words.

    Codes: unknown_orientation, sheared or gantry_tilt, oblique, variable_spacing, single_slice, non_axial.

    Parameters
    ----------
    geometry
        A measured grid.
    gantry_tilt
        True where the shear is known to come from a tilted gantry (DICOM slices stepping off their normal); it is
        then called ``gantry_tilt`` instead of ``sheared``.
    """
    reasons: list[Reason] = []
    shear, oblique = geometry.shear_deg, geometry.obliquity_deg
    if not geometry.orientation_known:
        message = "The file stores no orientation: which side is left or right cannot be told."
        reasons.append(reason("unknown_orientation", message))
    if shear >= _NOISE_DEG:
        if gantry_tilt:
            message = f"The gantry was tilted by {shear:.1f} degrees: the volume is resampled for display."
        else:
            message = f"The voxel axes are {shear:.1f} degrees off right angles: the volume is resampled for display."
        reasons.append(reason("gantry_tilt" if gantry_tilt else "sheared", message, round(shear, 3)))
    # a tilt alone also turns one axis away from the patient's; only what goes beyond it is news
    if oblique >= _NOISE_DEG and oblique > shear + 0.5 * (shear >= _NOISE_DEG):
        message = (
            f"The volume is rotated by {oblique:.1f} degrees against the patient's axes: it is resampled for display."
        )
        reasons.append(reason("oblique", message, round(oblique, 3)))
    if geometry.slice_positions_mm is not None:
        reasons.append(_spacing_reason(geometry.slice_positions_mm))
    return reasons + _shape_reasons(geometry)
