"""Spine, ribs with their cartilages, sternum, clavicles, scapulae and the heads of the humeri.

Ribs and vertebrae share one numbering from the neck down; a rib is a line on the cage that falls towards the front,
so that all twelve pairs come out of one field.
"""

from __future__ import annotations

import numpy as np
import torch

from training.phantom.canvas import Canvas, curve, step
from training.phantom.classes import LABEL
from training.phantom.patient import Patient
from training.phantom.wall import Chest

__all__ = ["paint_skeleton", "spine_distance"]

#: Angle from the spine (0) to the sternum (1) at which the bony part of ribs 1 to 12 ends.
_RIB_END = (0.80, 0.81, 0.81, 0.81, 0.80, 0.78, 0.76, 0.72, 0.66, 0.60, 0.42, 0.28)
_WHOLE = (slice(None), slice(None), slice(None))


def paint_skeleton(c: Canvas, chest: Chest, p: Patient, texture: torch.Tensor) -> None:
    """Paint all bones."""
    _ribs(c, chest, p)
    _sternum(c, chest, p)
    _spine(c, chest, p, texture)
    _shoulders(c, chest, p)


def _vertebra(c: Canvas, chest: Chest, p: Patient) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distance to the bodies, place within a vertebra (-0.5 to 0.5), depth from the canal, distance to the canal."""
    level = 1 + (p.first_vertebra_z - c.z) / p.pitch
    part = level - level.round()
    low = ((level - 1) / 12).clamp(-0.3, 1.3)
    wide, deep = (14.5 + 5.5 * low) * p.size, (11 + 5 * low) * p.size
    y = c.y - chest.spine_y
    waist = 1 - 0.09 * torch.cos(2 * np.pi * part)
    sd = (torch.sqrt((c.x / (wide * waist)) ** 2 + (y / (deep * waist)) ** 2) - 1) * deep
    back = y + deep + 9.0  # 0 at the centre of the canal
    return sd, part, back, torch.hypot(c.x, back) - 8.5


def spine_distance(c: Canvas, chest: Chest, p: Patient) -> torch.Tensor:
    """Return the distance to vertebral bodies and arches, mm: what the lungs lie against."""
    sd, _, _, canal = _vertebra(c, chest, p)
    return torch.minimum(sd, canal - 6.0)


def _hollow(sd: torch.Tensor, marrow: float, cortex: float, wall_mm: float) -> torch.Tensor:
    """HU of a bone: cortex near the surface, marrow inside."""
    return marrow + (cortex - marrow) * step(1 + sd / wall_mm + 0.3)


def _ribs(c: Canvas, chest: Chest, p: Patient) -> None:
    rng = p.rng("ribs")
    fall = chest.around - 1.25 * (chest.around - 0.76).clamp(min=0)
    first, more = rng.uniform(38, 52) * p.size, rng.uniform(8, 12) * p.size
    head = p.first_vertebra_z + 0.35 * p.pitch
    spread = p.pitch + more * fall
    number = 1 + (head - first * fall - c.z) / spread
    nearest = number.round().clamp(1, 12)
    off = (number - nearest) * spread
    tall, thick = rng.uniform(5.2, 6.6) * p.size, rng.uniform(3.0, 4.0)
    radial = chest.cage - thick - 0.6
    ring = (off / tall).square() + (radial / thick).square()
    sd = (ring.sqrt() - 1) * thick
    ends = torch.tensor((0.0, *_RIB_END), device=c.device)[nearest.long()]
    reach = (chest.around - ends) * np.pi * p.half_width
    start = (24 - c.x.abs()).clamp(min=-50)
    sd_bone = torch.maximum(torch.maximum(sd, reach), start)
    bone = c.occupancy(sd_bone, min(c.soft_mm, 4.0))
    c.blend(
        _WHOLE,
        bone,
        _hollow(sd_bone, 0.6 * p.bone_hu + 30, p.bone_hu * 1.2 + rng.uniform(450, 700), 1.8),
        LABEL["ribs"],
    )
    cartilage = torch.maximum(torch.maximum(sd, -reach), (chest.around - 0.965) * np.pi * p.half_depth)
    cartilage = torch.where(nearest <= 10, cartilage, torch.full_like(cartilage, 50.0))
    calcified = 260 * max(0.0, (p.age - 50) / 40) * float(rng.random())
    amount = c.occupancy(cartilage, min(c.soft_mm, 4.0))
    c.blend(_WHOLE, amount, 75 + 40 * float(rng.random()) + calcified, LABEL["costal_cartilages"])


def _sternum(c: Canvas, chest: Chest, p: Patient) -> None:
    rng = p.rng("sternum")
    top = p.level_z(2.6) + rng.uniform(-6, 6)
    length = rng.uniform(150, 185) * p.size
    t = (top - c.z) / length
    half = 15 + 13 * step((0.34 - t) / 0.2) + 4 * step((t - 0.5) / 0.3)
    sd = torch.maximum((chest.cage - 6.5).abs() - rng.uniform(4.8, 6.2), c.x.abs() - half)
    sd = torch.maximum(sd, torch.maximum(c.z - top, top - length - c.z))
    sd = torch.where((chest.around > 0.6), sd, torch.full_like(sd, 50.0))
    gap = 6 * torch.exp(-(((t - 0.3) * length / 2.5) ** 2))  # the joint of manubrium and body
    bone = c.occupancy(sd + gap, min(c.soft_mm, 4.0))
    c.blend(_WHOLE, bone, _hollow(sd, p.bone_hu * 0.5, p.bone_hu + 260, 2.0), LABEL["sternum"])


def _spine(c: Canvas, chest: Chest, p: Patient, texture: torch.Tensor) -> None:
    rng = p.rng("spine")
    sd, part, back, canal = _vertebra(c, chest, p)
    bone = c.occupancy(sd, min(c.soft_mm, 4.0))
    disc = step(1.5 - (0.5 - part.abs()) * p.pitch / rng.uniform(2.0, 3.4))
    plate = torch.exp(-((((0.5 - part.abs()) * p.pitch - 4.2) / 1.6) ** 2))
    marrow = _hollow(sd, p.bone_hu, p.bone_hu + 230, 2.2) + 160 * plate + 45 * texture
    spur = 120 * max(0.0, (p.age - 55) / 35) * float(rng.random())
    marrow = marrow * (1 - disc) + (82 + spur * (sd > -3)) * disc
    c.blend(_WHOLE, bone, marrow)
    c.labels[bone > 0.5] = LABEL["vertebrae"]
    arch_hu = p.bone_hu * 0.8 + rng.uniform(280, 420)
    ring = torch.maximum((canal - 2.6).abs() - 2.6, (part - 0.05).abs() * p.pitch - 0.34 * p.pitch)
    slant = part + 0.022 * (back + 10)
    spinous = torch.maximum(c.x.abs() - 3.2, torch.maximum(back + 9, -29.0 * p.size - back))
    spinous = torch.maximum(spinous, (slant - slant.round()).abs() * p.pitch - 5.5)
    side = c.x.abs() - 10
    across = torch.maximum((back + 4 + 0.42 * side).abs() - 4.0, torch.maximum(-side, side - 22))
    across = torch.maximum(across, (part - 0.08).abs() * p.pitch - 5.0)
    arch = torch.minimum(torch.minimum(ring, spinous), across)
    amount = c.occupancy(arch, min(c.soft_mm, 4.0))
    c.blend(_WHOLE, amount, arch_hu, LABEL["vertebrae"])
    cord = c.occupancy(canal)
    c.blend(_WHOLE, cord, 28.0, LABEL["spinal_cord"])


def _shoulders(c: Canvas, chest: Chest, p: Patient) -> None:
    rng = p.rng("shoulders")
    top = p.level_z(2.6)
    rise = 34.0 if p.arms_up else 14.0
    width = p.half_width + 26
    cortex = p.bone_hu + rng.uniform(330, 480)
    # blade: a thin triangle behind the cage, its borders thicker
    turn = 0.06 if p.arms_up else 0.0
    t = (p.level_z(2.0) - c.z) / (118 * p.size)
    inner, outer = 0.15 + turn + 0.05 * t, 0.43 + turn - 0.22 * t
    edge = torch.maximum(inner - chest.around, chest.around - outer) * np.pi * p.half_width
    edge = torch.maximum(edge, torch.maximum(-t, t - 1) * 118)
    thick = 2.0 + 2.6 * step((edge + 12) / 12)
    depth = (chest.trunk + 13.0).abs()  # within the muscles, so it follows the trunk where the cage narrows
    blade = torch.maximum(depth - thick, edge)
    blade = torch.where(chest.cage > 8, blade, torch.full_like(blade, 50.0))
    amount = c.occupancy(blade, min(c.soft_mm, 4.0))
    c.blend(_WHOLE, amount, cortex * 0.8, LABEL["scapula"])
    for side in (-1, 1):
        back = p.spine_y - 18
        glenoid = np.array((side * (width - 26), p.spine_y + 18, p.top_z - 10 + 0.4 * rise))
        ridge = curve(
            [
                (side * 0.62 * p.half_width, back - 14, p.level_z(3.2)),
                (side * (width - 40), back, p.top_z - 4),
                (side * width, p.spine_y + 22, p.top_z + 22 + 0.5 * rise),
            ],
            3.0,
        )
        _tube(c, ridge, 4.2, cortex, "scapula")
        _tube(c, glenoid[None], 13.0, p.bone_hu + 150, "scapula")
        collar = curve(
            [
                (side * 17, 0.56 * p.half_depth, top + 4),
                (side * 62, 0.60 * p.half_depth - 6, top + 12 + 0.3 * rise),
                (side * 118, 0.1 * p.half_depth, top + 20 + rise),
                (side * width, p.spine_y + 30, top + 22 + rise),
            ],
            3.0,
        )
        _tube(c, collar, np.linspace(7.5, 5.5, len(collar)), cortex, "clavicula")
        ball = np.add(glenoid, (side * 26, 2, 4))
        reach = np.add(ball, (side * 34, 10, 190) if p.arms_up else (side * 30, 6, -260))
        shaft = curve([ball, 0.5 * (ball + reach) + (side * 4, 0, 0), reach], 4.0)
        _tube(c, shaft, 10.5, cortex + 250, "humerus")
        _tube(c, shaft, 5.5, 20.0, "humerus")
        _tube(c, ball[None], 22.0, p.bone_hu + 170, "humerus")


def _tube(c: Canvas, path: np.ndarray, radius: float | np.ndarray, value: float, name: str) -> None:
    sd = c.tube_distance(path, radius, 1.0)
    c.blend(_WHOLE, c.occupancy(sd, min(c.soft_mm, 4.0)), value, LABEL[name])
