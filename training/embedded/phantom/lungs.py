"""Findings of lung and pleura, painted into a phantom."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.embedded.phantom.anatomy import Body
from training.embedded.phantom.grid import Mask
from training.embedded.phantom.truth import LOBES, PhantomFinding, Truth, mark


def _lung_point(
    body: Body, rng: np.random.Generator, lobes: tuple[int, ...]
) -> tuple[npt.NDArray[np.float64], int] | None:
    """Random lung voxel of one of ``lobes`` in patient mm, and its lobe."""
    index = np.flatnonzero(np.isin(body.lobes, lobes) & (body.lung_left | body.lung_right))
    if index.size == 0:
        return None
    at = np.unravel_index(rng.choice(index), body.lobes.shape)
    p = body.painter
    return np.array([p.x[at], p.y[at], p.z[at]], float), int(body.lobes[at])


def _side_of(lobe: int) -> str:
    return "left" if lobe in (1, 2) else "right"


def _blob(
    body: Body, centre: npt.NDArray[np.float64], radius: float, rng: np.random.Generator
) -> tuple[tuple[slice, slice, slice], Mask, npt.NDArray[np.float32]] | None:
    """Box, lung mask and soft weight (1 inside, 0 outside) of an irregular blob."""
    box = body.painter.box(centre, radius * 1.5)
    if box is None:
        return None
    radii = radius * rng.uniform(0.8, 1.2, 3)
    d = body.painter.distance(box, centre, radii)
    x, y, z = body.painter.x[box], body.painter.y[box], body.painter.z[box]
    k = rng.uniform(0.6, 1.4, 3) * 2 * np.pi / (0.9 * radius)
    phase = rng.uniform(0, 6.28, 3)
    d = d + 0.16 * (np.sin(k[0] * x + phase[0]) + np.sin(k[1] * y + phase[1]) + np.sin(k[2] * z + phase[2])) / 1.5
    lung = (body.lung_left | body.lung_right)[box]
    weight = np.clip((1.15 - d) / 0.3, 0.0, 1.0).astype(np.float32)
    return box, lung & (d < 1.0), weight * lung


def emphysema(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint spheres of destroyed lung, 12-44 mm, mostly in the upper lobes."""
    n = int(rng.integers(12, 45))
    upper = rng.random() < 0.75
    lobes = (1, 3) if upper else (1, 2, 3, 4, 5)
    largest = 0.0
    for _ in range(n):
        point = _lung_point(body, rng, lobes)
        if point is None:
            return None
        radius = rng.uniform(6, 22)
        hit = body.painter.ellipsoid(point[0], radius * rng.uniform(0.8, 1.2, 3))
        if hit is None:
            continue
        box, mask = hit
        mask &= (body.lung_left | body.lung_right)[box]
        body.hu[box][mask] = rng.uniform(-1000, -960)
        mark(truth, "Emphysema", mask, box)
        largest = max(largest, 2 * radius)
    where = "upper lobes" if upper else "both lungs"
    return PhantomFinding("Emphysema", "both", where, largest, n)


def atelectasis(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint dense lung along the floor of one lower lobe, 14-40 mm high; the diaphragm was raised beforehand."""
    side = str(rng.choice(["left", "right"]))
    lobe = 2 if side == "left" else 4
    lung = body.lung_left if side == "left" else body.lung_right
    in_lobe = lung & (body.lobes == lobe)
    if in_lobe.sum() < 50:
        return None
    p = body.painter
    low = float(np.quantile(p.z[in_lobe], 0.02))
    thick = float(rng.uniform(14, 40))
    tilt = rng.uniform(0.15, 0.7)
    y_back = float(np.quantile(p.y[in_lobe], 0.05))
    mask = in_lobe & (p.z - low + tilt * (p.y - y_back) < thick)
    body.hu[mask] = rng.uniform(40, 95) + 0.25 * body.patient.contrast_hu
    mark(truth, "Atelectasis", mask)
    return PhantomFinding("Atelectasis", side, LOBES[lobe], thick)


def nodules(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint one to five nodules of 12-34 mm: below about 10 mm the 5 mm grid shows nothing."""
    n = int(rng.choice([1, 1, 1, 2, 3, 5]))
    largest, place, sides = 0.0, "", set()
    for _ in range(n):
        point = _lung_point(body, rng, (1, 2, 3, 4, 5))
        if point is None:
            return None
        radius = float(np.exp(rng.uniform(np.log(6.0), np.log(17.0))))
        hit = body.painter.ellipsoid(point[0], radius * rng.uniform(0.85, 1.15, 3))
        if hit is None:
            continue
        box, mask = hit
        mask &= (body.lung_left | body.lung_right)[box]
        body.hu[box][mask] = rng.uniform(5, 80)
        mark(truth, "Lung nodule", mask, box)
        sides.add(_side_of(point[1]))
        if 2 * radius > largest:
            largest, place = 2 * radius, LOBES[point[1]]
    if not sides:
        return None
    return PhantomFinding("Lung nodule", sides.pop() if len(sides) == 1 else "both", place, largest, n)


def _patches(
    body: Body,
    truth: Truth,
    rng: np.random.Generator,
    name: str,
    hu: tuple[float, float],
    size: tuple[float, float],
    most: int,
) -> PhantomFinding | None:
    n = int(rng.integers(1, most + 1))
    largest, place, sides = 0.0, "", set()
    for _ in range(n):
        point = _lung_point(body, rng, (1, 2, 3, 4, 5))
        if point is None:
            return None
        radius = rng.uniform(*size)
        blob = _blob(body, point[0], radius, rng)
        if blob is None or not blob[1].any():
            continue
        box, mask, weight = blob
        value = rng.uniform(*hu)
        grain = rng.normal(0, 60 if name == "Lung opacity" else 25, mask.shape).astype(np.float32)
        if name == "Consolidation":  # air bronchograms
            grain[rng.random(mask.shape) < 0.07] -= 700
        body.hu[box] = np.where(weight > 0, body.hu[box] * (1 - weight) + (value + grain) * weight, body.hu[box])
        mark(truth, name, mask, box)
        sides.add(_side_of(point[1]))
        if 2 * radius > largest:
            largest, place = 2 * radius, LOBES[point[1]]
    if not sides:
        return None
    return PhantomFinding(name, sides.pop() if len(sides) == 1 else "both", place, largest, n)


def opacity(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint patches of ground glass, -620 to -380 HU, 40-96 mm."""
    return _patches(body, truth, rng, "Lung opacity", (-620, -380), (20, 48), 5)


def consolidation(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint dense patches with air bronchograms, 40-84 mm."""
    return _patches(body, truth, rng, "Consolidation", (-10, 50), (20, 42), 2)


def pleural_effusion(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Fill the dependent part of one or both lungs with fluid, 16-70 mm deep."""
    side = str(rng.choice(["left", "right", "both"]))
    deepest = 0.0
    for name, lung in (("left", body.lung_left), ("right", body.lung_right)):
        if side not in (name, "both") or lung.sum() < 50:
            continue
        p = body.painter
        back = float(np.quantile(p.y[lung], 0.01))
        depth = float(rng.uniform(16, 70))
        low = float(np.quantile(p.z[lung], 0.01))
        mask = lung & (p.y - back < depth - 0.22 * np.maximum(0, p.z - low) + 6)
        body.hu[mask] = rng.uniform(-2, 22)
        body.labels[mask] = 0
        lung &= ~mask
        mark(truth, "Pleural effusion", mask)
        deepest = max(deepest, depth)
    return PhantomFinding("Pleural effusion", side, f"{side} pleural space", deepest) if deepest else None
