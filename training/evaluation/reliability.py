"""Are probabilities what they say? Brier skill, adaptive-bin calibration error with interval, reliability data.

Brier score: Brier, Monthly Weather Review 1950. Skill = 1 - score / score of always saying the prevalence. Adaptive
bins hold equally many studies (Nixon et al., "Measuring calibration in deep learning", 2019): with bins of equal
width a rare finding fills the lowest bin and the error looks small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap
from training.evaluation.scores import Scores

__all__ = ["BINS", "Reliability", "adaptive_ece", "brier_skill", "reliability", "reliability_rows"]

BINS = 15
_Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reliability:
    """How well probabilities of one finding agree with what happened.

    Attributes
    ----------
    studies, prevalence
        On how many studies, and the share of positives.
    ece
        Adaptive-bin expected calibration error.
    brier_skill
        1 is perfect, 0 no better than always saying the prevalence.
    curve
        Per bin: mean probability, share of positives, number of studies.
    """

    studies: int
    prevalence: float
    ece: Interval
    brier_skill: Interval
    curve: tuple[tuple[float, float, int], ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "n": self.studies,
            "prevalence": self.prevalence,
            "ece": self.ece.to_json(),
            "brier_skill": self.brier_skill.to_json(),
            "curve": [list(point) for point in self.curve],
        }


def _sums(p: Floats, y: _Labels, weights: Floats, bins: int) -> tuple[Floats, Floats, Floats]:
    """Weight, weighted probability and weighted positives per bin, each [R, G]; equal probabilities share a bin."""
    order = np.argsort(p, kind="stable")
    cuts = np.unique(p[order][np.minimum(np.arange(1, bins) * p.size // bins, p.size - 1)])
    which = np.searchsorted(cuts, p[order], side="right")
    starts = np.flatnonzero(np.r_[True, which[1:] != which[:-1]])
    w = weights[:, order]
    every = (np.add.reduceat(w * part, starts, axis=1) for part in (np.ones(p.size), p[order], y[order].astype(float)))
    total, said, happened = every
    return total, said, happened


def adaptive_ece(p: Floats, y: _Labels, weights: Floats, bins: int = BINS) -> Floats:
    """Mean distance between what is said and what happens over bins of equally many studies, [R].

    Parameters
    ----------
    p, y
        Probabilities and labels [N].
    weights
        [R, N].
    bins
        At most so many; studies of equal probability stay together. The bins are cut once, on all studies.
    """
    total, said, happened = _sums(p, y, weights, bins)
    return np.abs(said - happened).sum(axis=1) / total.sum(axis=1)


def brier_skill(p: Floats, y: _Labels, weights: Floats) -> Floats:
    """1 - Brier score / Brier score of the prevalence, [R]; NaN where only one class is drawn."""
    total = weights.sum(axis=1)
    prevalence = (weights @ y.astype(float)) / total
    score = (weights @ (p - y) ** 2) / total
    reference = prevalence * (1 - prevalence)
    return np.where(reference > 0, 1 - score / np.where(reference > 0, reference, 1.0), np.nan)


def reliability(
    p: Floats, y: _Labels, patients: Sequence[str], *, bins: int = BINS, resamples: int = RESAMPLES, seed: int = 0
) -> Reliability:
    """Score the probabilities of one finding.

    Parameters
    ----------
    p, y, patients
        Probabilities in [0, 1], labels and patients, [N] each.
    bins, resamples, seed
        Adaptive bins, and the bootstrap over patients.

    Raises
    ------
    ValueError
        If there is no study, or a probability lies outside [0, 1].
    """
    if not p.size or not np.isfinite(p).all() or p.min() < 0 or p.max() > 1:
        raise ValueError("probabilities must be numbers between 0 and 1, one per study")

    def statistic(weights: Floats) -> Floats:
        return np.stack([adaptive_ece(p, y, weights, bins), brier_skill(p, y, weights)], axis=1)

    ece, skill = bootstrap(statistic, patients, resamples=resamples, seed=seed)
    total, said, happened = (part[0] for part in _sums(p, y, np.ones((1, p.size)), bins))
    curve = tuple((float(s / n), float(h / n), int(n)) for n, s, h in zip(total, said, happened, strict=True))
    return Reliability(int(p.size), float(y.mean()), ece, skill, curve)


def reliability_rows(
    scores: Scores, *, bins: int = BINS, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Reliability]:
    """Score every finding of a table of probabilities that has both scores and labels."""
    out = {}
    for name in scores.answered:
        one = scores.select([name])
        known = np.isfinite(one.scores[:, 0]) & np.isfinite(one.labels[:, 0])
        patients = [patient for patient, kept in zip(one.patient, known.tolist(), strict=True) if kept]
        p, y = one.scores[known, 0], one.labels[known, 0] > 0
        out[name] = reliability(p, y, patients, bins=bins, resamples=resamples, seed=seed)
    return out
