"""Atelectasis, fibrotic sequelae, septal lines and the two findings of the bronchi."""

from __future__ import annotations

import numpy as np
import torch

from training.phantom.canvas import step
from training.phantom.classes import LABEL
from training.phantom.findings.base import WHOLE, Finding, Scene, branch, lobe_side, merge_sides, pick
from training.phantom.lungs import LOBES
from training.phantom.trees import Segments

__all__ = ["atelectasis", "bronchiectasis", "fibrosis", "peribronchial", "raise_of", "septal"]

_ALL = tuple(LOBES)
_LOWER = (LABEL["lung_lower_lobe_left"], LABEL["lung_lower_lobe_right"])
_BASAL = (*_LOWER, LABEL["lung_middle_lobe_right"])


def raise_of(rng: np.random.Generator) -> tuple[str, str, float]:
    """Draw kind and side of an atelectasis and the mm by which that half of the diaphragm stands higher."""
    kind = str(rng.choice(["band", "band", "subsegmental", "lobar"]))
    side = str(rng.choice(["left", "right"]))
    lift = {"band": rng.uniform(0, 6), "subsegmental": rng.uniform(4, 14), "lobar": rng.uniform(15, 35)}[kind]
    return kind, side, float(lift)


def _sheet(
    scene: Scene, rng: np.random.Generator, name: str, lobes: tuple[int, ...], size: float, thick: float, hu: float
) -> tuple[float, int, np.ndarray] | None:
    """Paint a flat band of ``size`` by ``thick`` mm in one of ``lobes``; returns ml, lobe and centre."""
    place = pick(scene, rng, lobes, 6.0)
    if place is None:
        return None
    c, centre = scene.body.canvas, place[0]
    box = c.box(centre, size / 2 + 2)
    if box is None:
        return None
    normal = rng.normal(size=3) * (0.5, 0.6, 1.0)
    normal /= np.linalg.norm(normal)
    d = [c.x[box] - centre[0], c.y[box] - centre[1], c.z[box] - centre[2]]
    along = normal[0] * d[0] + normal[1] * d[1] + normal[2] * d[2]
    r = (d[0].square() + d[1].square() + d[2].square()).sqrt()
    along = along + 0.0022 * r * r * float(rng.normal())
    drawn = max(thick, 0.5 * c.soft_mm)
    amount = torch.minimum(c.occupancy(along.abs() - drawn / 2), c.occupancy(r - size / 2)) * min(1.0, thick / drawn)
    amount = amount * (scene.body.lungs.inside[box] < 0) * (scene.body.lungs.lobe[box] == place[1])
    if not bool((amount > 0.05).any()):
        return None
    return scene.put(name, amount, hu, box), place[1], centre


def atelectasis(scene: Scene, rng: np.random.Generator, plan: tuple[str, str, float]) -> Finding | None:
    """Paint bands of 2-6 mm, a wedge at the base, or a collapsed lower lobe whose diaphragm stands higher.

    Severity: band mild, subsegmental moderate, lobar severe.

    Parameters
    ----------
    scene, rng
        As for every painter.
    plan
        From :func:`raise_of`, drawn before the patient because the diaphragm's height depends on it.
    """
    kind, side, _ = plan
    lobe = LABEL[f"lung_lower_lobe_{side}"]
    if kind == "band":
        number, ml, owner, size = int(rng.integers(1, 5)), 0.0, 0, 0.0
        spot = np.zeros(3)
        sides: set[str] = set()
        for _ in range(number):
            own = branch(rng)
            extent = float(own.uniform(25, 75))
            done = _sheet(scene, own, "Atelectasis", _BASAL, extent, own.uniform(2, 6), own.uniform(-60, 60))
            if done is not None:
                ml += done[0]
                sides.add(lobe_side(done[1]))
                if extent > size:
                    size, owner, spot = extent, done[1], done[2]
        if not sides:
            return None
        return Finding(
            "Atelectasis", merge_sides(sides), LOBES[owner], size, ml, number, "mild", kind, scene.world(spot)
        )
    ref = scene.reference
    region = (ref.lungs.inside < 0) & (ref.lungs.lobe == lobe)
    if int(region.sum()) < 40:
        return None
    y, z = ref.canvas.y[region], ref.canvas.z[region]
    low, back = float(z.min()), float(y.min())
    thick = float(rng.uniform(16, 34) if kind == "subsegmental" else rng.uniform(45, 80))
    lean = rng.uniform(0.35, 0.8)
    body = scene.body
    c = body.canvas
    height = c.z - low + lean * (c.y - back) + 4 * body.texture
    amount = c.occupancy(height - thick, max(c.soft_mm, 3.0)) * scene.lung() * (body.lungs.lobe == lobe)
    density = rng.uniform(35, 70) + 0.25 * (body.patient.blood.aorta - 40)
    ml = scene.put("Atelectasis", amount, c.hu.clamp(min=density))
    if ml < 1:
        return None
    at = scene.world((float(ref.canvas.x[region].double().mean()), back + 15, low + 15))
    return Finding(
        "Atelectasis", side, LOBES[lobe], thick, ml, 1, "moderate" if kind == "subsegmental" else "severe", kind, at
    )


