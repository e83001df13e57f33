"""What lies below the diaphragm: liver, spleen, stomach, kidneys, bowel and fat."""

from __future__ import annotations

import numpy as np
import torch

from training.phantom.canvas import Canvas, smooth_min, step
from training.phantom.classes import LABEL
from training.phantom.patient import Patient
from training.phantom.wall import Chest

__all__ = ["paint_abdomen"]

_WHOLE = (slice(None), slice(None), slice(None))


def paint_abdomen(c: Canvas, chest: Chest, p: Patient, texture: torch.Tensor) -> None:
    """Paint the upper abdomen."""
    rng = p.rng("abdomen")
    u = rng.uniform
    below = chest.above + 2.0
    cavity = torch.maximum(torch.maximum(chest.cage + 1.0, chest.trunk + 16.0), below)
    deep = torch.maximum(cavity, below)
    c.blend(_WHOLE, c.occupancy(deep), (0.9 if p.fat_mm > 12 else 0.5) * p.fat_hu + 14 * texture)
    muscle = torch.maximum(torch.maximum(chest.above, -below), chest.cage + 1.0)  # the diaphragm itself
    c.blend(_WHOLE, c.occupancy(muscle) * 0.7, p.muscle_hu)
    bottom = p.dome_right
    _organ(
        c,
        deep,
        (-0.62 * p.half_width, p.spine_y + 40, p.dome_left - u(62, 85)),
        (u(26, 36), u(36, 48), u(44, 60)),
        p.blood.spleen,
        "spleen",
        texture,
    )
    _stomach(c, deep, p, rng)
    for side, name in ((-1, "kidney_left"), (1, "kidney_right")):
        centre = (side * u(48, 58), p.spine_y + 14, p.level_z(13.4) + (6 if side < 0 else -8))
        _organ(c, deep, centre, (u(24, 30), u(22, 27), u(48, 58)), p.blood.kidney, name, texture)
    _liver(c, deep, p, texture, bottom, rng)
    _bowel(c, deep, p, rng)


def _organ(
    c: Canvas,
    limit: torch.Tensor,
    centre: tuple[float, ...],
    radii: tuple[float, ...],
    value: float,
    name: str,
    texture: torch.Tensor,
) -> None:
    box = c.box(centre, max(radii) * 1.05)
    if box is None:
        return
    sd = torch.maximum(c.ellipsoid(box, centre, radii), limit[box] + 2.0)
    c.blend(box, c.occupancy(sd), value + 3 * texture[box], LABEL[name])


def _liver(
    c: Canvas, limit: torch.Tensor, p: Patient, texture: torch.Tensor, dome: float, rng: np.random.Generator
) -> None:
    u = rng.uniform
    centre = np.array((0.40 * p.half_width, -4.0, dome - u(70, 82)))
    box = c.box(np.add(centre, (-45, 10, 0)), 165.0)
    if box is None:
        return
    right = c.ellipsoid(box, centre, (0.8 * p.half_width, 1.15 * p.half_depth, u(88, 112)))
    left = c.ellipsoid(
        box, (-0.16 * p.half_width, 0.36 * p.half_depth, dome - u(34, 48)), (0.55 * p.half_width, 44.0, u(30, 44))
    )
    sd = smooth_min(right, left, 22.0)
    scoop = c.ellipsoid(box, (-10, p.spine_y + 34, dome - 60), (52, 46, 120))  # room for spine, aorta and oesophagus
    sd = torch.maximum(torch.maximum(sd, limit[box] + 0.5), -scoop)
    fatty = -35.0 if rng.random() < 0.15 else 0.0
    c.blend(box, c.occupancy(sd), p.blood.liver + fatty + 3 * texture[box], LABEL["liver"])
    if p.blood.phase in ("none", "venous"):
        contrast = 10.0 if p.blood.phase == "venous" else -6.0
        vein = (sd < -12) & ((texture[box] - 0.9).abs() < 0.12)
        c.hu[box] += torch.where(vein, contrast * 1.6, 0.0)


def _stomach(c: Canvas, limit: torch.Tensor, p: Patient, rng: np.random.Generator) -> None:
    u = rng.uniform
    centre = np.array((-0.42 * p.half_width, 6.0, p.dome_left - u(34, 48)))
    radii = (u(30, 46), u(34, 50), u(34, 48))
    box = c.box(centre, 55.0)
    if box is None:
        return
    sd = torch.maximum(c.ellipsoid(box, centre, radii), limit[box] + 2.0)
    c.blend(box, c.occupancy(sd), p.muscle_hu + 5, LABEL["stomach"])
    inner = c.occupancy(sd + u(3, 6))
    level = c.y[box] - (centre[1] + u(-25, 22))
    filling = torch.where(level > 0, -960.0, float(u(0, 60)))
    c.blend(box, inner, filling)


def _bowel(c: Canvas, limit: torch.Tensor, p: Patient, rng: np.random.Generator) -> None:
    """Paint loops of colon with gas under the left dome and in front of the liver's lower edge."""
    for _ in range(int(rng.integers(3, 9))):
        side = rng.choice([-1, -1, -1, 1])
        centre = np.array(
            (
                side * rng.uniform(0.3, 0.8) * p.half_width,
                rng.uniform(0.1, 0.7) * p.half_depth,
                p.dome_left - (rng.uniform(45, 130) if side < 0 else rng.uniform(130, 190)),
            )
        )
        radius = rng.uniform(14, 24)
        box = c.box(centre, radius * 1.4)
        if box is None:
            continue
        sd = torch.maximum(c.ellipsoid(box, centre, radius * rng.uniform(0.8, 1.35, 3)), limit[box] + 3.0)
        taken = c.labels[box]
        free = torch.where(
            (taken == LABEL["liver"]) | (taken == LABEL["stomach"]) | (taken == LABEL["spleen"]), 0.0, 1.0
        )
        c.blend(box, c.occupancy(sd) * free, 30.0, LABEL["colon"])
        gas = step((c.y[box] - centre[1] + rng.uniform(-0.9, 0.7) * radius) / 4.0)
        c.blend(box, c.occupancy(sd + 2.5) * free * gas, -900.0)
