"""Normal anatomy of the chest as implicit shapes in RAS mm, with variation between patients.

Sizes follow textbook ranges of adults: thoracic width 24-34 cm, heart 10-14 cm across, aorta 2.5-3.8 cm,
trachea 1.5-2.2 cm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from training.embedded.phantom.grid import Field, Mask, Painter

__all__ = ["CLASSES", "Body", "Patient", "build_body", "random_patient"]

#: label -> name; the segmentation decoder's classes.
CLASSES = (
    "background",
    "lung_left",
    "lung_right",
    "heart",
    "aorta",
    "lung_vessels",
    "bones",
    "liver",
    "trachea",
)
LABEL = {name: index for index, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class Patient:
    """Parameters of one patient, mm and HU, drawn once per seed."""

    half_width: float
    half_depth: float
    fat_mm: float
    cavity_width: float
    cavity_depth: float
    apex_z: float
    base_z: float
    dome_right: float
    dome_left: float
    mediastinum: float
    heart_radii: tuple[float, float, float]
    heart_centre: tuple[float, float, float]
    aorta_radius: float
    trachea_radius: float
    carina_z: float
    contrast_hu: float
    lung_hu: float
    fat_hu: float
    muscle_hu: float
    bone_hu: float
    female: bool
    age: int
    heart_scale: float = 1.0
    seed: int = 0


@dataclass
class Body:
    """Fields being painted. Everything is indexed [x, y, z] of the grid."""

    painter: Painter
    patient: Patient
    hu: Field
    labels: npt.NDArray[np.uint8]
    lung_left: Mask
    lung_right: Mask
    cavity: Mask
    skin: Mask
    lobes: npt.NDArray[np.uint8]
    aorta_path: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))


def random_patient(rng: np.random.Generator, *, heart_scale: float, raise_right: float, raise_left: float) -> Patient:
    """Draw a patient.

    Parameters
    ----------
    rng
        Source of randomness.
    heart_scale
        Size of the heart against the usual for this chest (1.0; cardiomegaly is above 1.25).
    raise_right, raise_left
        Elevation of each half of the diaphragm, mm (volume loss).
    """
    u = rng.uniform
    female = bool(rng.random() < 0.5)
    size = u(0.88, 1.12) * (0.95 if female else 1.03)
    fat = u(6, 38)
    wall = u(14, 26)
    cavity_width, cavity_depth = 128 * size * u(0.93, 1.07), 92 * size * u(0.9, 1.1)
    base = -105 * size * u(0.85, 1.15)
    heart = np.array([53.0, 42.0, 48.0]) * size * u(0.92, 1.06) * heart_scale
    return Patient(
        half_width=cavity_width + wall + fat,
        half_depth=cavity_depth + wall + fat * 0.8,
        fat_mm=fat,
        cavity_width=cavity_width,
        cavity_depth=cavity_depth,
        apex_z=118 * size * u(0.9, 1.1),
        base_z=base,
        dome_right=38 * u(0.7, 1.3) + raise_right,
        dome_left=28 * u(0.7, 1.3) + raise_left,
        mediastinum=26 * size * u(0.8, 1.25),
        heart_radii=(float(heart[0]), float(heart[1]), float(heart[2])),
        heart_centre=(-22 * u(0.6, 1.4), 22 * u(0.6, 1.4), base + 62 * u(0.9, 1.15)),
        aorta_radius=u(12.5, 18.5),
        trachea_radius=u(7.0, 10.5),
        carina_z=28 * u(0.5, 1.4),
        contrast_hu=float(rng.choice([0.0, 0.0, u(60, 160), u(160, 320)])),
        lung_hu=u(-905, -790),
        fat_hu=u(-115, -85),
        muscle_hu=u(35, 65),
        bone_hu=u(180, 420),
        female=female,
        age=int(rng.integers(25, 90)),
        heart_scale=heart_scale,
        seed=int(rng.integers(2**31)),
    )


def _diaphragm(p: Patient, x: Field, y: Field) -> Field:
    """Height of the diaphragm, mm, over each (x, y)."""
    w = p.cavity_width
    right = p.dome_right * np.exp(-(((x - 0.5 * w) / (0.48 * w)) ** 2) - ((y - 8) / (0.75 * p.cavity_depth)) ** 2)
    left = p.dome_left * np.exp(-(((x + 0.5 * w) / (0.48 * w)) ** 2) - ((y - 8) / (0.75 * p.cavity_depth)) ** 2)
    slope = 0.35 * np.minimum(0.0, y)  # the posterior recess reaches lower
    return np.asarray(p.base_z + right + left + slope, np.float32)


def _cavity(p: Patient, x: Field, y: Field, z: Field) -> Mask:
    """Inside of the rib cage: narrows to the apex."""
    t = np.clip((z - 0.15 * p.apex_z) / (0.9 * p.apex_z), 0.0, 1.05)
    narrow = np.sqrt(np.maximum(1.0 - t**2.2, 0.0))
    a, b = p.cavity_width * (0.25 + 0.75 * narrow), p.cavity_depth * (0.35 + 0.65 * narrow)
    inside = (np.abs(x) / a) ** 2.3 + (np.abs(y) / b) ** 2.3 <= 1.0
    return np.asarray(inside & (z < p.apex_z), bool)


def build_body(painter: Painter, p: Patient, rng: np.random.Generator) -> Body:
    """Paint soft tissue, bones, lungs and mediastinum; findings are added afterwards."""
    x, y, z = painter.x, painter.y, painter.z
    hu = np.full(painter.grid.shape, -1000.0, np.float32)
    labels = np.zeros(painter.grid.shape, np.uint8)
    shoulder = np.clip((z - 0.75 * p.apex_z) / 60.0, 0.0, 1.0)
    half_width = p.half_width * (1 + 0.22 * shoulder)
    half_depth = p.half_depth * (1 - 0.12 * shoulder)
    r = (np.abs(x) / half_width) ** 2.4 + (np.abs(y) / half_depth) ** 2.4
    skin = r <= 1.0
    hu[skin] = p.fat_hu
    muscle = (np.abs(x) / (half_width - p.fat_mm)) ** 2.4 + (np.abs(y) / (half_depth - 0.8 * p.fat_mm)) ** 2.4 <= 1.0
    hu[muscle] = p.muscle_hu
    cavity = _cavity(p, x, y, z) & muscle
    above = z > _diaphragm(p, x, y)
    body = Body(painter, p, hu, labels, above, above, cavity, skin, np.zeros(painter.grid.shape, np.uint8))
    if p.female:
        _breasts(body, rng)
    _abdomen(body, cavity & ~above, rng)
    hu[cavity & above] = p.fat_hu * 0.7 + 20
    _bones(body, rng)
    _lungs(body, cavity & above)
    _heart_and_vessels(body, rng)
    _airways(body, rng)
    _lung_vessels(body, rng)
    return body


def _breasts(body: Body, rng: np.random.Generator) -> None:
    p = body.patient
    radius = rng.uniform(30, 65)
    for side in (-1, 1):
        hit = body.painter.ellipsoid((side * 0.5 * p.half_width, p.half_depth * 0.92, 0.1 * p.base_z), radius)
        if hit is not None:
            box, mask = hit
            mask &= body.hu[box] < -900
            body.hu[box][mask] = p.fat_hu + 10
            body.skin[box] |= mask


def _abdomen(body: Body, below: Mask, rng: np.random.Generator) -> None:
    p = body.patient
    enhanced = 0.3 * p.contrast_hu
    body.hu[below] = p.fat_hu * rng.uniform(0.2, 0.9)
    x, y, z = body.painter.x, body.painter.y, body.painter.z
    liver = below & (x > -0.35 * p.cavity_width * (1 + 0.006 * (z - p.base_z))) & (y > -0.75 * p.cavity_depth)
    liver &= z > p.base_z - rng.uniform(70, 130)
    body.hu[liver] = rng.uniform(45, 68) + enhanced
    body.labels[liver] = LABEL["liver"]
    for centre, radii, value in (
        ((-0.66 * p.cavity_width, -0.35 * p.cavity_depth, p.base_z - 5), (32, 38, 45), 50 + enhanced),
        ((-0.45 * p.cavity_width, 0.25 * p.cavity_depth, p.base_z - 8), (38, 32, 40), rng.uniform(0, 40)),
    ):
        hit = body.painter.ellipsoid(centre, radii)
        if hit is not None:
            box, mask = hit
            mask &= below[box]
            body.hu[box][mask] = value
            body.labels[box][mask] = 0
    bubble = body.painter.ellipsoid((-0.45 * p.cavity_width, 0.45 * p.cavity_depth, p.base_z + 8), rng.uniform(8, 22))
    if bubble is not None:
        box, mask = bubble
        mask &= below[box] & (body.labels[box] == 0)
        body.hu[box][mask] = -950


def _bones(body: Body, rng: np.random.Generator) -> None:
    p, (x, y, z) = body.patient, (body.painter.x, body.painter.y, body.painter.z)
    a, b = p.cavity_width, p.cavity_depth
    t = np.clip((z - 0.15 * p.apex_z) / (0.9 * p.apex_z), 0.0, 1.05)
    narrow = np.sqrt(np.maximum(1.0 - t**2.2, 0.0))
    shell = (np.abs(x) / (a * (0.25 + 0.75 * narrow))) ** 2.3 + (np.abs(y) / (b * (0.35 + 0.65 * narrow))) ** 2.3
    pitch = rng.uniform(26, 34)
    phase = (z - 0.38 * y) / pitch + rng.random()
    rib = (shell > 1.0) & (shell < 1.0 + 20.0 / a) & ((phase - np.floor(phase)) < 0.36) & (z < 0.95 * p.apex_z)
    rib &= body.hu > p.fat_hu + 50
    body.hu[rib] = p.bone_hu + 80
    spine_y = -p.cavity_depth + rng.uniform(2, 12)
    wide, deep = rng.uniform(16, 22), rng.uniform(14, 18)
    vertebra = (x / wide) ** 2 + ((y - spine_y) / deep) ** 2 <= 1.0
    disc = np.abs(z / 27.0 - np.round(z / 27.0)) < 0.1
    arch = (np.abs(x) < 26) & (np.abs(y - spine_y + 34) < 13) & ~((x / 9.0) ** 2 + ((y - spine_y + 26) / 9.0) ** 2 <= 1)
    arch &= (np.abs(z / 27.0 - np.round(z / 27.0)) > 0.2) & (np.abs(x) < 8 + 0.9 * np.abs(y - spine_y + 47))
    bone = np.broadcast_to(vertebra | arch, body.hu.shape) & body.skin
    body.hu[bone] = p.bone_hu
    body.hu[bone & disc] = p.muscle_hu + 40
    sternum = (np.abs(x) < 20) & (np.abs(y - b * (0.35 + 0.65 * narrow) - 6) < 7) & (z > 0.35 * p.base_z)
    sternum &= (z < 0.8 * p.apex_z) & body.skin
    body.hu[sternum] = p.bone_hu * 0.7
    body.labels[(bone & ~disc) | rib | sternum] = LABEL["bones"]
    for side in (-1, 1):
        path = np.linspace((side * 22, 0.5 * b, 0.86 * p.apex_z), (side * 0.95 * p.half_width, 0.0, p.apex_z), 40)
        blade = np.linspace(
            (side * 0.75 * a, -1.12 * b, 0.2 * p.apex_z), (side * 0.98 * a, -0.8 * b, 0.85 * p.apex_z), 40
        )
        for mask in (body.painter.tube(path, 7.0), body.painter.tube(blade, 6.0)):
            mask &= body.skin & ~body.cavity
            body.hu[mask] = p.bone_hu + 60
            body.labels[mask] = LABEL["bones"]


def _lungs(body: Body, inside: Mask) -> None:
    p, (x, y, z) = body.patient, (body.painter.x, body.painter.y, body.painter.z)
    width = p.mediastinum * (0.75 + 0.35 * np.clip(-y / p.cavity_depth, -0.6, 0.9))
    midline = -4.0
    spine = ((x / 28.0) ** 2 + ((y + p.cavity_depth - 6) / 30.0) ** 2) <= 1.0
    free = inside & ~spine & (body.labels != LABEL["bones"])
    body.lung_right = free & (x - midline > width)
    body.lung_left = free & (midline - x > width)
    lung = body.lung_left | body.lung_right
    body.hu[lung] = (p.lung_hu - 0.35 * (y + 0 * z))[lung]  # dependent lung is denser
    body.labels[body.lung_left] = LABEL["lung_left"]
    body.labels[body.lung_right] = LABEL["lung_right"]
    fissure = z < 5.0 - 0.9 * y
    body.lobes[body.lung_left] = np.where(fissure, 2, 1)[body.lung_left]
    middle = fissure & (y > 20) & (z < 0)
    body.lobes[body.lung_right] = np.where(middle, 5, np.where(fissure & (y < 35), 4, 3))[body.lung_right]


def aorta_path(p: Patient) -> npt.NDArray[np.float64]:
    """Centre line of ascending aorta, arch and descending aorta, [n, 3] RAS mm."""
    top = p.carina_z + 32
    spine_y = -p.cavity_depth + 22
    anchors = np.array(
        [
            (10.0, 18.0, p.heart_centre[2] + 25),
            (16.0, 20.0, top - 28),
            (8.0, 8.0, top),
            (-12.0, -16.0, top),
            (-26.0, spine_y + 14, top - 25),
            (-24.0, spine_y + 12, -20.0),
            (-14.0, spine_y + 10, p.base_z - 60),
        ]
    )
    t = np.linspace(0, len(anchors) - 1, 150)
    return np.stack([np.interp(t, np.arange(len(anchors)), anchors[:, a]) for a in range(3)], axis=1)


def _heart_and_vessels(body: Body, rng: np.random.Generator) -> None:
    p = body.patient
    blood = rng.uniform(36, 48) + p.contrast_hu
    hit = body.painter.ellipsoid(p.heart_centre, p.heart_radii)
    if hit is not None:
        box, mask = hit
        mask &= body.cavity[box]
        body.hu[box][mask] = blood
        body.labels[box][mask] = LABEL["heart"]
        inner = body.painter.distance(box, p.heart_centre, np.array(p.heart_radii) * 1.0)
        wall = mask & (inner > 0.78)
        body.hu[box][wall] = 45 + 0.3 * p.contrast_hu
        fat = (inner > 1.0) & (inner < 1.0 + rng.uniform(0.02, 0.12)) & body.cavity[box]
        fat &= body.labels[box] != LABEL["liver"]
        body.hu[box][fat] = p.fat_hu
        body.labels[box][fat] = 0
        for lung in (body.lung_left, body.lung_right):
            lung[box] &= ~(mask | fat)
    body.aorta_path = aorta_path(p)
    aorta = body.painter.tube(body.aorta_path, p.aorta_radius)
    trunk = np.linspace((2, 34, p.heart_centre[2] + 40), (-14, 8, p.carina_z - 4), 30)
    branches = [
        (trunk, 14.0),
        (np.linspace((-14, 8, p.carina_z - 4), (-48, -6, p.carina_z - 10), 30), 10.0),
        (np.linspace((-14, 8, p.carina_z - 8), (48, -4, p.carina_z - 14), 40), 10.0),
        (np.linspace((22, 14, p.heart_centre[2] + 30), (24, 6, p.apex_z), 40), 9.0),
    ]
    for path, radius in branches:
        mask = body.painter.tube(path, radius) & body.cavity
        body.hu[mask] = blood + rng.uniform(-20, 60) * (p.contrast_hu > 0)
        body.labels[mask & (body.labels != LABEL["heart"])] = LABEL["lung_vessels"]
        body.lung_left &= ~mask
        body.lung_right &= ~mask
    aorta &= body.skin & (body.labels != LABEL["bones"])
    body.hu[aorta] = blood
    body.labels[aorta] = LABEL["aorta"]
    body.lung_left &= ~aorta
    body.lung_right &= ~aorta


def _airways(body: Body, rng: np.random.Generator) -> None:
    p = body.patient
    y = -14.0 + rng.uniform(-5, 5)
    carina = np.array((2.0, y, p.carina_z))
    paths = [
        (np.linspace((2.0, y + 8, p.apex_z + 60), carina, 90), p.trachea_radius),
        (np.linspace(carina, (40.0, y - 4, p.carina_z - 34), 30), p.trachea_radius * 0.75),
        (np.linspace(carina, (-46.0, y - 6, p.carina_z - 36), 36), p.trachea_radius * 0.68),
    ]
    for path, radius in paths:
        mask = body.painter.tube(path, radius + 2.0) & body.skin
        body.hu[mask & ~(body.lung_left | body.lung_right)] = 30
        mask = body.painter.tube(path, radius) & body.skin
        body.hu[mask] = -990
        body.labels[mask] = LABEL["trachea"]
        body.lung_left &= ~mask
        body.lung_right &= ~mask


def _lung_vessels(body: Body, rng: np.random.Generator) -> None:
    p = body.patient
    lung = body.lung_left | body.lung_right
    value = 35 + 0.8 * p.contrast_hu
    for side in (-1, 1):
        hilum = np.array((side * 38.0, -6.0, p.carina_z - 14))
        for _ in range(26):
            direction = rng.normal(size=3) * (0.7, 0.8, 1.1) + (side * 0.6, 0, 0)
            direction /= np.linalg.norm(direction)
            length = rng.uniform(40, 110)
            bend = rng.normal(size=3) * 18
            t = np.linspace(0, 1, int(length / 3.0))[:, None]
            path = hilum + direction * length * t + bend * t**2
            radius = np.maximum(rng.uniform(2.5, 5.5) * (1 - 0.85 * t[:, 0]), 0.9)
            mask = body.painter.tube(path, radius) & lung
            body.hu[mask] = value * 0.8  # stays labelled as lung, as lobe masks in the field do
