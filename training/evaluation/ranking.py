"""AUROC, average precision, F1 and balanced accuracy with weights, for all bootstrap draws at once.

Shapes: scores and labels [N] of one finding, weights [R, N], results [R]. Ties share a threshold, as in scikit-learn.
AUROC is the Mann-Whitney statistic (Hanley and McNeil, Radiology 1982); average precision is the step-wise area of the
precision-recall curve, without interpolation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.evaluation.bootstrap import Floats

__all__ = ["auroc", "average_precision", "balanced_accuracy", "best_threshold", "f1", "roc_curve"]

_Labels = npt.NDArray[np.bool_]


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def _by_threshold(scores: Floats, labels: _Labels, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of positives and negatives at each distinct score, highest score first, each [R, G]."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sorted_weights, positive = weights[:, order], labels[order]
    return (
        np.add.reduceat(sorted_weights * positive, starts, axis=1),
        np.add.reduceat(sorted_weights * ~positive, starts, axis=1),
    )


def auroc(scores: Floats, labels: _Labels, weights: Floats) -> Floats:
    """Probability that a positive scores above a negative, ties counting half; NaN where either is missing."""
    positive, negative = _by_threshold(scores, labels, weights)
    below = negative.sum(axis=1, keepdims=True) - np.cumsum(negative, axis=1)
    won = (positive * (below + negative / 2)).sum(axis=1)
    return _ratio(won, positive.sum(axis=1) * negative.sum(axis=1))


def average_precision(scores: Floats, labels: _Labels, weights: Floats) -> Floats:
    """Area under the precision-recall steps; NaN without positives."""
    positive, negative = _by_threshold(scores, labels, weights)
    hits, flagged = np.cumsum(positive, axis=1), np.cumsum(positive + negative, axis=1)
    precision = np.nan_to_num(_ratio(hits, flagged))
    return _ratio((precision * positive).sum(axis=1), positive.sum(axis=1))


def _counts(
    scores: Floats, labels: _Labels, weights: Floats, threshold: float
) -> tuple[Floats, Floats, Floats, Floats]:
    called = scores >= threshold
    cells = (called & labels, called & ~labels, ~called & labels, ~called & ~labels)
    tp, fp, fn, tn = (weights @ cell.astype(np.float64) for cell in cells)
    return tp, fp, fn, tn


def f1(scores: Floats, labels: _Labels, weights: Floats, threshold: float) -> Floats:
    """2 TP / (2 TP + FP + FN) when scores from ``threshold`` on are called; NaN without positives."""
    tp, fp, fn, _ = _counts(scores, labels, weights, threshold)
    return np.where(tp + fn > 0, _ratio(2 * tp, 2 * tp + fp + fn), np.nan)


def balanced_accuracy(scores: Floats, labels: _Labels, weights: Floats, threshold: float) -> Floats:
    """Mean of sensitivity and specificity; NaN where positives or negatives are missing."""
    tp, fp, fn, tn = _counts(scores, labels, weights, threshold)
    return (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2


def best_threshold(scores: Floats, labels: _Labels) -> float:
    """Return the threshold with the highest F1, halfway between two scores; to be chosen on validation studies only.

    Without a positive nothing is ever called: infinity.
    """
    if not labels.any():
        return float("inf")
    distinct = np.unique(scores)[::-1]
    positive, negative = _by_threshold(scores, labels, np.ones((1, scores.size)))
    hits, flagged = np.cumsum(positive[0]), np.cumsum((positive + negative)[0])
    place = int(np.argmax(2 * hits / (flagged + labels.sum())))
    if place + 1 == distinct.size:
        return float(distinct[place])
    return float((distinct[place] + distinct[place + 1]) / 2)


def roc_curve(scores: Floats, labels: _Labels) -> tuple[Floats, Floats]:
    """Return false and true positive rates at every distinct score, (0, 0) first."""
    positive, negative = _by_threshold(scores, labels, np.ones((1, scores.size)))
    rates = [np.r_[0.0, np.cumsum(side[0]) / max(float(side.sum()), 1.0)] for side in (negative, positive)]
    return rates[0], rates[1]
