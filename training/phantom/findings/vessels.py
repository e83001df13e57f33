"""Calcified arteries and enlarged lymph nodes."""

from __future__ import annotations

import numpy as np

from training.phantom.classes import LABEL
from training.phantom.findings.base import Finding, Scene, blob, branch, merge_sides
from training.phantom.grid import Points
from training.phantom.heart import heart_axes
from training.phantom.patient import Patient

__all__ = ["aortic_calcification", "coronary_calcification", "coronary_paths", "lymphadenopathy"]


def _plaques(
    scene: Scene, rng: np.random.Generator, name: str, points: Points, size: tuple[float, float]
) -> tuple[float, float, int, Points]:
    """Paint small dense bodies; returns ml, the largest extent in mm, their number and where the largest is."""
    ml, largest, number, spot = 0.0, 0.0, 0, np.zeros(3)
    c = scene.body.canvas
    for point in points[scene.view.shows(points)]:
        own = branch(rng)
        extent = float(np.exp(own.uniform(*np.log(size))))
        radii = 0.5 * extent * np.array((1.0, own.uniform(0.35, 0.7), own.uniform(0.5, 1.0)))[own.permutation(3)]
        found = blob(scene, own, point, np.maximum(radii, 0.7), 0.0)
        if found is None:
            continue
        box, sd = found
        thin = min(1.0, float(np.prod(2 * radii)) / c.soft_mm**3 + 0.1)
        amount = c.occupancy(sd) * thin * (scene.body.lungs.inside[box] > -1.5)
        before = ml
        ml += scene.put(name, amount, own.uniform(500, 1300), box)
        number += ml > before
        if extent > largest:
            largest, spot = extent, point
    return ml, largest, number, spot


def aortic_calcification(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint 3 to 60 plaques of 3-18 mm on the wall of the aorta, most on arch and descending part.

    Mild below 10 plaques, moderate below 25, severe above.
    """
    goal = int(np.exp(rng.uniform(np.log(3), np.log(60))))
    path, radius = scene.body.mediastinum.paths["aorta"]
    weight = np.linspace(0.3, 1.0, len(path))
    at = rng.choice(len(path) - 8, goal, p=(weight[:-8] / weight[:-8].sum()))
    toward = rng.normal(size=(goal, 3))
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    along = path[at + 4] - path[at]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    toward -= along * (toward * along).sum(axis=1, keepdims=True)
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    points = path[at] + toward * radius[at, None] * 0.96
    ml, largest, number, spot = _plaques(scene, rng, "Arterial wall calcification", points, (3.0, 18.0))
    if not number:
        return None
    severity = "mild" if number < 10 else "moderate" if number < 25 else "severe"
    return Finding(
        "Arterial wall calcification", None, "thoracic aorta", largest, ml, number, severity, "", scene.world(spot)
    )


def _surface(p: Patient, directions: Points) -> Points:
    """Return the points of the heart's surface in the given directions from its centre."""
    start = np.array((p.heart_x, p.heart_y, p.heart_z))
    distance = np.arange(5.0, 110.0, 1.0)
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    ray = start + unit[:, None, :] * distance[None, :, None]
    inside = np.zeros(ray.shape[:2], bool)
    for centre, radii, axes in heart_axes(p).values():
        local = (ray - centre) @ axes.T / (radii + 2.5)
        inside |= (local**2).sum(axis=2) < 1
    last = distance[np.where(inside.any(axis=1), inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1), 0)]
    return start + unit * last[:, None]


def coronary_paths(p: Patient) -> dict[str, Points]:
    """Return points [n, 3] along the three coronary arteries on the surface of the heart, patient mm."""
    t = np.linspace(0, 1, 30)[:, None]
    lines = {
        "left anterior descending artery": ((-0.25, 0.35, 0.8), (-0.55, 0.85, 0.2), (-0.8, 0.75, -0.4)),
        "left circumflex artery": ((-0.35, 0.1, 0.8), (-0.95, -0.2, 0.3), (-0.8, -0.6, -0.3)),
        "right coronary artery": ((0.35, 0.55, 0.75), (0.8, 0.6, 0.0), (0.55, 0.0, -0.85)),
    }
    out = {}
    for name, (a, b, c) in lines.items():
        towards = (1 - t) ** 2 * np.array(a) + 2 * t * (1 - t) * 1.1 * np.array(b) + t**2 * np.array(c)
        out[name] = _surface(p, towards)
    return out


