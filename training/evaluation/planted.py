"""Planted findings: the same volume unplanted, planted, and with a sham edit of equal extent.

The question is whether the score follows the finding rather than the edit. Differences are paired within a volume, and
patients are drawn. With a handful of patients this is a description, not a test, and the tables say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap
from training.evaluation.scores import EvaluationError, read_lines

__all__ = ["Planted", "PlantedRow", "paired_differences", "read_planted"]


@dataclass(frozen=True)
class Planted:
    """Scores of one finding in one volume: as it was, with the finding, with the sham edit."""

    patient: str
    volume: str
    finding: str
    unplanted: float
    planted: float
    sham: float


@dataclass(frozen=True)
class PlantedRow:
    """Differences of one finding.

    Attributes
    ----------
    finding, pairs, patients
        What, on how many pairs, of how many patients.
    planted, sham
        Mean score change from the unplanted volume.
    over_sham
        Mean of planted minus sham: what the finding does beyond the edit.
    ranked
        Share of pairs in which the planted volume scores above the sham, ties counting half.
    """

    finding: str
    pairs: int
    patients: int
    planted: Interval
    sham: Interval
    over_sham: Interval
    ranked: Interval

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {k: v.to_json() if isinstance(v, Interval) else v for k, v in vars(self).items()}


def read_planted(path: Path) -> tuple[Planted, ...]:
    """Read JSONL of ``{"patient", "volume", "finding", "unplanted", "planted", "sham"}``.

    Raises
    ------
    EvaluationError
        Naming file and line.
    """
    out = []
    for number, item in read_lines(path):
        try:
            words = [str(item[key]) for key in ("patient", "volume", "finding")]
            values = [float(item[key]) for key in ("unplanted", "planted", "sham")]
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(f"{path.name} line {number}: missing or wrong {error}.", code="bad_line") from error
        out.append(Planted(*words, *values))  # type: ignore[arg-type]
    return tuple(out)


def paired_differences(
    pairs: Sequence[Planted], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[PlantedRow, ...]:
    """Return the differences of every finding, in the order in which findings first appear."""
    rows = []
    for finding in dict.fromkeys(pair.finding for pair in pairs):
        mine = [pair for pair in pairs if pair.finding == finding]
        scores = np.array([[p.unplanted, p.planted, p.sham] for p in mine], np.float64)
        gain, sham = scores[:, 1] - scores[:, 0], scores[:, 2] - scores[:, 0]
        beyond = scores[:, 1] - scores[:, 2]
        table = np.stack([gain, sham, beyond, (np.sign(beyond) + 1) / 2], axis=1)

        def statistic(weights: Floats, table: Floats = table) -> Floats:
            return weights @ table / weights.sum(axis=1, keepdims=True)

        patients = [pair.patient for pair in mine]
        figures = bootstrap(statistic, patients, resamples=resamples, seed=seed)
        rows.append(PlantedRow(finding, len(mine), len(set(patients)), *figures))
    return tuple(rows)
