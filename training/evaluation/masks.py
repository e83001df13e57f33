"""Dice and normalised surface distance of masks, by MONAI, per class and case.

Dice: 2 |A ∩ B| / (|A| + |B|). Normalised surface distance: the share of both surfaces that lies within a tolerance of
the other one (Nikolov et al., JMIR 2021). A class that the reference lacks has no Dice; what is drawn there all the
same is counted in ml.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap, mean_known

__all__ = ["CaseMasks", "MaskTable", "compare_case", "mask_table"]

TOLERANCE_MM = 3.0
_MaskArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CaseMasks:
    """One case.

    Attributes
    ----------
    case, patient
        Keys.
    dice, nsd
        Class to figure; NaN where the reference lacks the class.
    invented_ml
        Class to ml drawn where the reference has none of it.
    """

    case: str
    patient: str
    dice: dict[str, float]
    nsd: dict[str, float]
    invented_ml: dict[str, float]


@dataclass(frozen=True)
class MaskTable:
    """Means over cases with intervals.

    Attributes
    ----------
    cases, patients
        How many.
    classes
        Class to (cases that hold it, Dice, NSD).
    macro
        Mean over the classes: (Dice, NSD).
    invented_ml
        Class to mean ml drawn in cases without it, and the number of such cases.
    tolerance_mm
        Of the surface distance.
    """

    cases: int
    patients: int
    classes: dict[str, tuple[int, Interval, Interval]]
    macro: tuple[Interval, Interval]
    invented_ml: dict[str, tuple[float, int]]
    tolerance_mm: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "cases": self.cases,
            "patients": self.patients,
            "tolerance_mm": self.tolerance_mm,
            "macro": {"dice": self.macro[0].to_json(), "nsd": self.macro[1].to_json()},
            "classes": {
                name: {"cases": n, "dice": dice.to_json(), "nsd": nsd.to_json()}
                for name, (n, dice, nsd) in self.classes.items()
            },
            "invented_ml": {name: {"mean_ml": ml, "cases": n} for name, (ml, n) in self.invented_ml.items()},
        }


def compare_case(
    predicted: _MaskArray,
    reference: _MaskArray,
    names: Mapping[str, int],
    spacing_mm: Sequence[float],
    *,
    case: str,
    patient: str,
    tolerance_mm: float = TOLERANCE_MM,
    unknown: int | None = 255,
) -> CaseMasks:
    """Compare two label arrays on one grid.

    Parameters
    ----------
    predicted, reference
        uint8 [X, Y, Z].
    names
        Class to label.
    spacing_mm
        Voxel edges, mm.
    case, patient
        Keys.
    tolerance_mm
        Of the surface distance.
    unknown
        Reference value of voxels that count for nobody, or None.

    Raises
    ------
    ValueError
        If the grids differ.
    """
    import torch
    from monai.metrics.meandice import compute_dice
    from monai.metrics.surface_dice import compute_surface_dice

    if predicted.shape != reference.shape:
        raise ValueError(f"{case}: the masks lie on different grids, {predicted.shape} and {reference.shape}")
    if unknown is not None:
        skip = reference == unknown
        predicted, reference = np.where(skip, 0, predicted), np.where(skip, 0, reference)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    dice, nsd, invented = {}, {}, {}
    for name, label in names.items():
        ours, theirs = predicted == label, reference == label
        dice[name] = nsd[name] = float("nan")
        if not theirs.any():
            invented[name] = float(ours.sum()) * voxel_ml
            continue
        if not ours.any():
            dice[name] = nsd[name] = 0.0
            continue
        box = _box(ours | theirs)
        pair = [torch.from_numpy(np.ascontiguousarray(mask[box]))[None, None] for mask in (ours, theirs)]
        dice[name] = float(compute_dice(*pair, include_background=True)[0, 0])
        with warnings.catch_warnings():
            # MONAI calls one of its own functions in a way that it is about to retire
            warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
            found = compute_surface_dice(
                *pair, class_thresholds=[tolerance_mm], include_background=True, spacing=tuple(spacing_mm)
            )
        nsd[name] = float(found[0, 0])
    return CaseMasks(case, patient, dice, nsd, invented)


def _box(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest box of ``mask`` with one voxel of margin: distances outside it concern nobody."""
    out = []
    for axis in range(mask.ndim):
        held = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        out.append(slice(max(int(held[0]) - 1, 0), int(held[-1]) + 2))
    return tuple(out)


def mask_table(
    cases: Sequence[CaseMasks], *, tolerance_mm: float = TOLERANCE_MM, resamples: int = RESAMPLES, seed: int = 0
) -> MaskTable:
    """Average cases per class and over classes.

    Raises
    ------
    ValueError
        Without a case.
    """
    if not cases:
        raise ValueError("there is no case")
    names = list(dict.fromkeys(name for case in cases for name in case.dice))
    dice, nsd = (
        np.array([[getattr(case, metric).get(name, np.nan) for name in names] for case in cases], np.float64)
        for metric in ("dice", "nsd")
    )

    def statistic(weights: Floats) -> Floats:
        columns = [_weighted_mean(table, weights) for table in (dice, nsd)]
        return np.concatenate([*columns, *(mean_known(column)[:, None] for column in columns)], axis=1)

    patients = [case.patient for case in cases]
    figures = bootstrap(statistic, patients, resamples=resamples, seed=seed)
    count = len(names)
    invented = {}
    for name in names:
        drawn = [case.invented_ml[name] for case in cases if name in case.invented_ml]
        if drawn:
            invented[name] = (float(np.mean(drawn)), len(drawn))
    return MaskTable(
        len(cases),
        len(set(patients)),
        {n: (int(np.isfinite(dice[:, i]).sum()), figures[i], figures[count + i]) for i, n in enumerate(names)},
        (figures[2 * count], figures[2 * count + 1]),
        invented,
        tolerance_mm,
    )


def _weighted_mean(table: Floats, weights: Floats) -> Floats:
    """Mean of the known entries of each column in every draw, [R, K]."""
    known = np.isfinite(table)
    total = weights @ known.astype(float)
    return np.where(total > 0, weights @ np.where(known, table, 0.0) / np.where(total > 0, total, 1.0), np.nan)
