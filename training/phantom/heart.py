"""Heart with its chambers and pericardial fat, and the great vessels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from training.phantom.canvas import FAR, Canvas, curve, smooth_min
from training.phantom.classes import LABEL
from training.phantom.grid import Box, Points
from training.phantom.patient import Patient

__all__ = ["Mediastinum", "build_mediastinum", "heart_axes", "paint_mediastinum", "vessel_paths"]

_WHOLE = (slice(None), slice(None), slice(None))


@dataclass
class Mediastinum:
    """Signed distances [X, Y, Z] to the organs between the lungs, mm."""

    heart: torch.Tensor
    chambers: dict[str, torch.Tensor]
    heart_box: Box | None
    tubes: dict[str, torch.Tensor]
    airway: torch.Tensor
    paths: dict[str, tuple[Points, Points]] = field(default_factory=dict)

    def solid(self) -> torch.Tensor:
        """Distance to everything that the lungs lie against."""
        out = torch.minimum(self.heart, self.airway - 1.6)
        for sd in self.tubes.values():
            out = torch.minimum(out, sd)
        return out


def heart_axes(p: Patient) -> dict[str, tuple[Points, Points, Points]]:
    """Return centre, radii (mm) and axes of the four chambers and of the left ventricle's outer wall."""
    s = p.heart_scale
    at = np.array((p.heart_x, p.heart_y, p.heart_z))
    long = np.array((-0.72, 0.52, -0.46))
    long /= np.linalg.norm(long)
    second = np.cross(long, (0, 0, 1.0))
    second /= np.linalg.norm(second)
    axes = np.stack([long, second, np.cross(long, second)])
    plain = np.eye(3)
    return {
        "left_ventricle_wall": (at + np.array((-17, 2, -8)) * s, np.array((45, 32, 33)) * s, axes),
        "heart_ventricle_left": (at + np.array((-15, 0.5, -7)) * s, np.array((36, 21, 22)) * s, axes),
        "heart_ventricle_right": (at + np.array((8, 20, -13)) * s, np.array((40, 22, 31)) * s, axes),
        "heart_atrium_right": (at + np.array((40, -2, 2)) * s, np.array((23, 26, 31)) * s, plain),
        "heart_atrium_left": (at + np.array((8, -31, 19)) * s, np.array((33, 19, 23)) * s, plain),
    }


