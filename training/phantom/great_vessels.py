"""Centre lines of the great vessels, the oesophagus and the large airways."""

from __future__ import annotations

import numpy as np

from training.phantom.canvas import curve
from training.phantom.grid import Points
from training.phantom.patient import Patient

__all__ = ["airway_paths", "vessel_paths"]

#: Anchors of each line: x, y, z and radius, mm.
_Lines = dict[str, list[tuple[float, ...]]]


def _arteries(p: Patient, arch: float) -> _Lines:
    """Return aorta, its branches, and the pulmonary trunk with its two arteries."""
    s, car, hz, hy, top, r, back = p.heart_scale, p.carina_z, p.heart_z, p.heart_y, p.top_z, p.aorta_mm, p.spine_y + 4
    root = (p.heart_x + 12 * s, hy - 8, hz + 22 * s)
    return {
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
    }


def _veins(p: Patient, arch: float) -> _Lines:
    """Return venae cavae and the veins that lead to them."""
    s, car, hz, hy, top, back = p.heart_scale, p.carina_z, p.heart_z, p.heart_y, p.top_z, p.spine_y + 4
    return {
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
        "brachiocephalic_vein": [
            (-64, 10, top + 2, 5.5),
            (-30, 20, arch + 36, 6.5),
            (2, 26, arch + 20, 6.5),
            (23, 8, arch + 17, 7.5),
        ],
        "brachiocephalic_vein_right": [(66, 8, top + 2, 5.5), (34, 10, arch + 38, 7.0), (24, 6, arch + 17, 7.5)],
        "jugular_left": [(-32, 6, top + 70, 6.0), (-34, 14, top + 6, 6.5)],
        "jugular_right": [(32, 6, top + 70, 6.5), (34, 12, top + 6, 7.0)],
    }


def _pulmonary_veins(p: Patient) -> _Lines:
    """Return the last stretch of the four pulmonary veins."""
    s, car, hz, hy = p.heart_scale, p.carina_z, p.heart_z, p.heart_y
    return {
        "pulmonary_vein": [(p.heart_x - 22 * s, hy - 36 * s, hz + 20 * s, 6.5), (-46, -26, hz + 16 * s, 6.0)],
        "pulmonary_vein_right": [(p.heart_x + 36 * s, hy - 36 * s, hz + 18 * s, 6.5), (48, -24, hz + 12 * s, 6.0)],
        "pulmonary_vein_upper": [(p.heart_x - 20 * s, hy - 28 * s, hz + 30 * s, 6.5), (-40, 0, car - 34, 6.0)],
        "pulmonary_vein_upper_right": [(p.heart_x + 34 * s, hy - 28 * s, hz + 30 * s, 6.5), (44, 2, car - 42, 6.0)],
    }


def _gullet(p: Patient) -> _Lines:
    """Return the oesophagus."""
    car, hz, top, back = p.carina_z, p.heart_z, p.top_z, p.spine_y + 4
    return {
        "esophagus": [
            (-3, back + 50, top + 40, 6.5),
            (-4, back + 22 + 28 * 0.4, top - 30, 6.5),
            (-5, back + 28, car, 6.5),
            (-4, back + 33, hz, 7.0),
            (-14, back + 46, p.level_z(10), 7.5),
            (-13, back + 47, p.dome_left - 8, 8.5),
        ],
    }


def vessel_paths(p: Patient) -> dict[str, tuple[Points, Points]]:
    """Return centre lines [n, 3] and radii [n] of the great vessels and the oesophagus, patient mm."""
    rng = p.rng("vessels")
    arch = p.carina_z + rng.uniform(30, 40)
    lines = _arteries(p, arch) | _veins(p, arch) | _pulmonary_veins(p) | _gullet(p)
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
