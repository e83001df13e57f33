"""One patient: sex, age, size and the numbers that every organ is drawn from.

Ranges are those of adults in anatomy and radiology textbooks: inner width of the chest 22-32 cm, cardiothoracic
ratio of a normal heart below 0.5, ascending aorta 2.6-3.8 cm, trachea 1.3-2.3 cm, thoracic vertebra with disc 2-2.7 cm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["PHASES", "Blood", "Patient", "Phase", "draw_patient"]

Phase = Literal["none", "arterial", "pulmonary", "venous"]
PHASES: tuple[Phase, ...] = ("none", "arterial", "pulmonary", "venous")


@dataclass(frozen=True)
class Blood:
    """HU of the blood by place, and of the organs it makes brighter."""

    phase: Phase
    cava: float
    right_heart: float
    pulmonary_artery: float
    left_heart: float
    aorta: float
    myocardium: float
    liver: float
    spleen: float
    kidney: float


@dataclass(frozen=True)
class Patient:
    """Lengths in mm in the patient frame (origin: midline, middle of the chest), densities in HU.

    Attributes
    ----------
    half_width, half_depth
        Inner chest at its widest.
    top_z
        Apex of the lungs.
    pitch
        Vertebra with its disc.
    dome_right, dome_left
        z of the two domes of the diaphragm.
    carina_z
        z of the tracheal bifurcation.
    ctr
        Width of the heart over inner width of the chest.
    fat_mm
        Subcutaneous fat at the flank.
    """

    seed: int
    female: bool
    age: int
    size: float
    half_width: float
    half_depth: float
    top_z: float
    pitch: float
    dome_right: float
    dome_left: float
    carina_z: float
    ctr: float
    fat_mm: float
    arms_up: bool
    blood: Blood
    lung_hu: float
    fat_hu: float
    muscle_hu: float
    bone_hu: float
    aorta_mm: float

    def rng(self, part: str) -> np.random.Generator:
        """Return the source of randomness of one part: the same each time, whatever else was drawn before."""
        return np.random.default_rng((self.seed, *part.encode()))

    @property
    def first_vertebra_z(self) -> float:
        """Height of the centre of T1, mm."""
        return self.top_z + 6.0

    def level_z(self, level: float) -> float:
        """Height of the centre of a thoracic vertebra (1 to 12, 13 is L1), mm."""
        return self.first_vertebra_z - self.pitch * (level - 1.0)

    @property
    def spine_y(self) -> float:
        """Depth of the centre of the mid-thoracic vertebral bodies, mm."""
        return -self.half_depth + 34.0

    @property
    def heart_z(self) -> float:
        """Height of the centre of the heart, mm."""
        return 0.5 * (self.dome_right + self.dome_left) + 31.0 * self.heart_scale

    @property
    def heart_scale(self) -> float:
        """Size of the heart against one 124 mm wide."""
        return self.ctr * 2 * self.half_width / 124.0

    @property
    def heart_y(self) -> float:
        """Depth of the centre of the heart, mm: its front lies behind the sternum."""
        return self.half_depth - 12.0 - 42.0 * self.heart_scale

    @property
    def heart_x(self) -> float:
        """Side shift of the heart: to the left, negative."""
        return -15.0 * self.heart_scale


def _blood(rng: np.random.Generator, phase: Phase) -> Blood:
    plain = rng.uniform(34, 50)
    u = rng.uniform
    if phase == "none":
        return Blood(phase, plain, plain, plain, plain, plain, plain + 4, u(42, 66), plain + 5, plain - 8)
    if phase == "pulmonary":
        pa = u(280, 460)
        return Blood(phase, u(300, 700), pa * 0.9, pa, pa * u(0.4, 0.9), pa * u(0.2, 0.6), 75, u(55, 75), 70, 75)
    if phase == "arterial":
        ao = u(240, 420)
        return Blood(
            phase, u(120, 500), ao * u(0.5, 0.8), ao * u(0.6, 0.9), ao, ao, 105, u(60, 85), u(80, 140), u(110, 170)
        )
    ve = u(115, 180)
    return Blood(phase, ve, ve, ve, ve, ve + 8, ve * 0.7, u(85, 122), u(100, 130), u(150, 210))


def draw_patient(
    seed: int,
    *,
    cardiomegaly: bool = False,
    inflation: float = 0.0,
    raised_mm: tuple[float, float] = (0.0, 0.0),
    phase: Phase | None = None,
    arms_up: bool | None = None,
) -> Patient:
    """Draw a patient.

    Parameters
    ----------
    seed
        Same seed, same patient.
    cardiomegaly
        Cardiothoracic ratio above 0.52 instead of below 0.48. The threshold in use on radiographs is 0.5.
    inflation
        mm by which the diaphragm is pushed down (hyperinflation), or up if negative.
    raised_mm
        Elevation of the right and of the left dome, mm (loss of volume).
    phase, arms_up
        Fixed, or drawn: half of the scans without contrast, nine of ten with raised arms.
    """
    rng = np.random.default_rng((seed, 101))
    u = rng.uniform
    female = bool(rng.random() < 0.5)
    age = int(rng.integers(20, 92))
    size = float(np.clip(rng.normal(0.95 if female else 1.03, 0.055), 0.82, 1.2))
    top = 122.0 * size * u(0.93, 1.07)
    dome = top - 205.0 * size * u(0.86, 1.1) - inflation
    drawn = PHASES[int(rng.choice(4, p=[0.5, 0.15, 0.15, 0.2]))]
    blood = _blood(np.random.default_rng((seed, 102)), phase or drawn)
    up = bool(rng.random() < 0.9)
    older = (age - 20) / 70
    return Patient(
        seed=seed,
        female=female,
        age=age,
        size=size,
        half_width=131.0 * size * u(0.93, 1.08),
        half_depth=93.0 * size * u(0.9, 1.12) * (1 + 0.06 * older),
        top_z=top,
        pitch=23.0 * size * u(0.95, 1.06),
        dome_right=dome + raised_mm[0],
        dome_left=dome - u(2, 18) + raised_mm[1],
        carina_z=top - u(88, 106) * size,
        ctr=float(u(0.525, 0.66) if cardiomegaly else np.clip(rng.normal(0.435, 0.03), 0.37, 0.485)),
        fat_mm=float(np.clip(rng.gamma(3.2, 5.5), 3.0, 48.0)) * (1.15 if female else 0.95),
        arms_up=up if arms_up is None else arms_up,
        blood=blood,
        lung_hu=(u(-895, -800) if rng.random() < 0.75 else u(-800, -690)) - 0.25 * age,
        fat_hu=u(-115, -92),
        muscle_hu=u(42, 62) - 14 * older,
        bone_hu=u(190, 260) - 130 * older * u(0.6, 1.2),
        aorta_mm=float((13.6 + 3.6 * older) * np.sqrt(size) * u(0.92, 1.12)),
    )