def coronary_calcification(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint 1 to 30 plaques of 2-14 mm along one to three coronary arteries.

    Severity by the number of arteries: the visual ordinal score counts arteries and extent (Shemesh et al., Radiology
    2010).
    """
    paths = coronary_paths(scene.body.patient)
    arteries = int(rng.choice([1, 2, 3]))
    names = [next(iter(paths)), *rng.permutation(list(paths)[1:])][:arteries]
    ml, largest, number, spot = 0.0, 0.0, 0, np.zeros(3)
    for name in names:
        own = branch(rng)
        per = int(np.exp(own.uniform(np.log(1.5), np.log(11))))
        path = paths[str(name)]
        points = path[own.integers(0, len(path) // 2 + 4, per)] + own.normal(0, 0.8, (per, 3))
        more, size, count, at = _plaques(scene, own, "Coronary artery wall calcification", points, (2.0, 14.0))
        ml, number = ml + more, number + count
        if size > largest:
            largest, spot = size, at
    if not number:
        return None
    severity = ("mild", "moderate", "severe")[arteries - 1]
    place = str(names[0]) if arteries == 1 else "coronary arteries"
    return Finding(
        "Coronary artery wall calcification", None, place, largest, ml, number, severity, "", scene.world(spot)
    )


def _stations(p: Patient) -> dict[str, tuple[float, float, float]]:
    """Return stations of the international node map by plain names, and where they lie, patient mm."""
    car, back = p.carina_z, p.spine_y
    return {
        "right paratracheal": (17, back + 46, car + 26),
        "left paratracheal": (-17, back + 44, car + 12),
        "aortopulmonary window": (-26, 0, car + 8),
        "subcarinal": (2, back + 36, car - 20),
        "right hilar": (48, back + 36, car - 26),
        "left hilar": (-50, back + 34, car - 22),
        "prevascular": (2, 0.6 * p.half_depth, car + 14),
        "right axillary": (p.half_width + 22, 6, p.top_z - 42),
        "left axillary": (-p.half_width - 22, 6, p.top_z - 42),
    }


def lymphadenopathy(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint 1 to 9 nodes with a short axis of 10.5-40 mm at 25-80 HU.

    A short axis above 10 mm counts as enlarged and from 15 mm as pathological in RECIST 1.1 (Eisenhauer et al., 2009):
    mild below 15 mm, moderate below 25 mm, severe above.
    """
    stations = _stations(scene.body.patient)
    shown = [name for name, at in stations.items() if scene.view.shows(np.array([at], float), 8.0)[0]]
    if not shown:
        return None
    count = int(rng.choice([1, 2, 3, 5, 7, 9]))
    group = rng.permutation(shown)[: int(rng.integers(1, min(4, len(shown)) + 1))]
    ml, planted = 0.0, 0
    best: tuple[float, str, Points] = (0.0, "", np.zeros(3))
    sides: set[str] = set()
    for n in range(count):
        own = branch(rng)
        name = str(group[n % len(group)])
        short = float(np.clip(np.exp(own.normal(np.log(16), 0.4)), 10.5, 40.0))
        centre = np.array(stations[name]) + own.normal(0, 3.0, 3)
        radii = 0.5 * short * np.array((1.0, 1.0, own.uniform(1.1, 1.6)))
        found = blob(scene, own, centre, radii, 0.08)
        if found is None:
            continue
        box, sd = found
        body = scene.body
        m = body.mediastinum
        blocked = (m.airway[box] < 1.5) | (m.heart[box] < 0.0) | (body.canvas.labels[box] == LABEL["vertebrae"])
        for key in ("aorta", "pulmonary_artery", "superior_vena_cava"):
            blocked |= m.tubes[key][box] < 0.0
        amount = body.canvas.occupancy(sd) * ~blocked
        more = scene.put("Lymphadenopathy", amount, own.uniform(25, 60) + 0.2 * (body.patient.blood.aorta - 40), box, 0)
        if more < 0.15:
            continue
        ml, planted = ml + more, planted + 1
        sides.add("left" if "left" in name else "right" if "right" in name else "middle")
        if short > best[0]:
            best = (short, name, centre)
    if not planted:
        return None
    side = merge_sides(sides - {"middle"}) if "middle" not in sides else None
    severity = "mild" if best[0] < 15 else "moderate" if best[0] < 25 else "severe"
    return Finding("Lymphadenopathy", side, best[1], best[0], ml, planted, severity, "", scene.world(best[2]))
