"""The sampling grid of a phantom: voxel centres in RAS mm, with a small rotation of the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Field", "Grid"]

Field = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Grid:
    """Voxel centres of a volume in RAS mm (x right, y anterior, z superior).

    Attributes
    ----------
    shape
        Voxels along x, y, z.
    spacing_mm
        Along x, y, z.
    centre_mm
        RAS mm of the volume's centre, in the phantom's own frame.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """Voxel index to RAS mm, 4 x 4."""
        out = np.diag([*self.spacing_mm, 1.0])
        for axis in range(3):
            half = (self.shape[axis] - 1) / 2 * self.spacing_mm[axis]
            out[axis, 3] = self.centre_mm[axis] - half
        return out

    def coordinates(self, tilt: npt.NDArray[np.float64]) -> tuple[Field, Field, Field]:
        """Return x, y, z [X, Y, Z] in the patient's frame after rotating by ``tilt`` (3 x 3)."""
        affine = self.affine
        axes = [
            np.arange(self.shape[a], dtype=np.float32) * np.float32(self.spacing_mm[a]) + np.float32(affine[a, 3])
            for a in range(3)
        ]
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        matrix = tilt.astype(np.float32)
        return (
            np.asarray(matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z),
            np.asarray(matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z),
            np.asarray(matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z),
        )


class Painter:
    """Writes shapes into a field inside their bounding boxes.

    Parameters
    ----------
    grid
        Sampling grid.
    tilt
        Rotation from grid to patient frame, 3 x 3.
    """

    def __init__(self, grid: Grid, tilt: npt.NDArray[np.float64]) -> None:
        self.grid = grid
        self.tilt = tilt
        self.x, self.y, self.z = grid.coordinates(tilt)
        self._inverse = np.linalg.inv(grid.affine)

    def box(self, centre: npt.ArrayLike, reach: float) -> tuple[slice, slice, slice] | None:
        """Index slices of the cube of half-edge ``reach`` mm round ``centre`` (patient frame), or None if outside."""
        at = np.append(self.tilt.T @ np.asarray(centre, float), 1.0)
        index = self._inverse @ at
        out = []
        for axis in range(3):
            half = reach / self.grid.spacing_mm[axis]
            start = max(0, int(np.floor(index[axis] - half)))
            stop = min(self.grid.shape[axis], int(np.ceil(index[axis] + half)) + 1)
            if start >= stop:
                return None
            out.append(slice(start, stop))
        return (out[0], out[1], out[2])

    def distance(self, box: tuple[slice, slice, slice], centre: npt.ArrayLike, radii: npt.ArrayLike) -> Field:
        """Normalised ellipsoid distance (1 on the surface) inside ``box``."""
        cx, cy, cz = np.asarray(centre, np.float32)
        rx, ry, rz = np.broadcast_to(np.asarray(radii, np.float32), (3,))
        return np.asarray(
            np.sqrt(((self.x[box] - cx) / rx) ** 2 + ((self.y[box] - cy) / ry) ** 2 + ((self.z[box] - cz) / rz) ** 2),
            dtype=np.float32,
        )

    def ellipsoid(self, centre: npt.ArrayLike, radii: npt.ArrayLike) -> tuple[tuple[slice, slice, slice], Mask] | None:
        """Box and mask of an ellipsoid, or None when it lies outside the grid."""
        box = self.box(centre, float(np.max(radii)) * 1.02)
        if box is None:
            return None
        return box, self.distance(box, centre, radii) <= 1.0

    def tube(self, path: npt.NDArray[np.float64], radius: npt.ArrayLike) -> Mask:
        """Mask [X, Y, Z] of balls along ``path`` [n, 3] (patient frame, mm), radius mm per point or one."""
        out = np.zeros(self.grid.shape, bool)
        for point, r in zip(path, np.broadcast_to(np.asarray(radius, float), len(path)), strict=True):
            hit = self.ellipsoid(point, r)
            if hit is not None:
                out[hit[0]] |= hit[1]
        return out
