"""A volume being painted: shapes as signed distances, softened to partial volume, inside bounding boxes.

Letters in comments: a signed distance ("sd") is in mm, negative inside. ``soft_mm`` is the width over which an edge
goes from inside to outside: the blur of the imagined source scan, not of the grid, because a model grid is sampled
from a source scan by linear interpolation without a filter (see ``napari_colipri.engine.preprocess``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from training.phantom.grid import Box, Frame, Grid, Points

__all__ = ["FAR", "Canvas", "curve", "smooth_min", "step"]

FAR = 1e3  # mm; a distance that means "nowhere near"
_CHUNK = 4_000_000  # elements of one scatter
_LATTICE_MM = 420.0  # half the edge of the cube that smooth noise fills


def step(value: torch.Tensor) -> torch.Tensor:
    """Return the smooth step 3t² - 2t³ of ``value`` clamped to 0..1."""
    t = value.clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def smooth_min(a: torch.Tensor, b: torch.Tensor, width: float) -> torch.Tensor:
    """Return the minimum of two distances with a fillet of ``width`` mm (polynomial smooth minimum)."""
    h = (0.5 + 0.5 * (b - a) / width).clamp(0.0, 1.0)
    return b + (a - b) * h - width * h * (1.0 - h)


def curve(anchors: npt.ArrayLike, spacing_mm: float) -> Points:
    """Return a Catmull-Rom curve through ``anchors`` [n, k], sampled about every ``spacing_mm``.

    The first three columns are places; further columns (a radius) are carried along.
    """
    points = np.asarray(anchors, float)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    pieces = []
    for n in range(len(points) - 1):
        p0, p1, p2, p3 = padded[n : n + 4]
        count = max(2, int(np.ceil(np.linalg.norm((p2 - p1)[:3]) / spacing_mm)))
        t = np.linspace(0, 1, count, endpoint=False)[:, None]
        pieces.append(
            0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
        )
    return np.concatenate([*pieces, points[-1:]])


class Canvas:
    """HU and labels on a grid, and the tools that paint them.

    Parameters
    ----------
    grid, frame
        Where the voxels lie.
    soft_mm
        Width of an edge, mm.
    device
        Where the tensors live.
    """

    def __init__(self, grid: Grid, frame: Frame, *, soft_mm: float, device: torch.device | str = "cpu") -> None:
        self.grid, self.frame, self.soft_mm = grid, frame, float(soft_mm)
        self.device = torch.device(device)
        self.x, self.y, self.z = frame.coordinates(grid, self.device)
        self.hu = torch.full(grid.shape, -1000.0, device=self.device)
        self.labels = torch.zeros(grid.shape, dtype=torch.uint8, device=self.device)

    def box(self, centre: npt.ArrayLike, reach_mm: float) -> Box | None:
        """Return index slices of the cube of half-edge ``reach_mm`` round a patient point, or None if it is outside."""
        at = self.grid.indices(self.frame.to_world(np.asarray(centre, float)[None]))[0]
        half = (reach_mm + self.soft_mm) / np.asarray(self.grid.spacing_mm)
        start = np.maximum(np.floor(at - half), 0).astype(int)
        stop = np.minimum(np.ceil(at + half) + 1, self.grid.shape).astype(int)
        if (start >= stop).any():
            return None
        return slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2])

    def occupancy(self, sd: torch.Tensor, soft_mm: float | None = None) -> torch.Tensor:
        """Return the share of each voxel, 0..1, that lies inside a shape."""
        return (0.5 - sd / (soft_mm or self.soft_mm)).clamp(0.0, 1.0)

    def ellipsoid(
        self, box: Box, centre: npt.ArrayLike, radii: npt.ArrayLike, rotation: Points | None = None
    ) -> torch.Tensor:
        """Return the signed distance to an ellipsoid inside ``box`` (first-order, exact on the surface).

        Parameters
        ----------
        box, centre
            Where; the centre in patient mm.
        radii
            mm, along the ellipsoid's own axes.
        rotation
            3 x 3 whose rows are these axes; the patient's without it.
        """
        c = np.asarray(centre, float)
        r = np.broadcast_to(np.asarray(radii, float), (3,))
        d = [self.x[box] - c[0], self.y[box] - c[1], self.z[box] - c[2]]
        if rotation is not None:
            d = [float(row[0]) * d[0] + float(row[1]) * d[1] + float(row[2]) * d[2] for row in rotation]
        k0 = ((d[0] / r[0]) ** 2 + (d[1] / r[1]) ** 2 + (d[2] / r[2]) ** 2).sqrt()
        k1 = ((d[0] / r[0] ** 2) ** 2 + (d[1] / r[1] ** 2) ** 2 + (d[2] / r[2] ** 2) ** 2).sqrt()
        return torch.where(k1 > 1e-7, k0 * (k0 - 1.0) / k1.clamp(min=1e-7), torch.full_like(k0, -float(r.min())))

    def blend(self, box: Box, amount: torch.Tensor, value: torch.Tensor | float, label: int | None = None) -> None:
        """Mix ``value`` HU into ``box`` by ``amount`` 0..1; the label goes where more than half is covered."""
        self.hu[box] += amount * (value - self.hu[box])
        if label is not None:
            self.labels[box][amount > 0.5] = label

    def splat(self, points: Points, radius: npt.ArrayLike, margin_mm: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return flat voxel indices and signed distances of balls round patient points, out to ``margin_mm``."""
        index = self.grid.indices(self.frame.to_world(points))
        radii = np.broadcast_to(np.asarray(radius, float), (len(index),))
        spacing = np.asarray(self.grid.spacing_mm)
        shape = np.asarray(self.grid.shape)
        reach = (radii[:, None] + margin_mm) / spacing
        inside = ((index + reach >= 0) & (index - reach <= shape - 1)).all(axis=1)
        half = np.ceil(reach.max(axis=1)).astype(int)
        flats, distances = [], []
        for size in np.unique(half[inside]):
            chosen = np.flatnonzero(inside & (half == size))
            extent = np.minimum(size, np.ceil(size * spacing.min() / spacing).astype(int) + 1)
            offsets = np.stack(np.meshgrid(*[np.arange(-e, e + 1) for e in extent], indexing="ij"), -1).reshape(-1, 3)
            per = max(1, _CHUNK // len(offsets))
            for start in range(0, len(chosen), per):
                part = chosen[start : start + per]
                flat, sd = self._window(index[part], radii[part], offsets)
                keep = sd <= margin_mm
                flats.append(flat[keep])
                distances.append(sd[keep])
        if not flats:
            return torch.zeros(0, dtype=torch.long, device=self.device), torch.zeros(0, device=self.device)
        return torch.cat(flats), torch.cat(distances)

    def _window(
        self, index: Points, radii: Points, offsets: npt.NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shape = self.grid.shape
        spacing = torch.tensor(self.grid.spacing_mm, dtype=torch.float32, device=self.device)
        base = np.rint(index).astype(np.int64)
        rest = torch.from_numpy((index - base).astype(np.float32)).to(self.device)
        off = torch.from_numpy(offsets).to(self.device)
        voxel = torch.from_numpy(base).to(self.device)[:, None, :] + off[None]
        limits = torch.tensor(shape, device=self.device)
        valid = ((voxel >= 0) & (voxel < limits)).all(dim=2)
        apart = ((off[None].float() - rest[:, None, :]) * spacing).square().sum(dim=2).sqrt()
        sd = apart - torch.from_numpy(radii.astype(np.float32)).to(self.device)[:, None]
        flat = (voxel[..., 0] * shape[1] + voxel[..., 1]) * shape[2] + voxel[..., 2]
        return flat[valid], sd[valid]

    def tube_distance(self, points: Points, radius: npt.ArrayLike, margin_mm: float = 8.0) -> torch.Tensor:
        """Return the signed distance to a chain of balls on the whole grid; :data:`FAR` beyond ``margin_mm``."""
        flat, sd = self.splat(points, radius, margin_mm + self.soft_mm)
        out = torch.full((int(np.prod(self.grid.shape)),), FAR, device=self.device)
        out.scatter_reduce_(0, flat, sd, "amin")
        return out.view(self.grid.shape)

    def tube_occupancy(self, points: Points, radius: npt.ArrayLike) -> torch.Tensor:
        """Return the occupancy of thin tubes on the whole grid.

        A tube thinner than the edge keeps its cross-section: it is drawn half an edge wide and as much fainter (the
        integral of a linear edge of width w round radius r is pi (r² + w²/12)).
        """
        radii = np.broadcast_to(np.asarray(radius, float), (len(points),))
        drawn = np.maximum(radii, 0.5 * self.soft_mm)
        strength = np.where(radii >= self.soft_mm, 1.0, radii**2 / (drawn**2 + self.soft_mm**2 / 12))
        out = torch.zeros(int(np.prod(self.grid.shape)), device=self.device)
        for level in np.unique(np.round(strength, 1)):  # tubes of like strength in one scatter
            chosen = np.round(strength, 1) == level
            flat, sd = self.splat(points[chosen], drawn[chosen], 0.5 * self.soft_mm)
            out.scatter_reduce_(0, flat, self.occupancy(sd) * max(float(level), 0.05), "amax")
        return out.view(self.grid.shape)

    def noise(self, rng: np.random.Generator, scale_mm: float) -> torch.Tensor:
        """Return smooth noise of mean 0 and standard deviation about 1, the same field on every grid.

        Random values on a world lattice of ``scale_mm``, interpolated along one axis after the other.
        """
        count = int(np.ceil(2 * _LATTICE_MM / scale_mm)) + 1
        field = torch.from_numpy(rng.standard_normal((count, count, count), dtype=np.float32)).to(self.device)
        for axis, along in enumerate(self.grid.axes()):
            at = np.clip((along + _LATTICE_MM) / scale_mm, 0, count - 1.001)
            low = np.floor(at).astype(int)
            t = (at - low).astype(np.float32)
            first, last = int(low.min()), int(low.max()) + 2
            weights = np.zeros((len(along), last - first), np.float32)
            norm = np.sqrt((1 - t) ** 2 + t**2)
            weights[np.arange(len(along)), low - first] = (1 - t) / norm
            weights[np.arange(len(along)), low - first + 1] = t / norm
            part = field.narrow(axis, first, last - first)
            field = torch.tensordot(torch.from_numpy(weights).to(self.device), part, dims=([1], [axis])).movedim(
                0, axis
            )
        return field.contiguous()