def vessel_paths(p: Patient) -> dict[str, tuple[Points, Points]]:
    """Return centre lines [n, 3] and radii [n] of the great vessels and the oesophagus, patient mm."""
    rng = p.rng("vessels")
    s, car, hz, top = p.heart_scale, p.carina_z, p.heart_z, p.top_z
    back = p.spine_y + 4
    arch = car + rng.uniform(30, 40)
    r = p.aorta_mm
    hy = p.heart_y
    root = (p.heart_x + 12 * s, hy - 8, hz + 22 * s)
    lines: dict[str, list[tuple[float, ...]]] = {
        "aorta": [
            (*root, r),
            (15, 0.5 * hy + 8, car - 10, r * 1.05),
            (12, 14, arch - 10, r),
            (-3, -2, arch, 0.92 * r),
            (-18, -20, arch - 5, 0.86 * r),
            (-24, back + 26, arch - 30, 0.8 * r),
            (-24, back + 22, car - 70, 0.76 * r),
            (-17, back + 24, p.level_z(10), 0.72 * r),
            (-7, back + 32, p.level_z(12.5), 0.7 * r),
            (-4, back + 40, p.level_z(16), 0.64 * r),
        ],
        "pulmonary_artery": [
            (p.heart_x - 4 * s, hy + 16 * s, hz + 20 * s, 14.5),
            (-15, hy - 2, car - 24, 14.5),
            (-17, 8, car - 13, 14.0),
            (-28, -8, car - 9, 11.5),
            (-40, -22, car - 16, 9.5),
            (-44, -28, car - 34, 7.5),
        ],
        "pulmonary_artery_right": [
            (-15, 8, car - 18, 11.5),
            (6, -2, car - 22, 11.0),
            (28, -8, car - 24, 10.5),
            (44, -14, car - 32, 8.5),
            (48, -20, car - 52, 7.0),
        ],
        "superior_vena_cava": [
            (24, 4, arch + 18, 8.0),
            (27, 6, car, 9.5),
            (p.heart_x + 40 * s, hy - 12, hz + 26 * s, 10.5),
        ],
        "inferior_vena_cava": [
            (p.heart_x + 38 * s, hy - 24, hz - 22 * s, 12.0),
            (24, back + 42, p.dome_right - 30, 12.0),
            (20, back + 36, p.level_z(15), 11.0),
        ],
        "azygos": [
            (7, back + 20, p.level_z(11), 3.0),
            (8, back + 22, car, 4.0),
            (16, -20, car + 16, 4.5),
            (25, -2, car + 12, 4.5),
        ],
        "pulmonary_vein": [(p.heart_x - 22 * s, hy - 36 * s, hz + 20 * s, 6.5), (-46, -26, hz + 16 * s, 6.0)],
        "pulmonary_vein_right": [(p.heart_x + 36 * s, hy - 36 * s, hz + 18 * s, 6.5), (48, -24, hz + 12 * s, 6.0)],
        "pulmonary_vein_upper": [(p.heart_x - 20 * s, hy - 28 * s, hz + 30 * s, 6.5), (-40, 0, car - 34, 6.0)],
        "pulmonary_vein_upper_right": [(p.heart_x + 34 * s, hy - 28 * s, hz + 30 * s, 6.5), (44, 2, car - 42, 6.0)],
        "brachiocephalic_trunk": [
            (8, 8, arch + 2, 6.5),
            (18, 6, arch + 26, 6.0),
            (30, -2, top + 14, 4.5),
            (62, -8, top + 14, 4.0),
        ],
        "carotid_left": [(-5, 0, arch + 4, 4.0), (-14, -2, arch + 35, 3.6), (-22, -4, top + 70, 3.4)],
        "carotid_right": [(26, 0, top + 8, 3.6), (22, -4, top + 70, 3.4)],
        "subclavian_left": [
            (-16, -14, arch + 2, 5.0),
            (-24, -20, arch + 32, 4.8),
            (-40, -16, top + 8, 4.5),
            (-75, -4, top + 10, 4.2),
        ],
        "brachiocephalic_vein": [
            (-64, 10, top + 2, 5.5),
            (-30, 20, arch + 36, 6.5),
            (2, 26, arch + 20, 6.5),
            (23, 8, arch + 17, 7.5),
        ],
        "brachiocephalic_vein_right": [(66, 8, top + 2, 5.5), (34, 10, arch + 38, 7.0), (24, 6, arch + 17, 7.5)],
        "jugular_left": [(-32, 6, top + 70, 6.0), (-34, 14, top + 6, 6.5)],
        "jugular_right": [(32, 6, top + 70, 6.5), (34, 12, top + 6, 7.0)],
        "esophagus": [
            (-3, back + 50, top + 40, 6.5),
            (-4, back + 22 + 28 * 0.4, top - 30, 6.5),
            (-5, back + 28, car, 6.5),
            (-4, back + 33, hz, 7.0),
            (-14, back + 46, p.level_z(10), 7.5),
            (-13, back + 47, p.dome_left - 8, 8.5),
        ],
    }
    out = {}
    for name, anchors in lines.items():
        wobble = np.array(anchors, float)
        wobble[1:-1, :3] += rng.normal(0, 1.6, (len(wobble) - 2, 3))
        if name not in ("aorta", "esophagus"):
            wobble[:, 3] *= rng.uniform(0.88, 1.12) * np.sqrt(p.size)
        path = curve(wobble, 3.0)
        out[name] = (path[:, :3], path[:, 3])
    return out


def airway_paths(p: Patient) -> list[tuple[Points, Points]]:
    """Return centre lines and radii of trachea, main and lobar bronchi, patient mm."""
    rng = p.rng("airway")
    car, r = p.carina_z, rng.uniform(7.6, 10.4) * (0.93 if p.female else 1.05) * np.sqrt(p.size)
    y = p.spine_y + 42
    fork = (3.0, y - 2, car)
    right, left = (30, y - 8, car - 24), (-40, y - 8, car - 30)
    lines = [
        [
            (0, p.spine_y + 76, p.top_z + 80, r),
            (1, p.spine_y + 64, p.top_z, r),
            (2.5, y + 8, car + 45, r),
            (*fork, r * 0.95),
        ],
        [(*fork, r * 0.86), (*right, r * 0.78)],
        [(*fork, r * 0.8), (-20, y - 4, car - 15, r * 0.72), (*left, r * 0.68)],
        [(20, y - 6, car - 14, 5.0), (42, y - 2, car - 8, 4.4), (54, y - 2, car + 4, 3.2)],
        [(*right, 6.0), (36, y - 14, car - 48, 5.0), (46, y - 26, car - 78, 3.2)],
        [(34, y - 9, car - 40, 4.0), (50, y + 14, car - 56, 2.8)],
        [(*left, 5.6), (-54, y + 6, car - 26, 4.0), (-62, y + 14, car - 10, 2.8)],
        [(*left, 5.4), (-44, y - 22, car - 54, 4.4), (-50, y - 32, car - 80, 3.0)],
    ]
    found = [curve(np.array(line, float), 2.5) for line in lines]
    return [(path[:, :3], path[:, 3]) for path in found]


