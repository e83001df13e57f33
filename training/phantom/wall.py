"""The chest as a frame of reference: cage, trunk, diaphragm and levels as fields, and the soft parts of the wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from training.phantom.canvas import Canvas, curve, step
from training.phantom.patient import Patient

FLOOR = 400.0  # mm below the chest: where there is no dome

__all__ = ["Chest", "build_chest", "paint_wall"]


@dataclass
class Chest:
    """Fields [X, Y, Z] that the organs are placed by, mm.

    Attributes
    ----------
    down
        0 at the apex of the lungs, 1 at the widest of the cage.
    cage
        Distance outward from the inner surface of the rib cage; negative inside.
    trunk
        Distance outward from the trunk's muscles as a smooth barrel; shoulders and neck included.
    around
        Angle from the spine (0) by the flank (0.5) to the sternum (1).
    front
        Depth coordinate from the middle of the cage.
    above
        Height above the diaphragm.
    skin
        Distance outward from the skin.
    spine_y
        Depth of the vertebral bodies at each height.
    """

    down: torch.Tensor
    cage: torch.Tensor
    trunk: torch.Tensor
    around: torch.Tensor
    front: torch.Tensor
    above: torch.Tensor
    skin: torch.Tensor
    spine_y: torch.Tensor


def _barrel(x: torch.Tensor, y: torch.Tensor, square: float) -> torch.Tensor:
    """Normalised radius of a rounded box: an ellipse at ``square`` 0, towards a power of four at 1."""
    xx, yy = x * x, y * y
    return ((1 - square) * (xx + yy) + square * (xx * xx + yy * yy).sqrt()).sqrt()


def _diaphragm(c: Canvas, p: Patient, rng: np.random.Generator) -> torch.Tensor:
    """Height of the diaphragm over each point, mm: two domes with recesses that are deeper at the back."""
    out = torch.full_like(c.x, -FLOOR)
    depth = (c.y - 6.0) / (0.98 * p.half_depth)
    deep = torch.where(c.y > 6.0, torch.full_like(c.y, rng.uniform(0.42, 0.62)), torch.full_like(c.y, 1.0))
    for side, top in ((1.0, p.dome_right), (-1.0, p.dome_left)):
        across = (c.x - side * 0.5 * p.half_width) / (0.6 * p.half_width)
        r2 = across.square() + depth.square() * deep
        drop = rng.uniform(20, 30) * r2 + rng.uniform(38, 62) * r2 * r2 * r2
        out = torch.maximum(out, top - drop.clamp(max=125.0))
    middle = ((c.x + 8) / (0.55 * p.half_width)).square() + depth.square() * torch.where(c.y > 6.0, 0.22, 0.9)
    tendon = min(p.dome_right, p.dome_left) - rng.uniform(14, 24) - 26 * middle - 40 * middle.pow(3)
    return torch.maximum(out, tendon)


def _skin_profile(p: Patient, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Half-width, front and back half-depth and share of neck of the trunk's muscles at each height, mm."""
    shoulder = step((z - (p.top_z - 70)) / 70)
    neck = step((z - (p.top_z + (42 if p.arms_up else 26))) / 42)
    wide = p.half_width + 9 + shoulder * (34 if p.arms_up else 48)
    waist = 1 - 0.05 * step((p.dome_right - 20 - z) / 80)
    wide = wide * waist * (1 - neck) + 56 * neck
    front = (p.half_depth + 8) * (1 - 0.36 * step((z - (p.top_z - 110)) / 130)) * (1 - neck) + 52 * neck
    back = (p.half_depth + 8) * (1 - 0.14 * shoulder) * (1 - neck) + 50 * neck
    return wide, front, back, neck