def fibrosis(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint scars: bands of 1-3 mm and 20-70 mm long, an apical cap of 5-20 mm, or reticulation under the pleura.

    Severity: one or two bands mild, apical cap or more bands moderate, reticulation severe.
    """
    kind = str(rng.choice(["bands", "bands", "apical scar", "reticulation"]))
    if kind == "bands":
        number, ml, owner, size = int(rng.integers(1, 7)), 0.0, 0, 0.0
        sides: set[str] = set()
        spot = np.zeros(3)
        for _ in range(number):
            own = branch(rng)
            extent = float(own.uniform(20, 70))
            done = _sheet(
                scene, own, "Pulmonary fibrotic sequela", _ALL, extent, own.uniform(1, 3), own.uniform(-250, 20)
            )
            if done is not None:
                ml += done[0]
                sides.add(lobe_side(done[1]))
                if extent > size:
                    size, owner, spot = extent, done[1], done[2]
        if not sides:
            return None
        severity = "mild" if number < 3 else "moderate"
        return Finding(
            "Pulmonary fibrotic sequela",
            merge_sides(sides),
            LOBES[owner],
            size,
            ml,
            number,
            severity,
            kind,
            scene.world(spot),
        )
    return _diffuse_scar(scene, rng, kind)


def _diffuse_scar(scene: Scene, rng: np.random.Generator, kind: str) -> Finding | None:
    """Paint an apical cap or subpleural reticulation."""
    c, body = scene.body.canvas, scene.body
    side = str(rng.choice(["left", "right", "both"])) if kind == "apical scar" else "both"
    of_side = torch.ones_like(body.lungs.right) if side == "both" else body.lungs.right == (side == "right")
    inside = body.lungs.inside
    if kind == "apical scar":
        depth = float(rng.uniform(5, 20))
        region = scene.lung() & of_side & (c.z > body.patient.top_z - 2.2 * depth)
        amount = c.occupancy(-inside - depth * (0.6 + 0.4 * body.texture.clamp(-1, 1)), 4.0) * region
        value, where = rng.uniform(-120, 40), "lung apices" if side == "both" else f"{side} upper lobe"
    else:
        depth = float(rng.uniform(12, 28))
        low = 0.5 * (body.patient.dome_right + body.patient.dome_left) + 50
        region = (inside < 0) & (inside > -depth) & (c.z < low) & (c.y < 30)
        amount = region * (0.35 + 0.45 * step(body.texture + c.noise(rng, 5.0)))
        value, where = rng.uniform(-450, -150), "lower lobes"
    ml = scene.put("Pulmonary fibrotic sequela", amount, value, mark=region * 1.0 if kind == "reticulation" else None)
    if ml < 0.3:
        return None
    z = body.patient.top_z - depth if kind == "apical scar" else body.patient.dome_right - 20
    at = scene.world(((1 if side == "right" else -1) * 0.4 * body.patient.half_width, -20, z))
    return Finding(
        "Pulmonary fibrotic sequela",
        side,
        where,
        depth,
        ml,
        1,
        "moderate" if kind == "apical scar" else "severe",
        kind,
        at,
    )


def septal(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint walls of lobules, 1-2.5 mm thick and 10-25 mm apart, towards the bases or everywhere.

    Secondary lobules measure 10-25 mm (Fleischner Society glossary). Severity by thickness: below
    1.5 mm mild, below 2 mm moderate.
    """
    body = scene.body
    c = body.canvas
    thick = float(rng.uniform(1.0, 2.5))
    cell = float(rng.uniform(11, 22))
    one, two = c.noise(rng, cell), c.noise(rng, cell)
    wall = torch.minimum(one.abs(), two.abs()) * 0.42 * cell
    drawn = max(thick, 0.5 * c.soft_mm)
    reach = step((body.patient.carina_z + rng.uniform(-30, 60) - c.z) / 50)
    region = (body.lungs.inside < 0) * reach
    amount = c.occupancy(wall - drawn / 2) * min(1.0, thick / drawn) * region
    c.hu += region * rng.uniform(10, 60)
    ml = scene.put("Interlobular septal thickening", amount * 0.8, -150.0)
    if ml < 0.5:
        return None
    severity = "mild" if thick < 1.5 else "moderate" if thick < 2.0 else "severe"
    return Finding("Interlobular septal thickening", "both", "both lungs", 0.0, ml, 1, severity)


def _airways(scene: Scene, rng: np.random.Generator, lobes: tuple[int, ...]) -> Segments | None:
    trees = scene.body.trees
    if "bronchus" not in trees:
        return None
    tree = trees["bronchus"]
    keep = np.isin(tree.lobe, lobes) & (tree.radius > 0.6) & scene.view.shows(0.5 * (tree.start + tree.stop))
    if not keep.any():
        return None
    return Segments(tree.start[keep], tree.stop[keep], tree.radius[keep], tree.lobe[keep], tree.level[keep])


def _paint_airways(scene: Scene, name: str, part: Segments, lumen: float, wall: float) -> float:
    c, body = scene.body.canvas, scene.body
    points, radius = part.sampled(max(1.0, 0.45 * min(c.grid.spacing_mm)))
    inner = np.maximum(radius, 1.0) * lumen
    free = body.lungs.inside < 0
    outer = c.tube_occupancy(points, inner + wall) * free
    ml = scene.put(name, outer, 30.0)
    hollow = c.tube_occupancy(points, inner) * free
    c.blend(WHOLE, hollow, -975.0)
    return ml


def bronchiectasis(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Widen the bronchi of one lobe or of both lungs to 1.6-4 times, wider than the artery beside them.

    A broncho-arterial ratio above 1 defines it (Fleischner Society glossary). Cylindrical up to 2.4 times (mild),
    varicose up to 3.2 (moderate), cystic above (severe).
    """
    every = rng.random() < 0.35
    lobes = _ALL if every else (int(rng.choice(_ALL)),)
    part = _airways(scene, rng, lobes)
    if part is None:
        return None
    wide = float(rng.uniform(1.6, 4.0))
    ml = _paint_airways(scene, "Bronchiectasis", part, wide, rng.uniform(0.8, 1.6))
    if ml < 0.2:
        return None
    kind, severity = (
        ("cylindrical", "mild") if wide < 2.4 else ("varicose", "moderate") if wide < 3.2 else ("cystic", "severe")
    )
    size = 2 * wide * float(np.maximum(part.radius, 1.0).max())
    where, side = ("both lungs", "both") if every else (LOBES[lobes[0]], lobe_side(lobes[0]))
    at = 0.5 * (part.start + part.stop)[int(part.radius.argmax())]
    return Finding("Bronchiectasis", side, where, size, ml, 1, severity, kind, scene.world(at))


def peribronchial(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Thicken the walls of central bronchi to 1.5-4 mm: below 2 mm mild, below 3 mm moderate."""
    thick = float(rng.uniform(1.5, 4.0))
    lobes = _ALL if rng.random() < 0.7 else _LOWER
    part = _airways(scene, rng, lobes)
    if part is None:
        return None
    ml = _paint_airways(scene, "Peribronchial thickening", part, 1.0, thick)
    if ml < 0.2:
        return None
    where = "both lungs" if lobes == _ALL else "lower lobes"
    severity = "mild" if thick < 2 else "moderate" if thick < 3 else "severe"
    return Finding("Peribronchial thickening", "both", where, thick, ml, 1, severity)
