"""Findings of heart, vessels, mediastinum and devices, painted into a phantom."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.embedded.phantom.anatomy import LABEL, Body
from training.embedded.phantom.truth import PhantomFinding, Truth, mark


def medical_material(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint a pacemaker with its lead, or a central venous catheter."""
    p, side = body.patient, float(rng.choice([-1, 1]))
    where = "left" if side < 0 else "right"
    kind = rng.choice(["pacemaker", "pacemaker", "central venous catheter"])
    metal = np.zeros(truth.shape, bool)
    tip = np.array((8.0, 24.0, p.heart_centre[2]))
    vein = np.array((side * 60.0, 0.45 * p.half_depth, 0.8 * p.apex_z))
    cava = np.array((22.0, 12.0, 0.5 * p.apex_z))
    path = np.concatenate([np.linspace(vein, cava, 50), np.linspace(cava, tip, 50)])
    if kind == "pacemaker":
        centre = np.array((side * 0.62 * p.cavity_width, 0.8 * p.cavity_depth, 0.62 * p.apex_z))
        box = body.painter.box(centre, 32)
        if box is None:
            return None
        d = np.stack(
            [np.abs(c[box] - m) for c, m in zip((body.painter.x, body.painter.y, body.painter.z), centre, strict=True)]
        )
        metal[box] = (d[0] < 26) & (d[1] < rng.uniform(7, 10)) & (d[2] < 24)
        body.skin[box] |= metal[box]
        path = np.concatenate([np.linspace(centre, vein, 30), path])
    metal |= body.painter.tube(path, 2.2 if kind == "pacemaker" else 3.0) & body.skin
    body.hu[metal] = 2500.0 if kind == "pacemaker" else 900.0
    mark(truth, "Medical material", metal)
    return PhantomFinding("Medical material", where, f"{kind} on the {where}", 50.0)


def _spots(
    body: Body,
    truth: Truth,
    name: str,
    points: npt.NDArray[np.float64],
    rng: np.random.Generator,
    size: tuple[float, float],
) -> float:
    largest = 0.0
    for point in points:
        radius = rng.uniform(*size)
        hit = body.painter.ellipsoid(point, radius * rng.uniform(0.7, 1.4, 3))
        if hit is None:
            continue
        box, mask = hit
        mask &= ~(body.lung_left | body.lung_right)[box] & body.skin[box]
        body.hu[box][mask] = rng.uniform(450, 1300)
        mark(truth, name, mask, box)
        largest = max(largest, 2 * radius)
    return largest


def aortic_calcification(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint 8-29 plaques of 5-12 mm on the wall of the aorta."""
    path = body.aorta_path[20:]
    n = int(rng.integers(8, 30))
    centres = path[rng.integers(0, len(path), n)]
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    points = centres + direction * body.patient.aorta_radius
    size = _spots(body, truth, "Arterial wall calcification", points, rng, (2.5, 6.0))
    return PhantomFinding("Arterial wall calcification", None, "thoracic aorta", size, n)


def coronary_calcification(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint 5-17 plaques of 4-9 mm along the coronary arteries."""
    p, n = body.patient, int(rng.integers(5, 18))
    centre, radii = np.array(p.heart_centre), np.array(p.heart_radii)
    # the left anterior descending and right coronary arteries run on the front and upper surface
    angles = np.concatenate([rng.normal((0.2, 1.2), 0.25, (n // 2 + 1, 2)), rng.normal((0.9, 0.5), 0.25, (n // 2, 2))])
    toward = np.stack([np.sin(angles[:, 0]) - 0.3, np.sin(angles[:, 1]), np.cos(angles[:, 1])], axis=1)
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    size = _spots(body, truth, "Coronary artery wall calcification", centre + toward * radii, rng, (2.0, 4.5))
    return PhantomFinding("Coronary artery wall calcification", None, "coronary arteries", size, n)


def cardiomegaly(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Mark the heart; its size was chosen when the patient was drawn."""
    mark(truth, "Cardiomegaly", body.labels == LABEL["heart"])
    return PhantomFinding("Cardiomegaly", None, "heart", 2 * max(body.patient.heart_radii))


def pericardial_effusion(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint a layer of fluid of 8-26 mm around the heart."""
    p = body.patient
    thick = float(rng.uniform(8, 26))
    outer = np.array(p.heart_radii) + thick
    hit = body.painter.ellipsoid(np.array(p.heart_centre) - np.array((0, 0, 0.15 * thick)), outer)
    if hit is None:
        return None
    box, mask = hit
    mask &= body.cavity[box] & ~np.isin(
        body.labels[box], [LABEL["heart"], LABEL["aorta"], LABEL["bones"], LABEL["liver"]]
    )
    mask &= body.labels[box] != LABEL["trachea"]
    body.hu[box][mask] = rng.uniform(2, 22)
    body.labels[box][mask] = 0
    body.lung_left[box] &= ~mask
    body.lung_right[box] &= ~mask
    mark(truth, "Pericardial effusion", mask, box)
    return PhantomFinding("Pericardial effusion", None, "pericardium", thick)


def hiatal_hernia(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint a herniated stomach of 40-76 mm with gas behind the heart."""
    p, radius = body.patient, float(rng.uniform(20, 38))
    centre = np.array((rng.uniform(-18, 4), -p.cavity_depth + 42 + 0.4 * radius, p.base_z + 32 + rng.uniform(0, 18)))
    hit = body.painter.ellipsoid(centre, (radius, radius * 0.9, radius * 1.15))
    if hit is None:
        return None
    box, mask = hit
    mask &= ~np.isin(body.labels[box], [LABEL["aorta"], LABEL["bones"], LABEL["heart"]])
    body.hu[box][mask] = rng.uniform(10, 50)
    gas = mask & (body.painter.y[box] > centre[1] + rng.uniform(-0.3, 0.35) * radius)
    gas &= body.painter.distance(box, centre, radius * 0.85) < 1
    body.hu[box][gas] = -970
    body.labels[box][mask] = 0
    body.lung_left[box] &= ~mask
    body.lung_right[box] &= ~mask
    mark(truth, "Hiatal hernia", mask, box)
    return PhantomFinding("Hiatal hernia", None, "behind the heart", 2 * radius)


def lymphadenopathy(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    """Paint three to eight nodes of 14-32 mm at mediastinal and hilar stations."""
    p, n, largest = body.patient, int(rng.integers(3, 9)), 0.0
    for _ in range(n):
        station = np.array(((14, 2, 22), (-16, 6, 4), (0, -22, -18), (38, -12, -16), (-40, -12, -18), (4, 34, 34)))[
            rng.integers(6)
        ]
        radius = rng.uniform(7, 16)
        hit = body.painter.ellipsoid(
            np.array((0, 0, p.carina_z)) + station + rng.normal(size=3) * 6, radius * rng.uniform(0.8, 1.25, 3)
        )
        if hit is None:
            continue
        box, mask = hit
        mask &= (
            ~np.isin(body.labels[box], [LABEL["aorta"], LABEL["heart"], LABEL["trachea"], LABEL["bones"]])
            & body.cavity[box]
        )
        body.hu[box][mask] = rng.uniform(25, 75)
        body.labels[box][mask] = 0
        body.lung_left[box] &= ~mask
        body.lung_right[box] &= ~mask
        mark(truth, "Lymphadenopathy", mask, box)
        largest = max(largest, 2 * radius)
    return PhantomFinding("Lymphadenopathy", None, "mediastinum and hila", largest, n)
