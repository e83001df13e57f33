"""Small CT volumes for tests: asymmetric, in any of the 48 orientations, tilted, sheared, unevenly spaced.

Every builder places HU by a function of the millimetre point, so the same anatomy can be asked for on any grid:

- ``ramp``: linear in R, A and S. Trilinear interpolation reproduces it exactly, and no two directions look alike.
- ``chest``: a body in air with two lungs, a heart on the left, a liver on the right and a spine behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.geometry import geometry_facts, geometry_reasons, measure, slice_coordinates
from napari_colipri.ct.passport import Passport
from napari_colipri.ct.volume import CTVolume, Source

__all__ = [
    "ORIENTATIONS",
    "affine_for",
    "chest",
    "make_volume",
    "oblique_affine",
    "ramp",
    "rotation",
    "sheared_affine",
    "sheared_volume",
    "tilted_volume",
    "uneven_volume",
    "volume_in",
]

Points = npt.NDArray[np.float64]
Anatomy = Callable[[Points], Points]

_LETTERS = ("LR", "PA", "IS")

#: All 48 axis codes: 6 orders of the patient axes, 8 directions.
ORIENTATIONS: tuple[tuple[str, str, str], ...] = tuple(
    (_LETTERS[order[0]][ends[0]], _LETTERS[order[1]][ends[1]], _LETTERS[order[2]][ends[2]])
    for order in permutations(range(3))
    for ends in product((0, 1), repeat=3)
)


def ramp(points: Points) -> Points:
    """HU that grows by 3 to the right, 5 to the front and 7 upwards per mm; RAS mm points [..., 3]."""
    return np.asarray(points @ np.array([3.0, 5.0, 7.0]) + 20.0, dtype=np.float64)


def _inside(points: Points, centre: Sequence[float], radii: Sequence[float]) -> npt.NDArray[np.bool_]:
    scaled = (points - np.asarray(centre)) / np.asarray(radii)
    return np.asarray((scaled**2).sum(axis=-1) <= 1.0)


def chest(points: Points) -> Points:
    """HU of a schematic chest around the origin; RAS mm points [..., 3], body 300 x 200 x 320 mm."""
    hu = np.full(points.shape[:-1], -1000.0)
    for centre, radii, value in (
        ((0, 0, 0), (150, 100, 160), 40.0),  # body
        ((75, 0, 20), (55, 75, 110), -850.0),  # right lung (R is positive)
        ((-75, 0, 20), (50, 75, 110), -850.0),  # left lung, smaller
        ((-25, 25, -20), (45, 40, 50), 45.0),  # heart, to the left
        ((70, 10, -120), (65, 70, 45), 60.0),  # liver, to the right
        ((0, -75, 0), (15, 15, 150), 500.0),  # spine, behind
        ((80, 10, 50), (12, 12, 12), 30.0),  # nodule in the right lung
    ):
        hu[_inside(points, centre, radii)] = value
    return hu


def rotation(degrees: float, axis: Sequence[float] | Points = (1.0, 0.0, 0.0)) -> npt.NDArray[np.float64]:
    """Rotation matrix 3 x 3 about ``axis`` (Rodrigues)."""
    x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def _centred(matrix: npt.NDArray[np.float64], shape: Sequence[int], centre: Sequence[float]) -> Points:
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = np.asarray(centre) - matrix @ ((np.asarray(shape) - 1) / 2)
    return affine


def affine_for(
    codes: Sequence[str],
    spacing_mm: Sequence[float],
    shape: Sequence[int],
    centre: Sequence[float] = (0.0, 0.0, 0.0),
) -> Points:
    """Affine of a grid whose indices grow towards ``codes``; the grid's centre lies at ``centre`` (RAS mm)."""
    matrix = np.zeros((3, 3))
    for axis, (code, step) in enumerate(zip(codes, spacing_mm, strict=True)):
        row = next(number for number, pair in enumerate(_LETTERS) if code in pair)
        matrix[row, axis] = step if _LETTERS[row].index(code) else -step
    return _centred(matrix, shape, centre)


def oblique_affine(
    degrees: float,
    axis: Sequence[float] = (1.0, 0.0, 0.0),
    *,
    codes: Sequence[str] = ("L", "P", "S"),
    spacing_mm: Sequence[float] = (2.0, 2.5, 3.0),
    shape: Sequence[int] = (14, 12, 10),
) -> Points:
    """Affine of an orthogonal grid rotated by ``degrees`` about a patient axis through its centre."""
    straight = affine_for(codes, spacing_mm, shape)
    return _centred(rotation(degrees, axis) @ straight[:3, :3], shape, (0.0, 0.0, 0.0))