def _fat(p: Patient, around: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Thickness of the subcutaneous fat, mm."""
    low = step((p.carina_z - z) / 140)
    out = p.fat_mm * (0.62 + 0.3 * low + 0.25 * (around - 0.5).clamp(min=0) - 0.2 * step((0.2 - around) / 0.2))
    return out.clamp(min=2.0)


def build_chest(c: Canvas, p: Patient) -> Chest:
    """Compute the frame of reference on a canvas."""
    rng = p.rng("chest")
    down = (p.top_z - c.z) / (175.0 * p.size)
    f = (1 - (1 - down.clamp(0, 1)).pow(rng.uniform(2.6, 3.4))).clamp(min=1e-4).pow(0.5)
    centre = -24.0 * (1 - f)
    front = c.y - centre
    narrow = 1 - 0.08 * step((p.dome_right - c.z) / 110)
    a, b = p.half_width * (0.06 + 0.94 * f) * narrow, p.half_depth * (0.12 + 0.88 * f)
    radius = torch.hypot(c.x, front)
    cage = radius * (1 - 1 / _barrel(c.x / a, front / b, rng.uniform(0.25, 0.5)).clamp(min=1e-3))
    cage = torch.maximum(cage, c.z - p.top_z)
    around = torch.atan2(c.x.abs(), -front) / np.pi
    wide, ahead, behind, neck = _skin_profile(p, c.z)
    y = c.y - neck * (p.spine_y + 62)
    span = torch.where(y > 0, ahead, behind)
    barrel = _barrel(c.x / wide, y / span, rng.uniform(0.22, 0.45)).clamp(min=1e-3)
    trunk = torch.hypot(c.x, y) * (1 - 1 / barrel)
    upper = upper_part(p, c.z)
    beside_spine = 15 * torch.exp(-(((c.x.abs() - 30) / 24) ** 2)) * (around < 0.4)
    bump = beside_spine + upper * (
        (20 + 4 * p.size) * torch.exp(-(((around - 0.28) / 0.17) ** 2))
        + (8 if p.female else 15) * torch.exp(-(((around - 0.74) / 0.14) ** 2))
    )
    trunk = trunk - (4 + bump) * (1 - neck)
    skin = trunk - _fat(p, around, c.z) * (1 - 0.6 * neck)
    above = c.z - _diaphragm(c, p, p.rng("diaphragm"))
    bend = 30 * step(1 - down / 0.45) - 6 * step((down - 0.45) / 0.5) + 14 * step((down - 1.15) / 0.6)
    return Chest(down, cage, trunk, around, front, above, skin, p.spine_y + bend)


def upper_part(p: Patient, z: torch.Tensor) -> torch.Tensor:
    """Share of the shoulder girdle at each height, 0 below the carina."""
    return step((z - p.carina_z + 50) / 50)


def paint_wall(c: Canvas, chest: Chest, p: Patient, texture: torch.Tensor) -> None:
    """Paint skin, fat, muscles with fat between them, and breasts."""
    rng = p.rng("wall")
    whole = (slice(None), slice(None), slice(None))
    skin = chest.skin
    if p.female:
        radius = rng.uniform(34, 62) * (0.8 + 0.012 * p.fat_mm)
        for side in (-1, 1):
            centre = (side * 0.56 * p.half_width, 0.86 * p.half_depth + 6, p.carina_z - rng.uniform(48, 62))
            box = c.box(centre, radius * 1.3)
            if box is not None:
                sd = c.ellipsoid(box, centre, (radius * 1.3, radius * 0.72, radius * 1.2))
                skin[box] = torch.minimum(skin[box], sd)
                gland = c.ellipsoid(
                    box, np.add(centre, (0, 0.3 * radius, 0)), np.full(3, radius * rng.uniform(0.3, 0.6))
                )
                c.blend(box, c.occupancy(sd), p.fat_hu + 8)
                spread = (0.55 - gland / 14 + 0.6 * texture[box]).clamp(0, 1) * rng.uniform(0.3, 0.9)
                c.blend(box, spread * c.occupancy(sd), 25.0)
    c.blend(whole, c.occupancy(skin), p.fat_hu + 6 * texture)
    rind = (skin.abs() < 0.5 * c.soft_mm) & (skin <= 0)
    c.hu += torch.where(rind, 1.2 * 70 / max(c.soft_mm, 2.0), 0.0)
    muscle = c.occupancy(chest.trunk)
    planes = torch.cos(2 * np.pi * (chest.trunk + 9 * texture) / rng.uniform(26, 36))  # fat between muscle layers
    armpit = torch.exp(-(((chest.around - 0.56) / 0.1) ** 2)) * step((chest.cage - 14) / 8) * upper_part(p, c.z)
    sheets = torch.maximum(0.8 * step((planes - 0.5) / 0.5), step(armpit * 1.5 + 0.3 * texture)) * step(
        (chest.cage - 8) / 5
    )
    share = sheets * min(0.95, 0.35 + 0.02 * p.fat_mm)
    tissue = p.muscle_hu + (p.fat_hu - p.muscle_hu) * share + 5 * texture
    c.blend(whole, muscle, tissue)
    _arms(c, p)


def _arms(c: Canvas, p: Patient) -> None:
    """Paint the upper arms: beside the head when raised, beside the trunk when not."""
    rng = p.rng("arms")
    for side in (-1, 1):
        joint = (side * (p.half_width + 26), p.spine_y + 22, p.top_z - 8)
        if p.arms_up:
            end = (side * (p.half_width + rng.uniform(30, 75)), p.spine_y + rng.uniform(10, 60), p.top_z + 190)
        else:
            end = (side * (p.half_width + 62 + p.fat_mm), p.spine_y + rng.uniform(5, 40), p.top_z - 320)
            joint = (joint[0] + side * 18, joint[1], joint[2] - 6)
        path = curve(np.stack([joint, 0.5 * np.add(joint, end) + (side * 6, 6, 0), end]), 12.0)
        for radius, value in ((34 + 0.5 * p.fat_mm, p.fat_hu), (33.0, p.muscle_hu)):
            sd = c.tube_distance(path, radius, 2.0)
            box = (slice(None), slice(None), slice(None))
            amount = c.occupancy(sd)
            amount = torch.where(c.hu < p.fat_hu + 40, amount, torch.zeros_like(amount))
            c.blend(box, amount, value)
