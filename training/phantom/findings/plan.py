"""Which findings a phantom gets, what that means for the patient, and the order in which they are painted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from napari_colipri.text.findings import FINDING_NAMES
from training.phantom.findings import interstitium, lung, pleura, vessels
from training.phantom.findings.base import BIT, Finding, Scene
from training.phantom.findings.devices import medical_material

__all__ = ["Plan", "draw_plan", "plant"]

Painter = Callable[[Scene, np.random.Generator], Finding | None]

#: In the order of painting: what takes room from the lungs first, dense things last.
PAINTERS: dict[str, Painter] = {
    "Cardiomegaly": pleura.cardiomegaly,
    "Pericardial effusion": pleura.pericardial_effusion,
    "Hiatal hernia": pleura.hiatal_hernia,
    "Pleural effusion": pleura.pleural_effusion,
    "Mosaic attenuation pattern": lung.mosaic,
    "Emphysema": lung.emphysema,
    "Interlobular septal thickening": interstitium.septal,
    "Peribronchial thickening": interstitium.peribronchial,
    "Bronchiectasis": interstitium.bronchiectasis,
    "Lung opacity": lung.opacity,
    "Consolidation": lung.consolidation,
    "Pulmonary fibrotic sequela": interstitium.fibrosis,
    "Lung nodule": lung.nodules,
    "Lymphadenopathy": vessels.lymphadenopathy,
    "Arterial wall calcification": vessels.aortic_calcification,
    "Coronary artery wall calcification": vessels.coronary_calcification,
    "Medical material": medical_material,
}


@dataclass(frozen=True)
class Plan:
    """What was drawn before the patient.

    Attributes
    ----------
    wanted
        Canonical names.
    atelectasis
        Kind, side and mm by which the diaphragm is raised, or None.
    raised_mm
        Elevation of the right and of the left dome.
    inflation_mm
        Depression of both domes.
    """

    wanted: tuple[str, ...]
    atelectasis: tuple[str, str, float] | None
    raised_mm: tuple[float, float]
    inflation_mm: float


#: Of each finding: equal for all 18 on purpose, so that rare ones can be learnt; about 3.3 findings in a phantom.
CHANCE = 0.21


def draw_plan(seed: int, wanted: Sequence[str] | None, *, chance: float = CHANCE, normal: float = 0.12) -> Plan:
    """Draw the findings of a phantom.

    Parameters
    ----------
    seed
        Same seed, same plan.
    wanted
        Exactly these instead of a draw.
    chance
        Of each finding.
    normal
        Share of phantoms without any finding.

    Raises
    ------
    ValueError
        If ``wanted`` names something else than the 18.
    """
    unknown = set(wanted or ()) - set(FINDING_NAMES)
    if unknown:
        raise ValueError(f"Not a CT-RATE finding: {', '.join(sorted(unknown))}.")
    rng = np.random.default_rng((seed, 202))
    drawn = rng.random(len(FINDING_NAMES)) < chance
    if rng.random() < normal:
        drawn[:] = False
    names = tuple(wanted) if wanted is not None else tuple(n for n, on in zip(FINDING_NAMES, drawn, strict=True) if on)
    kind = interstitium.raise_of(rng)
    lift = kind[2] if "Atelectasis" in names else 0.0
    raised = (lift, 0.0) if kind[1] == "right" else (0.0, lift)
    inflation = float(rng.uniform(0, 22)) if "Emphysema" in names else float(rng.normal(0, 4))
    return Plan(names, kind if "Atelectasis" in names else None, raised, inflation)


def plant(scene: Scene, plan: Plan, seed: int) -> tuple[Finding, ...]:
    """Paint the planned findings and return those that came to lie in the picture, in canonical order."""
    done: dict[str, Finding] = {}
    for name, painter in PAINTERS.items():
        if name in plan.wanted:
            found = painter(scene, np.random.default_rng((seed, 303, BIT[name])))
            if found is not None:
                done[name] = found
        if name == "Pulmonary fibrotic sequela" and plan.atelectasis is not None:
            rng = np.random.default_rng((seed, 303, BIT["Atelectasis"]))
            found = interstitium.atelectasis(scene, rng, plan.atelectasis)
            if found is not None:
                done["Atelectasis"] = found
    return tuple(done[name] for name in FINDING_NAMES if name in done)
