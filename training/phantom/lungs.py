"""Lungs between cage, diaphragm and mediastinum, their lobes, and their own density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from training.phantom.canvas import Canvas, smooth_min, step
from training.phantom.classes import LABEL
from training.phantom.heart import Mediastinum
from training.phantom.patient import Patient
from training.phantom.wall import Chest

__all__ = ["LOBES", "Lungs", "build_lungs", "lobe_points", "paint_lungs"]

_WHOLE = (slice(None), slice(None), slice(None))

#: Names of the lobes by their label.
LOBES: dict[int, str] = {
    LABEL["lung_upper_lobe_left"]: "left upper lobe",
    LABEL["lung_lower_lobe_left"]: "left lower lobe",
    LABEL["lung_upper_lobe_right"]: "right upper lobe",
    LABEL["lung_middle_lobe_right"]: "right middle lobe",
    LABEL["lung_lower_lobe_right"]: "right lower lobe",
}


@dataclass
class Lungs:
    """Fields [X, Y, Z].

    Attributes
    ----------
    inside
        Signed distance to the nearer lung's surface, mm; negative inside.
    left, right
        Whether a point belongs to the left or right pleural cavity's side.
    lobe
        Label of the lobe a point would belong to, uint8.
    fissure
        Distance to the nearest fissure, mm.
    """

    inside: torch.Tensor
    right: torch.Tensor
    lobe: torch.Tensor
    fissure: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """Voxels of both lungs."""
        return self.inside < 0


def build_lungs(c: Canvas, chest: Chest, m: Mediastinum, spine: torch.Tensor, p: Patient) -> Lungs:
    """Compute the lungs on a canvas."""
    rng = p.rng("lungs")
    fat = 0.05 * p.fat_mm
    pad = 2.0 + fat
    heart = (
        m.heart
        - (2.5 + rng.uniform(0.5, 2.0) * fat)
        - 4 * fat * step((chest.front - 20) / 40) * step((30 - chest.above) / 30)
    )
    solid = smooth_min(heart, m.airway - 2.5, 8.0)
    for name, sd in m.tubes.items():
        margin = 0.9 if name in ("aorta", "pulmonary_artery", "superior_vena_cava") else pad
        solid = smooth_min(solid, sd - margin, 9.0)
    solid = smooth_min(solid, spine - 2.5, 6.0)
    behind = torch.exp(-(((c.y - p.spine_y - 34) / 26) ** 2))
    high = step((c.z - p.carina_z - 18) / 45)
    width = (
        rng.uniform(5, 13) + 2.2 * fat + (9 + fat) * behind + (10 + fat) * high + 5 * step((p.carina_z - 40 - c.z) / 60)
    )
    ahead = step((c.y - 5) / 60)
    width = width * (1 - 0.45 * ahead) + (5 + 1.6 * fat) * step((chest.cage + 24) / 20) * ahead
    middle = -5.0 * step((p.carina_z + 30 - c.z) / 60)
    middle = middle + ahead * (rng.normal(0, 5) + rng.uniform(2, 6) * torch.sin(c.z / rng.uniform(22, 40)))
    septum = (c.x - middle).abs() - width
    solid = smooth_min(solid, septum, 10.0)
    inside = torch.maximum(torch.maximum(chest.cage + 2.0, -chest.above + 1.5), -solid)
    right = c.x > middle
    back = c.y + 0.8 * p.half_depth
    wave = 3.5 * torch.sin(c.x / rng.uniform(16, 24) + rng.uniform(0, 6)) + 0.0007 * c.x.square()
    z_left = p.level_z(rng.uniform(3.2, 4.6)) - rng.uniform(0.78, 1.0) * back + wave
    z_right = p.level_z(rng.uniform(3.6, 5.0)) - rng.uniform(0.8, 1.05) * back + wave
    minor = p.carina_z - rng.uniform(20, 42) - 0.12 * (c.y - 20) - 0.0012 * (c.x - 70).square()
    oblique = c.z - torch.where(right, z_right, z_left)
    lower = oblique < 0
    is_middle = right & ~lower & (c.z < minor)
    lobe = torch.where(
        right,
        torch.where(lower, LABEL["lung_lower_lobe_right"], LABEL["lung_upper_lobe_right"]),
        torch.where(lower, LABEL["lung_lower_lobe_left"], LABEL["lung_upper_lobe_left"]),
    ).to(torch.uint8)
    lobe[is_middle] = LABEL["lung_middle_lobe_right"]
    fissure = oblique.abs() * 0.72
    fissure = torch.where(right & ~lower, torch.minimum(fissure, (c.z - minor).abs()), fissure)
    return Lungs(inside, right, lobe, fissure)


def paint_lungs(c: Canvas, chest: Chest, lungs: Lungs, p: Patient, texture: torch.Tensor, fine: torch.Tensor) -> None:
    """Fill the space between cage and diaphragm with mediastinal fat, then paint air-filled lung and fissures."""
    rng = p.rng("lung density")
    space = torch.maximum(chest.cage + 1.0, -chest.above)
    share = 0.85 if p.fat_mm > 10 else 0.6
    c.blend(_WHOLE, c.occupancy(space), p.fat_hu * share + 8 * texture)
    slope = rng.uniform(0.15, 1.0)  # dependent lung is denser
    rim = 22 * step(1 + lungs.inside / 9)
    density = p.lung_hu - slope * c.y + rim + rng.uniform(8, 24) * texture + rng.uniform(8, 26) * fine
    amount = c.occupancy(lungs.inside)
    c.blend(_WHOLE, amount, density)
    c.labels[amount > 0.5] = lungs.lobe[amount > 0.5]
    sheet = c.occupancy(lungs.fissure - 0.3 * c.soft_mm) * min(1.0, 0.8 / c.soft_mm) * (lungs.inside < 0)
    c.blend(_WHOLE, sheet, -450.0)


def lobe_points(c: Canvas, lungs: Lungs, lobe: int, depth_mm: float) -> np.ndarray:
    """Return patient points [n, 3] of one lobe that lie at least ``depth_mm`` below the pleura."""
    found = (lungs.lobe == lobe) & (lungs.inside < -depth_mm)
    return torch.stack([c.x[found], c.y[found], c.z[found]], 1).cpu().numpy().astype(float)
