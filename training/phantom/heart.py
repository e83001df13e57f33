"""Heart with its chambers and pericardial fat, and the great vessels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from training.phantom.canvas import FAR, Canvas, smooth_min
from training.phantom.classes import LABEL
from training.phantom.great_vessels import airway_paths, vessel_paths
from training.phantom.grid import Box, Points
from training.phantom.patient import Patient

__all__ = ["Mediastinum", "build_mediastinum", "heart_axes", "paint_mediastinum"]

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
    _thyroid(c, p)
    gullet = m.tubes["esophagus"]
    c.blend(_WHOLE, c.occupancy(gullet), p.muscle_hu - 6, LABEL["esophagus"])
    rng = p.rng("gullet")
    if rng.random() < 0.55:
        gas = c.occupancy(gullet + rng.uniform(3.2, 5.0)) * (texture > 0.2)
        c.blend(_WHOLE, gas, -600.0)
    c.blend(_WHOLE, c.occupancy(m.airway - 1.6), 35.0)
    c.blend(_WHOLE, c.occupancy(m.airway), -985.0, LABEL["trachea"])


def _thyroid(c: Canvas, p: Patient) -> None:
    """Paint the two lobes beside the trachea; their iodine makes them dense without contrast."""
    rng = p.rng("thyroid")
    value = rng.uniform(85, 120) + 0.5 * (p.blood.aorta - 40)
    for side in (-1, 1):
        centre = (side * rng.uniform(15, 19), p.spine_y + 62, p.top_z + rng.uniform(26, 40))
        box = c.box(centre, 26.0)
        if box is not None:
            sd = c.ellipsoid(box, centre, (rng.uniform(7, 10), rng.uniform(8, 11), rng.uniform(18, 25)))
            c.blend(box, c.occupancy(sd), value, LABEL["thyroid_gland"])


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
