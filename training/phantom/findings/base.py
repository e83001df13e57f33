"""What a planted finding is, where its voxels are, and the tools that all painters share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from napari_colipri.text.findings import FINDING_NAMES
from training.phantom.body import Body
from training.phantom.grid import Box, Frame, Grid, Points
from training.phantom.lungs import LOBES, lobe_points

__all__ = [
    "BIT",
    "WHOLE",
    "Finding",
    "Scene",
    "Truth",
    "View",
    "blob",
    "branch",
    "lobe_side",
    "merge_sides",
    "pick",
    "pick_many",
]

BIT: dict[str, int] = {name: bit for bit, name in enumerate(FINDING_NAMES)}
WHOLE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Finding:
    """One finding of a phantom.

    Attributes
    ----------
    name
        Canonical name (:data:`napari_colipri.text.findings.FINDING_NAMES`).
    side
        ``"left"``, ``"right"``, ``"both"``, or None where the finding has no side.
    place
        Lobe or organ in words.
    size_mm
        Largest extent of the largest part: diameter, short axis of a lymph node, depth of fluid, width of a heart;
        0 where a finding has no size.
    volume_ml
        Volume that was painted.
    count
        Number of parts, 1 for diffuse findings.
    severity
        ``"mild"``, ``"moderate"`` or ``"severe"``, by the rule of docs/phantoms.md.
    kind
        Subtype, such as ``"pacemaker"`` or ``"ground glass"``.
    centre_mm
        Centre of the largest part in world RAS mm.
    """

    name: str
    side: str | None
    place: str
    size_mm: float
    volume_ml: float
    count: int = 1
    severity: str = "moderate"
    kind: str = ""
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class View:
    """What the scan shows: slices between two heights, a circle in plane, and the grid itself (world mm)."""

    grid: Grid
    frame: Frame
    low_mm: float
    high_mm: float
    centre_xy: tuple[float, float]
    radius_mm: float

    def shows(self, patient_points: Points, margin_mm: float = 4.0) -> npt.NDArray[np.bool_]:
        """Tell which patient points [n, 3] lie in the picture, at least ``margin_mm`` from its edge."""
        at = self.frame.to_world(patient_points)
        half = np.asarray(self.grid.shape) * np.asarray(self.grid.spacing_mm) / 2
        inside = (np.abs(at - self.grid.centre_mm) < half - margin_mm).all(axis=1)
        inside &= (at[:, 2] > self.low_mm + margin_mm) & (at[:, 2] < self.high_mm - margin_mm)
        return np.asarray(inside & (np.hypot(*(at[:, :2] - self.centre_xy).T) < self.radius_mm - margin_mm))


class Truth:
    """Bits of the findings in every voxel."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.bits = torch.zeros(shape, dtype=torch.int32, device=device)

    def mark(self, name: str, amount: torch.Tensor, box: Box = WHOLE) -> None:
        """Set the bit of ``name`` where ``amount`` is above a half, or near its largest if it never is."""
        threshold = min(0.5, 0.6 * float(amount.max())) if amount.numel() else 1.0
        if threshold > 0.015:
            part = self.bits[box]
            part |= (amount > threshold).to(torch.int32) << BIT[name]
            self.bits[box] = part

    def clear(self, names: Sequence[str], where: torch.Tensor, box: Box = WHOLE) -> None:
        """Take the bits of ``names`` away where something else has taken the place."""
        keep = ~sum(1 << BIT[name] for name in names)
        part = self.bits[box]
        self.bits[box] = torch.where(where, part & keep, part)


