"""Zero-shot answers and probes by the field's protocol: four metrics per finding, macro means, intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap, mean_known
from training.evaluation.ranking import auroc, average_precision, balanced_accuracy, best_threshold, f1
from training.evaluation.scores import Scores

__all__ = ["METRICS", "RAD_CHESTCT_CLASSES", "Classification", "Row", "classify", "thresholds_of", "to_rad_chestct"]

METRICS = ("auroc", "auprc", "f1", "balanced_accuracy")
#: Threshold of a two-way softmax where no validation studies were given.
DEFAULT_THRESHOLD = 0.5

_CALCIFICATIONS = ("Arterial wall calcification", "Coronary artery wall calcification")
#: What is left of the 18 findings when a model is asked about RAD-ChestCT: mosaic attenuation is not labelled there and
#: both calcifications share one label.
RAD_CHESTCT_CLASSES = (
    "Medical material",
    "Calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Peribronchial thickening",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
)


@dataclass(frozen=True)
class Row:
    """Figures of one finding.

    Attributes
    ----------
    finding
        Name.
    studies, positives
        With both a score and a label, and how many of them are positive.
    threshold
        From which a score is called; None where nothing is ever called (no positive to choose it on).
    metrics
        One interval for each of :data:`METRICS`.
    """

    finding: str
    studies: int
    positives: int
    threshold: float | None
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Classification:
    """Figures of a set of studies.

    Attributes
    ----------
    studies, patients
        How many.
    rows
        One per finding with a score and a label.
    macro
        Mean over the findings in which a metric is defined.
    silent
        Findings with labels for which the model gave no number.
    threshold_source
        Where the thresholds come from, in words.
    """

    studies: int
    patients: int
    rows: tuple[Row, ...]
    macro: dict[str, Interval]
    silent: tuple[str, ...]
    threshold_source: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "studies": self.studies,
            "patients": self.patients,
            "thresholds": self.threshold_source,
            "macro": {name: value.to_json() for name, value in self.macro.items()},
            "findings": [
                {**vars(row), "metrics": {name: value.to_json() for name, value in row.metrics.items()}}
                for row in self.rows
            ],
            "without_a_number": list(self.silent),
        }


def thresholds_of(validation: Scores) -> dict[str, float]:
    """Return per finding the threshold with the highest F1 on validation studies, which must not be the test ones."""
    out = {}
    for column, name in enumerate(validation.findings):
        known = np.isfinite(validation.scores[:, column]) & np.isfinite(validation.labels[:, column])
        if known.any():
            out[name] = best_threshold(validation.scores[known, column], validation.labels[known, column] > 0)
    return out


def _column(scores: Floats, labels: Floats, threshold: float, weights: Floats) -> Floats:
    """Four metrics of one finding in every draw, [R, 4]."""
    known = np.isfinite(scores) & np.isfinite(labels)
    s, y, w = scores[known], labels[known] > 0, weights[:, known]
    values = (auroc(s, y, w), average_precision(s, y, w), f1(s, y, w, threshold), balanced_accuracy(s, y, w, threshold))
    return np.stack(values, axis=1)


def classify(
    scores: Scores,
    thresholds: Mapping[str, float] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Classification:
    """Score a set of studies.

    Parameters
    ----------
    scores
        Studies held out of training.
    thresholds
        Per finding, from :func:`thresholds_of` on validation studies; without, 0.5 for each.
    resamples, seed
        Of the bootstrap over patients.

    Raises
    ------
    ValueError
        If no finding has both scores and labels.
    """
    names = scores.answered
    if not names:
        raise ValueError("no finding has both scores and labels")
    table = scores.select(names)
    chosen = [(thresholds or {}).get(name, DEFAULT_THRESHOLD) for name in names]

    def statistic(weights: Floats) -> Floats:
        columns = [_column(table.scores[:, i], table.labels[:, i], chosen[i], weights) for i in range(len(names))]
        every = np.stack(columns, axis=1)  # [R, F, 4]
        return np.concatenate([every.reshape(len(weights), -1), mean_known(every, axis=1)], axis=1)

    figures = bootstrap(statistic, table.patient, resamples=resamples, seed=seed)
    rows = []
    for i, name in enumerate(names):
        known = np.isfinite(table.scores[:, i]) & np.isfinite(table.labels[:, i])
        metrics = dict(zip(METRICS, figures[4 * i : 4 * i + 4], strict=True))
        threshold = chosen[i] if np.isfinite(chosen[i]) else None
        rows.append(Row(name, int(known.sum()), int((table.labels[known, i] > 0).sum()), threshold, metrics))
    labelled = np.isfinite(scores.labels)
    silent = tuple(n for i, n in enumerate(scores.findings) if labelled[:, i].any() and n not in names)
    return Classification(
        len(scores),
        len(set(scores.patient)),
        tuple(rows),
        dict(zip(METRICS, figures[4 * len(names) :], strict=True)),
        silent,
        "0.5 for each finding" if thresholds is None else "highest F1 on the validation studies",
    )


def _highest(values: Floats) -> Floats:
    """Maximum of what is known, NaN where nothing is."""
    known = np.isfinite(values)
    return np.where(known.any(axis=1), np.where(known, values, -np.inf).max(axis=1), np.nan)


def _either(labels: Floats) -> Floats:
    """One if any is one, zero if all are zero, else unknown."""
    one, zero = (labels == 1).any(axis=1), (labels == 0).all(axis=1)
    return np.where(one, 1.0, np.where(zero, 0.0, np.nan))


def to_rad_chestct(scores: Scores) -> Scores:
    """Return a CT-RATE table as RAD-ChestCT asks: 16 classes, "Calcification" being the higher of the two scores.

    A label column "Calcification" is taken as it is; without one, it is 1 if either calcification is. Columns that are
    absent stay unknown.
    """
    place = {name: index for index, name in enumerate(scores.findings)}
    unknown = np.full(len(scores), np.nan)

    def pick(table: Floats, name: str) -> Floats:
        return table[:, place[name]] if name in place else unknown

    columns_s, columns_y = [], []
    for name in RAD_CHESTCT_CLASSES:
        values, labels = pick(scores.scores, name), pick(scores.labels, name)
        if name == "Calcification":
            both = [np.stack([pick(t, part) for part in _CALCIFICATIONS], 1) for t in (scores.scores, scores.labels)]
            values = np.where(np.isfinite(values), values, _highest(both[0]))
            labels = np.where(np.isfinite(labels), labels, _either(both[1]))
        columns_s.append(values)
        columns_y.append(labels)
    return Scores(RAD_CHESTCT_CLASSES, np.stack(columns_s, 1), np.stack(columns_y, 1), scores.patient, scores.study)
