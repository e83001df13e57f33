"""Fluid round lungs and heart, the hiatal hernia and the size of the heart."""

from __future__ import annotations

import numpy as np
import torch

from training.phantom.body import Body
from training.phantom.canvas import step
from training.phantom.classes import LABEL
from training.phantom.findings.base import WHOLE, Finding, Scene, blob, branch

__all__ = ["cardiomegaly", "hiatal_hernia", "pericardial_effusion", "pleural_effusion"]

_LUNG_FINDINGS = ("Emphysema", "Mosaic attenuation pattern", "Lung nodule", "Lung opacity")


def pleural_effusion(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Fill the dependent pleural space of one or both sides, 6-110 mm deep from the back.

    Mild up to 30 mm, moderate up to 100 mm, severe above: the thresholds of the CT rule of Moy et al. (Chest 2013).
    Fluid at 0-25 HU.
    """
    side = str(rng.choice(["left", "right", "right", "both", "both"]))
    deepest, ml, spot = 0.0, 0.0, (0.0, 0.0, 0.0)
    sides: set[str] = set()
    value = rng.uniform(0, 25)
    for name in ("left", "right"):
        own = branch(rng)
        if side not in (name, "both"):
            continue
        depth = float(np.exp(own.uniform(np.log(8), np.log(105))))
        lean, ripple = own.uniform(0.12, 0.3), own.uniform(0.2, 1.2)
        ref = scene.reference
        space = (ref.lungs.inside < 0) & (ref.lungs.right == (name == "right"))
        if int(space.sum()) < 30:
            continue
        back, low = float(ref.canvas.y[space].min()) - 4.5, float(ref.canvas.z[space].min())

        def region(
            body: Body, name: str = name, depth: float = depth, back: float = back, low: float = low, lean: float = lean
        ) -> torch.Tensor:
            c = body.canvas
            meniscus = min(6.0, 0.15 * depth) * torch.exp(body.lungs.inside.clamp(max=0.0) / 8.0)
            fluid = c.y - back - depth - meniscus + lean * (c.z - low - 0.9 * depth).clamp(min=0)
            return torch.where(body.lungs.right == (name == "right"), fluid, torch.full_like(fluid, 60.0))

        body = scene.body
        c = body.canvas
        sd = torch.maximum(region(body) + ripple * body.texture, body.lungs.inside - 0.5 * c.soft_mm - scene.rim_mm)
        amount = c.occupancy(sd)
        if int((amount > 0.5).sum()) == 0:
            continue
        scene.shrink_lungs(region(body), region(ref))
        ml += scene.put("Pleural effusion", amount, c.hu.clamp(min=value), label=LABEL["pleural_effusion"])
        sides.add(name)
        if depth > deepest:
            deepest = depth
            spot = scene.world(
                ((1 if name == "right" else -1) * 0.5 * body.patient.half_width, back + 0.5 * depth, low + 40)
            )
    if not sides:
        return None
    scene.truth.clear(_LUNG_FINDINGS, scene.body.canvas.labels == LABEL["pleural_effusion"])
    which = "both" if len(sides) == 2 else min(sides)
    severity = "mild" if deepest <= 30 else "moderate" if deepest <= 100 else "severe"
    place = "both pleural spaces" if which == "both" else f"{which} pleural space"
    return Finding("Pleural effusion", which, place, deepest, ml, len(sides), severity, "", spot)


def pericardial_effusion(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint a layer of 5-32 mm round the heart, thicker below and behind.

    Mild below 10 mm, moderate up to 20 mm, severe above (ESC guideline on pericardial diseases, 2015). Fluid at
    0-25 HU.
    """
    thick = float(np.exp(rng.uniform(np.log(5), np.log(32))))
    p = scene.body.patient
    reach = 2.0

    def region(body: Body) -> torch.Tensor:
        c = body.canvas
        down = step((p.heart_z + 30 - c.z) / 60) * 0.5 + step((p.heart_y + 10 - c.y) / 50) * 0.5
        shell = body.mediastinum.heart - reach - thick * (0.35 + 0.65 * down)
        return torch.maximum(torch.maximum(shell, body.chest.cage + 3), 1.5 - body.chest.above)

    body = scene.body
    c = body.canvas
    sd = region(body)
    taken = torch.maximum(sd, 0.5 * reach - body.mediastinum.heart)
    for name, tube in body.mediastinum.tubes.items():
        if name != "brachiocephalic_vessels":
            taken = torch.maximum(taken, -tube)
    taken = torch.maximum(taken, 2.0 - body.mediastinum.airway)
    amount = c.occupancy(taken)
    scene.shrink_lungs(sd, region(scene.reference))
    ml = scene.put("Pericardial effusion", amount, rng.uniform(0, 25), label=LABEL["pericardial_effusion"])
    if ml < 3:
        return None
    severity = "mild" if thick < 10 else "moderate" if thick <= 20 else "severe"
    at = scene.world((p.heart_x, p.heart_y - 20, p.heart_z - 35 * p.heart_scale))
    return Finding("Pericardial effusion", None, "pericardium", thick, ml, 1, severity, "", at)


def hiatal_hernia(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Paint herniated stomach of 25-100 mm behind the heart, with a wall, fluid, gas and often fat around it.

    Mild below 40 mm, moderate below 70 mm, severe above.
    """
    p = scene.body.patient
    size = float(np.exp(rng.uniform(np.log(25), np.log(100))))
    r = size / 2
    centre = np.array((rng.uniform(-16, 2), p.spine_y + 32 + 0.62 * r, min(p.dome_left, p.dome_right) + 4 + 0.75 * r))
    if not scene.view.shows(centre[None])[0]:
        return None
    radii = np.array((0.85, 0.78, 1.0)) * r
    found = blob(scene, rng, centre, radii, 0.12)
    if found is None:
        return None
    box, sd = found
    body = scene.body
    c = body.canvas
    m = body.mediastinum
    wall = torch.maximum(sd, 1.0 - m.tubes["aorta"][box])  # a heart in its way is pressed forward
    wall = torch.where(c.labels[box] == LABEL["vertebrae"], torch.full_like(wall, 20.0), wall)
    ref = scene.reference
    whole_ref = ref.canvas.ellipsoid(WHOLE, centre, radii + 3)
    whole = torch.full_like(body.lungs.inside, 50.0)
    whole[box] = sd - 3.0
    fat = c.occupancy(sd - rng.uniform(1.0, 5.0)) * (body.lungs.inside[box] < 2.0)
    c.blend(box, fat, p.fat_hu)
    scene.shrink_lungs(whole, whole_ref)
    ml = scene.put("Hiatal hernia", c.occupancy(wall), p.muscle_hu, box, LABEL["stomach"])
    level = c.y[box] - centre[1] - rng.uniform(-0.5, 0.5) * r
    content = torch.where(level > 0, -965.0, float(rng.uniform(5, 60)))
    c.blend(box, c.occupancy(wall + rng.uniform(2.5, 5.0)), content)
    if ml < 1:
        return None
    severity = "mild" if size < 40 else "moderate" if size < 70 else "severe"
    return Finding("Hiatal hernia", None, "behind the heart", size, ml, 1, severity, "", scene.world(centre))


def cardiomegaly(scene: Scene, rng: np.random.Generator) -> Finding | None:
    """Mark the heart, whose width was drawn with the patient: cardiothoracic ratio above 0.52.

    Mild below 0.56, moderate below 0.61, severe above; 0.5 is the usual limit.
    """
    del rng
    body = scene.body
    p = body.patient
    amount = body.canvas.occupancy(body.mediastinum.heart)
    scene.truth.mark("Cardiomegaly", amount)
    ml = float(amount.sum()) * body.canvas.grid.voxel_ml
    if ml < 30:
        return None
    severity = "mild" if p.ctr < 0.56 else "moderate" if p.ctr < 0.61 else "severe"
    at = scene.world((p.heart_x, p.heart_y, p.heart_z))
    return Finding("Cardiomegaly", None, "heart", p.ctr * 2 * p.half_width, ml, 1, severity, "", at)