@dataclass
class Scene:
    """A painted patient, the same one on the coarse reference, the picture's limits, and the truth.

    ``rim_mm`` is how far the lungs' true edge may lie outside of a given mask: 0 where the lungs are painted.
    """

    body: Body
    reference: Body
    view: View
    truth: Truth
    rim_mm: float = 0.0

    def put(
        self,
        name: str,
        amount: torch.Tensor,
        value: torch.Tensor | float,
        box: Box = WHOLE,
        label: int | None = None,
        *,
        mark: torch.Tensor | None = None,
    ) -> float:
        """Blend ``value`` into ``box``, mark the finding, and return the volume in ml."""
        self.body.canvas.blend(box, amount, value, label)
        self.truth.mark(name, amount if mark is None else mark, box)
        return float(amount.sum()) * self.body.canvas.grid.voxel_ml

    def world(self, patient_point: npt.ArrayLike) -> tuple[float, float, float]:
        """Return a patient point in world RAS mm, rounded to 0.1 mm."""
        at = self.body.canvas.frame.to_world(np.asarray(patient_point, float)[None])[0]
        return (round(float(at[0]), 1), round(float(at[1]), 1), round(float(at[2]), 1))

    def lung(self, box: Box = WHOLE) -> torch.Tensor:
        """Voxels of ``box`` that hold any aerated lung: what dense tissue in it must cover to leave no rim of air."""
        return self.body.lungs.inside[box] < 0.5 * self.body.canvas.soft_mm + self.rim_mm

    def shrink_lungs(self, taken: torch.Tensor, taken_in_reference: torch.Tensor) -> None:
        """Take a region (signed distances on both canvases) away from the lungs."""
        for body, sd in ((self.body, taken), (self.reference, taken_in_reference)):
            body.lungs.inside = torch.maximum(body.lungs.inside, -sd)


def branch(rng: np.random.Generator) -> np.random.Generator:
    """Return a generator of its own for one part, so that what it draws does not shift the draws of the next."""
    return np.random.default_rng(int(rng.integers(2**62)))


def lobe_side(lobe: int) -> str:
    """Return the side of a lobe's label."""
    return LOBES[lobe].split()[0]


def merge_sides(sides: set[str]) -> str | None:
    """Return one word for a set of sides."""
    if not sides:
        return None
    return sides.pop() if len(sides) == 1 else "both"


def pick_many(
    scene: Scene, rng: np.random.Generator, lobes: Sequence[int], depth_mm: float, count: int
) -> tuple[Points, list[int]]:
    """Return up to ``count`` visible points [n, 3] of ``lobes``, ``depth_mm`` below the pleura, with their lobes."""
    ref = scene.reference
    parts = [lobe_points(ref.canvas, ref.lungs, lobe, depth_mm) for lobe in lobes]
    points = np.concatenate(parts) if parts else np.zeros((0, 3))
    owner = np.concatenate([np.full(len(part), lobe) for part, lobe in zip(parts, lobes, strict=True)])
    seen = scene.view.shows(points, depth_mm + 3.0) if len(points) else np.zeros(0, bool)
    points, owner = points[seen], owner[seen]
    if len(points) == 0:
        return np.zeros((0, 3)), []
    chosen = rng.integers(0, len(points), count)
    jitter = rng.uniform(-2.5, 2.5, (count, 3)) if depth_mm > 4 else np.zeros((count, 3))
    return points[chosen] + jitter, [int(owner[n]) for n in chosen]


def pick(scene: Scene, rng: np.random.Generator, lobes: Sequence[int], depth_mm: float) -> tuple[Points, int] | None:
    """Return one visible point [3] and its lobe, or None where there is none."""
    points, owner = pick_many(scene, rng, lobes, depth_mm, 1)
    return (points[0], owner[0]) if owner else None


def blob(
    scene: Scene, rng: np.random.Generator, centre: Points, radii: npt.ArrayLike, rough: float
) -> tuple[Box, torch.Tensor] | None:
    """Return a box and the signed distance, mm, to an ellipsoid whose surface is uneven by ``rough`` of its radius."""
    c = scene.body.canvas
    r = np.broadcast_to(np.asarray(radii, float), (3,))
    box = c.box(centre, float(r.max()) * (1 + rough) + 2.0)
    if box is None:
        return None
    sd = c.ellipsoid(box, centre, r)
    if rough:
        k = rng.uniform(1.6, 3.4, (4, 3)) / r.mean() * rng.choice([-1, 1], (4, 3))
        phase = rng.uniform(0, 2 * np.pi, 4)
        wave = torch.zeros_like(sd)
        for n in range(4):
            wave += torch.sin(k[n, 0] * c.x[box] + k[n, 1] * c.y[box] + k[n, 2] * c.z[box] + phase[n])
        sd = sd + 0.35 * rough * float(r.mean()) * wave
    return box, sd
