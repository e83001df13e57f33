"""All organs of one patient on one canvas."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from training.phantom.abdomen import paint_abdomen
from training.phantom.canvas import Canvas
from training.phantom.grid import Frame, Grid
from training.phantom.heart import Mediastinum, build_mediastinum, paint_mediastinum
from training.phantom.lungs import Lungs, build_lungs, paint_lungs
from training.phantom.patient import Patient
from training.phantom.skeleton import paint_skeleton, spine_distance
from training.phantom.trees import Segments, grow_all, paint_bronchi, paint_vessels
from training.phantom.wall import Chest, build_chest, paint_wall

__all__ = ["Body", "build_body", "build_reference"]


@dataclass
class Body:
    """A patient on a canvas: the fields that findings are placed by."""

    canvas: Canvas
    patient: Patient
    chest: Chest
    mediastinum: Mediastinum
    lungs: Lungs
    texture: torch.Tensor
    trees: dict[str, Segments] = field(default_factory=dict)


def build_reference(p: Patient, device: torch.device | str = "cpu") -> Body:
    """Build the geometry on a coarse straight grid of 9 mm, by which vessels and findings are placed on any grid."""
    grid = Grid((40, 30, 50), (9.0, 9.0, 9.0), (0.0, 0.0, 0.5 * (p.top_z + p.dome_left) - 25.0))
    return _geometry(Canvas(grid, Frame.straight(), soft_mm=9.0, device=device), p)


def _geometry(c: Canvas, p: Patient) -> Body:
    chest = build_chest(c, p)
    mediastinum = build_mediastinum(c, p)
    lungs = build_lungs(c, chest, mediastinum, spine_distance(c, chest, p), p)
    return Body(c, p, chest, mediastinum, lungs, torch.zeros_like(c.hu))


def build_body(c: Canvas, p: Patient, reference: Body) -> Body:
    """Paint a patient.

    Parameters
    ----------
    c
        Empty canvas.
    p
        Patient.
    reference
        The same patient from :func:`build_reference`.
    """
    body = _geometry(c, p)
    body.texture = 0.75 * c.noise(p.rng("texture"), 13.0) + 0.65 * c.noise(p.rng("slow texture"), 40.0)
    fine = c.noise(p.rng("fine texture"), 6.0)
    leaves = 256 if min(c.grid.spacing_mm) > 3.0 else 512
    body.trees = grow_all(reference.canvas, reference.lungs, p, leaves)
    paint_wall(c, body.chest, p, body.texture)
    paint_abdomen(c, body.chest, p, body.texture)
    paint_lungs(c, body.chest, body.lungs, p, body.texture, fine)
    paint_vessels(c, body.lungs, body.trees, p)
    if "bronchus" in body.trees:
        paint_bronchi(c, body.lungs, body.trees["bronchus"])
    paint_skeleton(c, body.chest, p, body.texture)
    paint_mediastinum(c, body.mediastinum, p, body.texture)
    return body
