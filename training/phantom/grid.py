"""The sampling grid of a phantom and the way from its voxels into the patient.

World and patient frame are RAS mm: x grows to the patient's right, y to the front, z to the head. A patient lies in
the world tilted by a few degrees and bent by a slow, smooth displacement, so that no two spines are straight alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Box", "Frame", "Grid", "Points"]

Points = npt.NDArray[np.float64]
Box = tuple[slice, slice, slice]

_STEPS = 5  # of the fixed point that inverts the displacement; its gradient stays below 0.3


@dataclass(frozen=True)
class Grid:
    """Voxel centres of a volume in RAS mm.

    Attributes
    ----------
    shape
        Voxels along x, y, z.
    spacing_mm
        Along x, y, z.
    centre_mm
        World mm of the volume's centre.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def affine(self) -> Points:
        """Voxel index to RAS mm, 4 x 4."""
        out = np.diag([*self.spacing_mm, 1.0])
        for axis in range(3):
            out[axis, 3] = self.centre_mm[axis] - (self.shape[axis] - 1) / 2 * self.spacing_mm[axis]
        return out

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, ml."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def axes(self) -> tuple[Points, Points, Points]:
        """Return the world coordinates of the voxel centres along each axis, mm."""
        affine = self.affine
        found = [np.arange(self.shape[a]) * self.spacing_mm[a] + affine[a, 3] for a in range(3)]
        return found[0], found[1], found[2]

    def indices(self, world: Points) -> Points:
        """Return fractional voxel indices of world points, both [n, 3]."""
        return np.asarray((world - self.affine[:3, 3]) / np.asarray(self.spacing_mm))


@dataclass(frozen=True, eq=False)
class Frame:
    """Rotation and slow displacement between world and patient: ``patient = R (world + u(world))``.

    Attributes
    ----------
    rotation
        3 x 3.
    amplitude_mm
        [modes, 3] displacement along x, y, z.
    wave
        [modes, 3] wave numbers, radians per mm.
    phase
        [modes, 3] radians.
    """

    rotation: Points
    amplitude_mm: Points
    wave: Points
    phase: Points

    @classmethod
    def straight(cls) -> Frame:
        """Return the frame in which world and patient are one."""
        none = np.zeros((0, 3))
        return cls(np.eye(3), none, none, none)

    @classmethod
    def draw(cls, rng: np.random.Generator, *, tilt_deg: float, bend_mm: float) -> Frame:
        """Draw a tilt (standard deviation ``tilt_deg`` about each axis) and a displacement of ``bend_mm``."""
        ax, ay, az = np.deg2rad(rng.normal(0.0, tilt_deg, 3))
        cx, sx, cy, sy, cz, sz = np.cos(ax), np.sin(ax), np.cos(ay), np.sin(ay), np.cos(az), np.sin(az)
        about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        modes = 4
        return cls(
            about_z @ about_y @ about_x,
            rng.normal(0.0, bend_mm, (modes, 3)),
            2 * np.pi / rng.uniform(170.0, 420.0, (modes, 3)),
            rng.uniform(0, 2 * np.pi, (modes, 3)),
        )

    def _displacement(self, world: Points) -> Points:
        waves = np.sin(world[:, None, :] * self.wave + self.phase).prod(axis=2)
        return np.asarray(waves @ self.amplitude_mm)

    def to_world(self, patient: Points) -> Points:
        """Return the world points [n, 3] at which patient points [n, 3] lie."""
        straight = np.atleast_2d(np.asarray(patient, float)) @ self.rotation
        world = straight
        for _ in range(_STEPS):
            world = straight - self._displacement(world)
        return world

    def to_patient(self, world: Points) -> Points:
        """Return the patient points [n, 3] of world points [n, 3]."""
        world = np.atleast_2d(np.asarray(world, float))
        return (world + self._displacement(world)) @ self.rotation.T

    def coordinates(self, grid: Grid, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the patient coordinates x, y, z of every voxel, each float32 [X, Y, Z]."""
        along = [torch.from_numpy(axis.astype(np.float32)).to(device) for axis in grid.axes()]
        view = [along[0][:, None, None], along[1][None, :, None], along[2][None, None, :]]
        moved = [part.expand(grid.shape).clone() for part in view]
        for amplitude, wave, phase in zip(self.amplitude_mm, self.wave, self.phase, strict=True):
            parts = [
                torch.from_numpy(np.sin(axis * wave[a] + phase[a]).astype(np.float32)).to(device)
                for a, axis in enumerate(grid.axes())
            ]
            product = parts[0][:, None, None] * parts[1][None, :, None] * parts[2][None, None, :]
            for axis in range(3):
                moved[axis] += float(amplitude[axis]) * product
        r = self.rotation
        rows = [r[k, 0] * moved[0] + r[k, 1] * moved[1] + r[k, 2] * moved[2] for k in range(3)]
        return rows[0], rows[1], rows[2]
