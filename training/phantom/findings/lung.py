"""Nodules, opacities, consolidation, emphysema and mosaic attenuation."""

from __future__ import annotations

import numpy as np
import torch

from training.phantom.classes import LABEL
from training.phantom.findings.base import Finding, Scene, blob, branch, lobe_side, merge_sides, pick, pick_many
from training.phantom.lungs import LOBES
from training.phantom.trees import paint_bronchi

__all__ = ["consolidation", "emphysema", "mosaic", "nodules", "opacity"]

_ALL = tuple(LOBES)
_UPPER = (LABEL["lung_upper_lobe_left"], LABEL["lung_upper_lobe_right"])


def nodules(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint 1 to 12 nodules.

    Diameters are log-normal round 8 mm, 3 to 30 mm: a nodule is at most 30 mm (Fleischner Society glossary, Hansell et
    al., Radiology 2008). Severity follows the size groups of the Fleischner guideline for solid nodules (MacMahon et
    al., Radiology 2017): mild < 6 mm, moderate 6-8 mm, severe > 8 mm.
    """
    count = int(rng.choice([1, 1, 1, 2, 3, 4, 6, 9, 12]))
    kind = str(rng.choice(["solid", "solid", "solid", "ground glass", "part-solid", "calcified"]))
    sides: set[str] = set()
    best: tuple[float, int, np.ndarray] = (0.0, 0, np.zeros(3))
    ml, planted = 0.0, 0
    for _ in range(count):
        own = branch(rng)
        size = float(np.clip(np.exp(own.normal(np.log(9.0), 0.55)), 3.0, 30.0))
        place = pick(scene, own, _ALL, max(4.0, 0.5 * size))
        if place is None:
            continue
        radii = 0.5 * size * np.array((1.0, own.uniform(0.85, 1.0), own.uniform(0.85, 1.0)))
        found = blob(scene, own, place[0], radii, 0.0)
        if found is None:
            continue
        box, sd = found
        c = scene.body.canvas
        width = max(c.soft_mm, 2.5) if kind == "ground glass" else c.soft_mm
        thin = min(1.0, (size / c.soft_mm) ** 2)
        amount = c.occupancy(sd, width) * (scene.body.lungs.inside[box] < 1.0) * thin
        if not bool((amount > 0.03).any()):
            continue
        value = {
            "solid": own.uniform(0, 70),
            "ground glass": own.uniform(-650, -450),
            "calcified": own.uniform(250, 700),
            "part-solid": -480.0,
        }[kind]
        ml += scene.put("Lung nodule", amount, value, box)
        if kind == "part-solid":
            c.blend(box, c.occupancy(sd + 0.22 * size) * amount, 20.0)
        planted += 1
        sides.add(lobe_side(place[1]))
        if size > best[0]:
            best = (size, place[1], place[0])
    if not planted:
        return None
    size = best[0]
    severity = "mild" if size < 6 else "moderate" if size <= 8 else "severe"
    return Finding(
        "Lung nodule", merge_sides(sides), LOBES[best[1]], size, ml, planted, severity, kind, scene.world(best[2])
    )


def _patch(
    scene: Scene,
    rng: np.random.Generator,
    name: str,
    centre: np.ndarray,
    lobe: int,
    radius: float,
    value: float,
    grain: float,
) -> float:
    """Paint an uneven patch that stops at the fissures; returns ml."""
    found = blob(scene, rng, centre, radius * rng.uniform(0.75, 1.0, 3), 0.3)
    if found is None:
        return 0.0
    box, sd = found
    body = scene.body
    c = body.canvas
    blur = rng.uniform(3, 12)
    edge = c.occupancy(sd, max(c.soft_mm, min(blur, (0.5 if value < -100 else 0.15) * radius)))
    inside = scene.lung(box) if value > -100 else body.lungs.inside[box] < 0
    amount = edge * inside * (body.lungs.lobe[box] == lobe)
    density = value + grain * body.texture[box]
    lung = c.hu[box]
    return scene.put(name, amount, torch.maximum(density, lung), box)


def opacity(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint ground-glass opacities: 1 to 8 patches of 15-90 mm at -680 to -350 HU, often near the pleura of both lungs.

    Ground glass leaves vessels visible (Fleischner Society glossary), so it never darkens what it lies on. Severity by
    share of both lungs: mild < 5 %, moderate < 25 %, severe above (the steps of the lobar CT severity score used for
    COVID-19 pneumonia).
    """
    count = int(rng.choice([1, 1, 2, 3, 5, 8]))
    value = rng.uniform(-680, -350)
    outer = rng.random() < 0.6
    best: tuple[float, int, np.ndarray] = (0.0, 0, np.zeros(3))
    sides: set[str] = set()
    ml, planted = 0.0, 0
    for _ in range(count):
        own = branch(rng)
        place = pick(scene, own, _ALL, 5.0 if outer else 15.0)
        if place is None:
            continue
        size = float(np.exp(own.uniform(np.log(15), np.log(90))))
        more = _patch(scene, own, "Lung opacity", place[0], place[1], size / 2, value, 55.0)
        if more <= 0.05:
            continue
        ml, planted = ml + more, planted + 1
        sides.add(lobe_side(place[1]))
        if size > best[0]:
            best = (size, place[1], place[0])
    if not planted:
        return None
    share = ml / max(lung_ml(scene), 1.0)
    severity = "mild" if share < 0.05 else "moderate" if share < 0.25 else "severe"
    where = (
        LOBES[best[1]] if len(sides) == 1 and planted <= 2 else "both lungs" if len(sides) > 1 else f"{min(sides)} lung"
    )
    return Finding(
        "Lung opacity", merge_sides(sides), where, best[0], ml, planted, severity, "ground glass", scene.world(best[2])
    )


def lung_ml(scene: Scene) -> float:
    """Return the volume of both lungs from the reference, ml."""
    ref = scene.reference
    return int((ref.lungs.inside < 0).sum()) * ref.canvas.grid.voxel_ml


def consolidation(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint 1 or 2 consolidations of 20-100 mm, or a whole lobe, at 20-55 HU with air bronchograms.

    Severity: mild below 40 mm, moderate below 80 mm, severe above or a whole lobe.
    """
    count = int(rng.choice([1, 1, 1, 2]))
    best: tuple[float, int, np.ndarray] = (0.0, 0, np.zeros(3))
    sides: set[str] = set()
    ml, planted, kind = 0.0, 0, "segmental"
    body = scene.body
    for _ in range(count):
        own = branch(rng)
        place = pick(scene, own, _ALL, 8.0)
        if place is None:
            continue
        size = float(np.exp(own.uniform(np.log(20), np.log(100))))
        before = scene.truth.bits.clone()
        more = _patch(scene, own, "Consolidation", place[0], place[1], size / 2, own.uniform(20, 55), 9.0)
        if more <= 0.05:
            continue
        inside = scene.truth.bits != before
        if "bronchus" in body.trees and size > 30:  # air bronchograms
            dense = body.canvas.hu.clone()
            paint_bronchi(body.canvas, body.lungs, body.trees["bronchus"], wall=0.05)
            body.canvas.hu = torch.where(inside, body.canvas.hu, dense)
        ml, planted = ml + more, planted + 1
        sides.add(lobe_side(place[1]))
        if size > best[0]:
            best = (size, place[1], place[0])
    if not planted:
        return None
    severity = "mild" if best[0] < 40 else "moderate" if best[0] < 80 else "severe"
    return Finding(
        "Consolidation", merge_sides(sides), LOBES[best[1]], best[0], ml, planted, severity, kind, scene.world(best[2])
    )


def emphysema(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint lucencies of 4-40 mm without walls.

    Centrilobular ones mostly in the upper lobes, panlobular ones in the lower lobes, paraseptal ones along the pleura.
    Grades after the Fleischner Society's CT-definable subtypes (Lynch et al., Radiology 2015): mild 0.5-5 % of the
    lung, moderate above 5 %; severe stands for confluent and advanced destructive emphysema, here above 15 %.
    """
    kind = str(rng.choice(["centrilobular", "centrilobular", "centrilobular", "paraseptal", "panlobular"]))
    severity = str(rng.choice(["mild", "moderate", "severe"], p=[0.3, 0.4, 0.3]))
    lobes = {
        "centrilobular": _UPPER if rng.random() < 0.6 else _ALL,
        "paraseptal": _UPPER,
        "panlobular": (LABEL["lung_lower_lobe_left"], LABEL["lung_lower_lobe_right"]),
    }[kind]
    goal = {"mild": rng.uniform(0.012, 0.05), "moderate": rng.uniform(0.06, 0.15), "severe": rng.uniform(0.16, 0.35)}[
        severity
    ]
    largest = {"mild": 14.0, "moderate": 24.0, "severe": 42.0}[severity]
    sizes = np.exp(rng.uniform(np.log(4.0), np.log(largest), 900)) / 2
    total = np.cumsum(4.19e-3 * sizes**3)
    number = int(np.searchsorted(total, 1.35 * goal * lung_ml(scene)) + 1)
    points, owner = pick_many(scene, rng, lobes, 2.0 if kind == "paraseptal" else 5.0, min(number, 900))
    if not owner:
        return None
    points = points + rng.uniform(-4, 4, points.shape)
    c = scene.body.canvas
    amount = c.tube_occupancy(points, sizes[: len(points)]) * (scene.body.lungs.inside < 0)
    ml = scene.put("Emphysema", amount * 0.92, rng.uniform(-1000, -965))
    if ml <= 0.1:
        return None
    where = "upper lobes" if lobes == _UPPER else "lower lobes" if kind == "panlobular" else "both lungs"
    biggest = int(sizes[: len(points)].argmax())
    return Finding(
        "Emphysema", "both", where, 2 * float(sizes[biggest]), ml, 1, severity, kind, scene.world(points[biggest])
    )


def mosaic(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint patches of lobules, about 15-40 mm across, that differ by 60-220 HU with sharp borders.

    Mild up to 100 HU, moderate up to 160 HU, severe above; air trapping in healthy lungs stays below a quarter of the
    lung and is not painted.
    """
    contrast = float(rng.uniform(60, 220))
    c = scene.body.canvas
    field = c.noise(rng, rng.uniform(16, 30))
    dark = c.occupancy(-(field - rng.uniform(-0.1, 0.5)) * 9.0) * (scene.body.lungs.inside < 0)
    bright = (scene.body.lungs.inside < 0) * 1.0
    c.hu += 0.45 * contrast * bright * (1 - dark)
    c.hu -= torch.where(c.hu < -500, 0.55 * contrast * dark, 0.0)
    c.hu.clamp_(min=-1000)
    scene.truth.mark("Mosaic attenuation pattern", dark)
    ml = float(dark.sum()) * c.grid.voxel_ml
    if ml < 1:
        return None
    severity = "mild" if contrast < 100 else "moderate" if contrast < 160 else "severe"
    return Finding("Mosaic attenuation pattern", "both", "both lungs", 0.0, ml, 1, severity)
