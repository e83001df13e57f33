"""One bootstrap for every figure: patients are drawn, metrics take the draws as weights, nothing loops over draws.

Efron's percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). Drawing n
patients with replacement gives each a multinomial count; a metric that takes weights is computed for all draws at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Interval", "Statistic", "bootstrap", "interval_of", "mean_known", "patient_weights"]

Floats: TypeAlias = npt.NDArray[np.float64]
#: Weights [R, N] of the studies to the statistic in every draw, [R] or [R, M].
Statistic: TypeAlias = Callable[[Floats], Floats]

#: Draws computed together; bounds memory at a few hundred MB for tens of thousands of studies.
_CHUNK = 128
RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A figure with its interval.

    Attributes
    ----------
    value
        On the data as they are; NaN where it is not defined (such as an AUROC without positives).
    low, high
        Percentile interval over the draws in which it is defined; NaN if there is none.
    """

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Return a JSON object; what is not defined is null."""
        return {key: float(each) if np.isfinite(each) else None for key, each in vars(self).items()}

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "–"
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})" if np.isfinite(self.low) else f"{self.value:.3f}"


def patient_weights(patients: Sequence[str], resamples: int, seed: int = 0) -> Floats:
    """Return how often each study counts in each draw, float64 [R, N]; studies of one patient move together.

    Parameters
    ----------
    patients
        One key per study.
    resamples
        Number of draws R.
    seed
        Of the draws.
    """
    _, which = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = int(which.max()) + 1 if which.size else 0
    if count == 0:
        raise ValueError("there is nothing to draw from: no study")
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples)
    return np.asarray(drawn[:, which], dtype=np.float64)


def mean_known(values: Floats, axis: int = -1) -> Floats:
    """Mean of what is finite along ``axis``; NaN where nothing is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=axis)
    count = known.sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def interval_of(point: float, draws: Floats, level: float = 0.95) -> Interval:
    """Return ``point`` with the percentile interval of ``draws`` [R]; draws that are not defined are left out."""
    known = draws[np.isfinite(draws)]
    if not known.size or not np.isfinite(point):
        return Interval(float(point), float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(point), float(low), float(high))


def bootstrap(
    statistic: Statistic,
    patients: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Interval, ...]:
    """Return every column of ``statistic`` with its interval.

    Parameters
    ----------
    statistic
        Takes weights [R, N] of the studies and returns [R] or [R, M].
    patients
        One key per study: patients are drawn, not studies.
    resamples, seed, level
        Number of draws, their seed, coverage.

    Returns
    -------
    tuple of Interval
        M of them.
    """
    point = np.asarray(statistic(np.ones((1, len(patients)))), np.float64).reshape(-1)
    weights = patient_weights(patients, resamples, seed)
    rows: list[Any] = [
        np.asarray(statistic(weights[start : start + _CHUNK]), np.float64).reshape(-1, point.size)
        for start in range(0, resamples, _CHUNK)
    ]
    draws = np.concatenate(rows)
    return tuple(interval_of(float(point[m]), draws[:, m], level) for m in range(point.size))
