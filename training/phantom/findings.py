"""The findings that a phantom can carry: 13 of the 18 of CT-RATE, with side, lobe, size and truth mask.

The other five (mosaic attenuation, peribronchial thickening, bronchiectasis, interlobular septal thickening, fibrotic
sequela) have structure finer than the 5 mm voxels of the embedded bundle and are left out on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.phantom.anatomy import LABEL, Body
from training.phantom.grid import Mask

__all__ = ["PLANTED", "PhantomFinding", "plant"]

#: Names in CT-RATE's canonical order; bit index of the truth mask.
PLANTED = (
    "Medical material",
    "Arterial wall calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Coronary artery wall calcification",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pleural effusion",
    "Consolidation",
)
BIT = {name: index for index, name in enumerate(PLANTED)}
LOBES = {
    1: "left upper lobe",
    2: "left lower lobe",
    3: "right upper lobe",
    4: "right lower lobe",
    5: "right middle lobe",
}


@dataclass(frozen=True)
class PhantomFinding:
    """One planted finding.

    Attributes
    ----------
    name
        One of :data:`PLANTED`.
    side
        ``left``, ``right``, ``both`` or None where side has no meaning.
    where
        Words for the place, such as ``right lower lobe``.
    size_mm
        Largest diameter or thickness, mm.
    count
        Number of lesions.
    """

    name: str
    side: str | None
    where: str
    size_mm: float
    count: int = 1


Truth = npt.NDArray[np.uint16]
Planter = Callable[[Body, Truth, np.random.Generator], PhantomFinding | None]


def _mark(truth: Truth, name: str, mask: Mask, box: tuple[slice, slice, slice] | None = None) -> None:
    view = truth if box is None else truth[box]
    view[mask] |= np.uint16(1 << BIT[name])


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


def _medical_material(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
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
    _mark(truth, "Medical material", metal)
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
        _mark(truth, name, mask, box)
        largest = max(largest, 2 * radius)
    return largest


def _aortic_calcification(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    path = body.aorta_path[20:]
    n = int(rng.integers(8, 30))
    centres = path[rng.integers(0, len(path), n)]
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    points = centres + direction * body.patient.aorta_radius
    size = _spots(body, truth, "Arterial wall calcification", points, rng, (2.5, 6.0))
    return PhantomFinding("Arterial wall calcification", None, "thoracic aorta", size, n)


def _coronary_calcification(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    p, n = body.patient, int(rng.integers(5, 18))
    centre, radii = np.array(p.heart_centre), np.array(p.heart_radii)
    # the left anterior descending and right coronary arteries run on the front and upper surface
    angles = np.concatenate([rng.normal((0.2, 1.2), 0.25, (n // 2 + 1, 2)), rng.normal((0.9, 0.5), 0.25, (n // 2, 2))])
    toward = np.stack([np.sin(angles[:, 0]) - 0.3, np.sin(angles[:, 1]), np.cos(angles[:, 1])], axis=1)
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    size = _spots(body, truth, "Coronary artery wall calcification", centre + toward * radii, rng, (2.0, 4.5))
    return PhantomFinding("Coronary artery wall calcification", None, "coronary arteries", size, n)


def _cardiomegaly(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    _mark(truth, "Cardiomegaly", body.labels == LABEL["heart"])
    return PhantomFinding("Cardiomegaly", None, "heart", 2 * max(body.patient.heart_radii))


def _pericardial_effusion(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
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
    _mark(truth, "Pericardial effusion", mask, box)
    return PhantomFinding("Pericardial effusion", None, "pericardium", thick)


def _hiatal_hernia(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
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
    _mark(truth, "Hiatal hernia", mask, box)
    return PhantomFinding("Hiatal hernia", None, "behind the heart", 2 * radius)


def _lymphadenopathy(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
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
        _mark(truth, "Lymphadenopathy", mask, box)
        largest = max(largest, 2 * radius)
    return PhantomFinding("Lymphadenopathy", None, "mediastinum and hila", largest, n)


def _emphysema(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
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
        _mark(truth, "Emphysema", mask, box)
        largest = max(largest, 2 * radius)
    where = "upper lobes" if upper else "both lungs"
    return PhantomFinding("Emphysema", "both", where, largest, n)


def _atelectasis(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
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
    _mark(truth, "Atelectasis", mask)
    return PhantomFinding("Atelectasis", side, LOBES[lobe], thick)


def _nodules(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
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
        _mark(truth, "Lung nodule", mask, box)
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
        _mark(truth, name, mask, box)
        sides.add(_side_of(point[1]))
        if 2 * radius > largest:
            largest, place = 2 * radius, LOBES[point[1]]
    if not sides:
        return None
    return PhantomFinding(name, sides.pop() if len(sides) == 1 else "both", place, largest, n)


def _opacity(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    return _patches(body, truth, rng, "Lung opacity", (-620, -380), (20, 48), 5)


def _consolidation(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
    return _patches(body, truth, rng, "Consolidation", (-10, 50), (20, 42), 2)


def _pleural_effusion(body: Body, truth: Truth, rng: np.random.Generator) -> PhantomFinding | None:
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
        _mark(truth, "Pleural effusion", mask)
        deepest = max(deepest, depth)
    return PhantomFinding("Pleural effusion", side, f"{side} pleural space", deepest) if deepest else None


#: In the order in which they must be painted: what moves the lungs' border first.
_ORDER: tuple[tuple[str, Planter], ...] = (
    ("Cardiomegaly", _cardiomegaly),
    ("Pericardial effusion", _pericardial_effusion),
    ("Hiatal hernia", _hiatal_hernia),
    ("Lymphadenopathy", _lymphadenopathy),
    ("Emphysema", _emphysema),
    ("Lung opacity", _opacity),
    ("Consolidation", _consolidation),
    ("Atelectasis", _atelectasis),
    ("Pleural effusion", _pleural_effusion),
    ("Lung nodule", _nodules),
    ("Arterial wall calcification", _aortic_calcification),
    ("Coronary artery wall calcification", _coronary_calcification),
    ("Medical material", _medical_material),
)


def plant(body: Body, wanted: frozenset[str], rng: np.random.Generator) -> tuple[Truth, tuple[PhantomFinding, ...]]:
    """Paint the wanted findings into ``body``.

    Returns
    -------
    truth : uint16 [X, Y, Z]
        Bit ``n`` is set where ``PLANTED[n]`` is.
    findings
        Those that found room, in canonical order.
    """
    truth = np.zeros(body.labels.shape, np.uint16)
    found = []
    for name, planter in _ORDER:
        if name in wanted:
            item = planter(body, truth, rng)
            if item is not None:
                found.append(item)
    return truth, tuple(sorted(found, key=lambda item: BIT[item.name]))
