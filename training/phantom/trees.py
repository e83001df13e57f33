"""Branching vessels and bronchi of the lungs.

A tree reaches given points of a lobe: the points are halved again and again across their longest extent, each half gets
a branch towards its centre. Radii follow Murray's law (the cube of a parent's radius is the sum of its children's; an
exponent of 2.7 fits pulmonary arteries better).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.phantom.canvas import Canvas
from training.phantom.classes import LABEL
from training.phantom.grid import Points
from training.phantom.lungs import Lungs, lobe_points
from training.phantom.patient import Patient

__all__ = ["Segments", "grow", "grow_all", "paint_bronchi", "paint_vessels"]

_MURRAY = 2.7


@dataclass(frozen=True, eq=False)
class Segments:
    """Straight pieces of trees: ends [n, 3], radii mm [n], lobe label [n], number of the level [n] (0 at the hilum)."""

    start: Points
    stop: Points
    radius: Points
    lobe: Points
    level: Points

    def sampled(self, step_mm: float, chosen: npt.NDArray[np.bool_] | None = None) -> tuple[Points, Points]:
        """Return points along the chosen pieces (all without it), at most ``step_mm`` apart, with radii."""
        keep = np.arange(len(self.radius)) if chosen is None else np.flatnonzero(chosen)
        start, stop, radius = self.start[keep], self.stop[keep], self.radius[keep]
        count = np.maximum(2, np.ceil(np.linalg.norm(stop - start, axis=1) / step_mm).astype(int) + 1)
        piece = np.repeat(np.arange(len(keep)), count)
        first = np.concatenate([[0], np.cumsum(count)[:-1]])
        t = (np.arange(len(piece)) - first[piece]) / (count[piece] - 1)
        return start[piece] + (stop - start)[piece] * t[:, None], radius[piece]


def grow(root: Points, targets: Points, root_radius: float, rng: np.random.Generator, lobe: int) -> Segments:
    """Return a tree from ``root`` [3] to ``targets`` [2^k, 3] of one lobe."""
    groups = targets[None]
    parents = np.asarray(root, float)[None]
    leaf = root_radius / len(targets) ** (1 / _MURRAY)
    starts, stops, radii, levels = [], [], [], []
    level = 0
    while groups.shape[1] > 1:
        n = groups.shape[1]
        centre = groups.mean(axis=1)
        node = parents + (centre - parents) * (0.34 if level == 0 else 0.5)
        node = node + rng.normal(0, 0.07, node.shape) * np.linalg.norm(centre - parents, axis=1, keepdims=True)
        starts.append(parents)
        stops.append(node)
        radii.append(np.full(len(node), leaf * n ** (1 / _MURRAY)) * rng.uniform(0.88, 1.12, len(node)))
        levels.append(np.full(len(node), level))
        longest = groups.var(axis=1).argmax(axis=1)
        along = np.take_along_axis(groups, longest[:, None, None], axis=2)[..., 0]
        order = np.argsort(along, axis=1, kind="stable")
        groups = np.take_along_axis(groups, order[..., None], axis=1).reshape(-1, n // 2, 3)
        parents = np.repeat(node, 2, axis=0)
        level += 1
    starts.append(parents)
    stops.append(groups[:, 0])
    radii.append(np.full(len(parents), leaf) * rng.uniform(0.8, 1.1, len(parents)))
    levels.append(np.full(len(parents), level))
    count = sum(len(part) for part in radii)
    return Segments(
        np.concatenate(starts),
        np.concatenate(stops),
        np.concatenate(radii),
        np.full(count, lobe),
        np.concatenate(levels),
    )


def _roots(p: Patient) -> dict[str, dict[int, tuple[float, float, float]]]:
    car, hz, back = p.carina_z, p.heart_z, p.spine_y + 4
    ul, ll = LABEL["lung_upper_lobe_left"], LABEL["lung_lower_lobe_left"]
    ur, mr, lr = (LABEL[f"lung_{part}_lobe_right"] for part in ("upper", "middle", "lower"))
    return {
        "artery": {
            ul: (-40, -20, car - 14),
            ll: (-44, -28, car - 32),
            ur: (42, -12, car - 20),
            mr: (48, -16, car - 46),
            lr: (48, -22, car - 50),
        },
        "vein": {
            ul: (-40, 0, car - 34),
            ll: (-46, -26, hz + 16 * p.heart_scale),
            ur: (44, 2, car - 42),
            mr: (46, 0, car - 50),
            lr: (48, -24, hz + 12 * p.heart_scale),
        },
        "bronchus": {
            ul: (-62, back + 52, car - 12),
            ll: (-50, back + 6, car - 78),
            ur: (54, back + 36, car + 3),
            mr: (50, back + 52, car - 56),
            lr: (46, back + 12, car - 76),
        },
    }


def grow_all(reference: Canvas, lungs: Lungs, p: Patient, leaves: int) -> dict[str, Segments]:
    """Grow arteries, veins and bronchi into every lobe.

    Parameters
    ----------
    reference, lungs
        The coarse canvas in which the lungs were built: the trees do not depend on the grid of the scan.
    p
        Patient.
    leaves
        Ends per lobe and tree, a power of two.
    """
    rng = p.rng("trees")
    share = {"artery": rng.uniform(5.2, 6.6), "vein": rng.uniform(5.0, 6.2), "bronchus": 3.4}
    parts: dict[str, list[Segments]] = {kind: [] for kind in share}
    for kind, roots in _roots(p).items():
        ends = leaves if kind != "bronchus" else max(8, leaves // 16)
        for lobe, root in roots.items():
            points = lobe_points(reference, lungs, lobe, 3.0 if kind != "bronchus" else 16.0)
            if len(points) < 30:
                continue
            chosen = points[rng.integers(0, len(points), ends)] + rng.uniform(-5, 5, (ends, 3))
            size = share[kind] * (0.68 if lobe == LABEL["lung_middle_lobe_right"] else 1.0) * np.sqrt(p.size)
            parts[kind].append(grow(np.asarray(root, float), chosen, size, rng, lobe))
    out = {}
    for kind, trees in parts.items():
        if trees:
            columns = [
                np.concatenate([getattr(t, name) for t in trees])
                for name in ("start", "stop", "radius", "lobe", "level")
            ]
            out[kind] = Segments(*columns)
    return out


def paint_vessels(c: Canvas, lungs: Lungs, trees: dict[str, Segments], p: Patient) -> None:
    """Paint arteries and veins of the lungs; inside a lobe the label stays the lobe's, as the field's masks do."""
    blood = {"artery": p.blood.pulmonary_artery, "vein": p.blood.left_heart}
    for kind, value in blood.items():
        if kind in trees:
            points, radius = trees[kind].sampled(max(1.0, 0.45 * min(c.grid.spacing_mm)))
            amount = c.tube_occupancy(points, radius) * (lungs.inside < 2.0)
            c.hu += amount * (value - c.hu).clamp(min=0.0)


def paint_bronchi(c: Canvas, lungs: Lungs, segments: Segments, *, wall: float = 0.28, lumen: float = 1.0) -> None:
    """Paint bronchi: a wall of ``wall`` times the radius round a lumen of ``lumen`` times the usual width."""
    points, radius = segments.sampled(max(1.0, 0.45 * min(c.grid.spacing_mm)), segments.radius > 0.7)
    inner = radius * lumen
    outer = c.tube_occupancy(points, inner + np.maximum(radius * wall, 0.5))
    outer = outer * (lungs.inside < 0)
    c.hu += outer * (30.0 - c.hu)
    hollow = c.tube_occupancy(points, inner) * (lungs.inside < 0)
    c.hu += hollow * (-970.0 - c.hu)