def sheared_affine(
    degrees: float,
    *,
    codes: Sequence[str] = ("L", "P", "S"),
    spacing_mm: Sequence[float] = (2.0, 2.5, 3.0),
    shape: Sequence[int] = (14, 12, 10),
) -> Points:
    """Affine of a gantry-tilted grid: the plane is tilted by ``degrees`` about i, slices follow one another along k."""
    straight = affine_for(codes, spacing_mm, shape)[:3, :3]
    tilted = straight.copy()
    tilted[:, 1] = rotation(degrees, straight[:, 0]) @ straight[:, 1]
    return _centred(tilted, shape, (0.0, 0.0, 0.0))


def make_volume(
    affine: Points,
    shape: Sequence[int] = (14, 12, 10),
    anatomy: Anatomy = ramp,
    *,
    dtype: type[np.int16] | type[np.float32] = np.float32,
    orientation_known: bool = True,
    slice_positions_mm: Sequence[float] | None = None,
    kind: str = "nifti",
    path: str = "study.nii.gz",
) -> CTVolume:
    """Volume whose voxels hold ``anatomy`` at their true millimetre points; memory order as in a NIfTI file."""
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    geometry = measure(size, affine, orientation_known=orientation_known, slice_positions_mm=slice_positions_mm)
    index = np.moveaxis(np.indices(size, dtype=np.float64), 0, -1).copy()
    index[..., 2] = slice_coordinates(geometry, affine)
    values = anatomy(index @ affine[:3, :3].T + affine[:3, 3])
    hu = np.asfortranarray(np.round(values).astype(dtype) if dtype is np.int16 else values.astype(dtype))
    hu.setflags(write=False)
    passport = Passport(tuple(geometry_reasons(geometry)), geometry_facts(geometry))
    source = Source(kind="dicom" if kind == "dicom" else "nifti", path=path)
    return CTVolume(hu, affine, geometry, source, passport)


def volume_in(
    codes: Sequence[str],
    *,
    shape_ras: Sequence[int] = (7, 9, 5),
    spacing_ras: Sequence[float] = (2.0, 1.5, 3.0),
    anatomy: Anatomy = ramp,
    dtype: type[np.int16] | type[np.float32] = np.float32,
) -> CTVolume:
    """One and the same grid of points, stored with its axes towards ``codes``.

    ``shape_ras`` and ``spacing_ras`` belong to the right-left, front-back and up-down axes in every order of storage.
    """
    rows = [next(number for number, pair in enumerate(_LETTERS) if code in pair) for code in codes]
    shape = [shape_ras[row] for row in rows]
    affine = affine_for(codes, [spacing_ras[row] for row in rows], shape)
    return make_volume(affine, shape, anatomy, dtype=dtype)


def tilted_volume(
    degrees: float,
    axis: Sequence[float] = (1.0, 0.0, 0.0),
    *,
    anatomy: Anatomy = ramp,
    shape: Sequence[int] = (14, 12, 10),
) -> CTVolume:
    """Orthogonal volume rotated by ``degrees`` about a patient axis."""
    return make_volume(oblique_affine(degrees, axis, shape=shape), shape, anatomy)


def sheared_volume(degrees: float, *, anatomy: Anatomy = ramp, shape: Sequence[int] = (14, 12, 10)) -> CTVolume:
    """Gantry-tilted volume."""
    return make_volume(sheared_affine(degrees, shape=shape), shape, anatomy)


def uneven_volume(
    steps_mm: Sequence[float] = (3.0, 3.0, 3.0, 1.0, 5.0, 5.0, 5.0, 5.0),
    *,
    tilt_degrees: float = 0.0,
    anatomy: Anatomy = ramp,
    size: Sequence[int] = (14, 12),
) -> CTVolume:
    """Volume whose slices lie ``steps_mm`` apart along the normal, with or without gantry tilt."""
    shape = (size[0], size[1], len(steps_mm) + 1)
    median = float(np.median(steps_mm))
    # along k the affine holds the median step; with a tilt the step along k is longer than the one along the normal
    spacing = (2.0, 2.5, median / np.cos(np.deg2rad(tilt_degrees)))
    affine = sheared_affine(tilt_degrees, spacing_mm=spacing, shape=shape)
    positions = np.concatenate([[0.0], np.cumsum(steps_mm)])
    return make_volume(affine, shape, anatomy, slice_positions_mm=[float(value) for value in positions])
