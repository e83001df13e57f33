"""How a phantom is scanned: the settings drawn for one study, in a regime that trains and one that is held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.phantom.patient import Patient

__all__ = ["COVERAGES", "REGIMES", "Protocol", "Regime", "draw_protocol", "quiet_protocol"]

Regime = Literal["train", "held_out"]
REGIMES: tuple[Regime, ...] = ("train", "held_out")
COVERAGES = ("chest", "upper", "bases", "abdomen")


@dataclass(frozen=True)
class Protocol:
    """Settings of one scan, world mm.

    Attributes
    ----------
    regime
        ``"train"``: in-plane blur 1.2-4 mm, slices 1, 2, 2.5 or 5 mm, soft to sharp kernels, noise 5-34 HU, tilt of
        about 1.5°, nine of ten with raised arms, curved tables. ``"held_out"``: slices 0.6, 3.5 or 8 mm, edge-enhancing
        kernels or none, coarse-grained noise of 36-60 HU, tilt of about 4°, half with arms down, flat tables, HU
        scaled by up to 3 %. Slices, noise, grain and shape of the table do not overlap; kernel, tilt and arms differ
        in how often each is drawn.
    soft_mm
        Width of an edge in plane.
    slice_mm
        Thickness of a slice.
    edge
        Overshoot of the kernel: negative for a soft one.
    noise_hu, grain_mm
        Standard deviation and correlation length of the noise.
    coverage
        ``"chest"``, ``"upper"`` (upper chest only), ``"bases"`` (lung bases only) or ``"abdomen"`` (mostly abdomen).
    low_mm, high_mm
        First and last slice.
    centre_xy, radius_mm
        Field of view.
    tilt_deg, bend_mm
        Of the patient.
    table
        ``"none"``, ``"curved"`` or ``"flat"``.
    motion_mm
        Breathing during the scan.
    gain
        Error of the HU scale, 1 is none.
    """

    regime: Regime
    soft_mm: float
    slice_mm: float
    edge: float
    noise_hu: float
    grain_mm: float
    coverage: str
    low_mm: float
    high_mm: float
    centre_xy: tuple[float, float]
    radius_mm: float
    tilt_deg: float
    bend_mm: float
    table: str
    motion_mm: float
    gain: float


def _extent(p: Patient, rng: np.random.Generator, coverage: str) -> tuple[float, float]:
    u = rng.uniform
    low_dome = min(p.dome_left, p.dome_right)
    if coverage == "upper":
        return p.carina_z - u(0, 70), p.top_z + u(20, 60)
    if coverage == "bases":
        return low_dome - u(40, 110), p.carina_z - u(35, 60)
    if coverage == "abdomen":
        return low_dome - u(150, 220), low_dome + u(15, 60)
    return low_dome - u(55, 120), p.top_z + u(12, 60)


def draw_protocol(seed: int, p: Patient, regime: Regime, coverage: str | None = None) -> Protocol:
    """Draw the settings of a scan.

    Parameters
    ----------
    seed
        Same seed, same settings.
    p
        Patient, who decides where the slices must lie.
    regime
        See :class:`Protocol`.
    coverage
        One of :data:`COVERAGES` instead of a draw (76 % whole chests, 8 % each of the others).

    Raises
    ------
    ValueError
        If regime or coverage are none of those known.
    """
    if regime not in REGIMES:
        raise ValueError(f"Unknown regime {regime!r}: {', '.join(REGIMES)}.")
    if coverage is not None and coverage not in COVERAGES:
        raise ValueError(f"Unknown coverage {coverage!r}: {', '.join(COVERAGES)}.")
    rng = np.random.default_rng((seed, 404))
    u = rng.uniform
    train = regime == "train"
    part = coverage or str(rng.choice(COVERAGES, p=[0.76, 0.08, 0.08, 0.08]))
    low, high = _extent(p, rng, part)
    wide = p.half_width + 40 + p.fat_mm
    cut = rng.random() < 0.3
    return Protocol(
        regime=regime,
        soft_mm=float(np.exp(u(np.log(1.2), np.log(4.0)))),
        slice_mm=float(rng.choice([1.0, 2.0, 2.5, 5.0] if train else [0.6, 3.5, 8.0])),
        edge=float(u(-0.3, 0.45) if train else rng.choice([u(0.6, 1.0), 0.0])),
        noise_hu=float(np.exp(u(np.log(5), np.log(34))) if train else u(36, 60)),
        grain_mm=float(u(0.8, 4.0) if train else u(4.5, 7.0)),
        coverage=part,
        low_mm=float(low),
        high_mm=float(high),
        centre_xy=(float(u(-10, 10)), float(u(-12, 28))),
        radius_mm=float(u(0.84, 1.0) * wide if cut else u(1.05, 1.5) * wide),
        tilt_deg=1.5 if train else 4.0,
        bend_mm=float(u(0.8, 2.4)),
        table=str(rng.choice(["none", "curved", "curved", "curved"] if train else ["flat", "flat", "none"])),
        motion_mm=float(u(3, 9)) if rng.random() < 0.15 else 0.0,
        gain=1.0 if train else float(u(0.97, 1.03)),
    )


def quiet_protocol(p: Patient) -> Protocol:
    """Return the settings of a scan that shows everything with little noise, for pictures, samples and tests."""
    low = min(p.dome_left, p.dome_right) - 90
    return Protocol(
        "train", 1.5, 1.0, 0.0, 3.0, 1.0, "chest", low, p.top_z + 40, (0.0, 6.0), 400.0, 0.0, 0.8, "curved", 0.0, 1.0
    )