def build_mediastinum(c: Canvas, p: Patient) -> Mediastinum:
    """Compute distances to heart, vessels, oesophagus and airway."""
    heart = torch.full_like(c.hu, FAR)
    box = c.box((p.heart_x, p.heart_y - 8, p.heart_z), 92 * p.heart_scale)
    chambers = {}
    if box is not None:
        for name, (centre, radii, axes) in heart_axes(p).items():
            chambers[name] = c.ellipsoid(box, centre, radii, axes)
        hull = chambers["left_ventricle_wall"]
        for name in ("heart_ventricle_right", "heart_atrium_right", "heart_atrium_left"):
            hull = smooth_min(hull, chambers[name] - 2.5, 14.0)
        floor = (min(p.dome_right, p.dome_left) - 20.0) - c.z[box]  # it lies on the diaphragm
        heart[box] = torch.maximum(hull, floor)
    paths = vessel_paths(p)
    tubes: dict[str, torch.Tensor] = {}
    for name, (path, radius) in paths.items():
        sd = c.tube_distance(path, radius, 9.0)
        group = _GROUP.get(name, "brachiocephalic_vessels")
        tubes[group] = torch.minimum(tubes[group], sd) if group in tubes else sd
    airway = torch.full_like(c.hu, FAR)
    for path, radius in airway_paths(p):
        airway = torch.minimum(airway, c.tube_distance(path, radius, 9.0))
    return Mediastinum(heart, chambers, box, tubes, airway, paths)


_GROUP = {
    "aorta": "aorta",
    "pulmonary_artery": "pulmonary_artery",
    "pulmonary_artery_right": "pulmonary_artery",
    "superior_vena_cava": "superior_vena_cava",
    "inferior_vena_cava": "inferior_vena_cava",
    "pulmonary_vein": "pulmonary_vein",
    "pulmonary_vein_right": "pulmonary_vein",
    "pulmonary_vein_upper": "pulmonary_vein",
    "pulmonary_vein_upper_right": "pulmonary_vein",
    "esophagus": "esophagus",
}


def paint_mediastinum(c: Canvas, m: Mediastinum, p: Patient, texture: torch.Tensor) -> None:
    """Paint heart, vessels, oesophagus and airway, the airway last."""
    blood = p.blood
    values = {
        "inferior_vena_cava": 0.5 * (blood.right_heart + blood.liver) if blood.phase != "none" else blood.cava,
        "superior_vena_cava": blood.cava,
        "brachiocephalic_vessels": 0.5 * (blood.cava + blood.aorta) if blood.phase != "none" else blood.cava,
        "pulmonary_vein": blood.left_heart,
        "pulmonary_artery": blood.pulmonary_artery,
        "aorta": blood.aorta,
    }
    _paint_heart(c, m, p)
    for name, value in values.items():
        c.blend(_WHOLE, c.occupancy(m.tubes[name]), value + 3 * texture, LABEL[name])
    gullet = m.tubes["esophagus"]
    c.blend(_WHOLE, c.occupancy(gullet), p.muscle_hu - 6, LABEL["esophagus"])
    rng = p.rng("gullet")
    if rng.random() < 0.55:
        gas = c.occupancy(gullet + rng.uniform(3.2, 5.0)) * (texture > 0.2)
        c.blend(_WHOLE, gas, -600.0)
    c.blend(_WHOLE, c.occupancy(m.airway - 1.6), 35.0)
    c.blend(_WHOLE, c.occupancy(m.airway), -985.0, LABEL["trachea"])


def _paint_heart(c: Canvas, m: Mediastinum, p: Patient) -> None:
    box, blood = m.heart_box, p.blood
    if box is None:
        return
    c.blend(box, c.occupancy(m.heart[box]), blood.myocardium, LABEL["heart_myocardium"])
    for name, value in (
        ("heart_atrium_left", blood.left_heart),
        ("heart_atrium_right", blood.right_heart),
        ("heart_ventricle_right", blood.right_heart),
        ("heart_ventricle_left", blood.left_heart),
    ):
        amount = c.occupancy(m.chambers[name])
        if name != "heart_ventricle_left":  # the septum belongs to the left ventricle's wall
            amount = torch.minimum(amount, c.occupancy(-m.chambers["left_ventricle_wall"]))
        c.blend(box, amount, value, LABEL[name])
