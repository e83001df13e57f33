"""Fit calibrators per finding on one set of studies and judge them on another; the result is ``calibration.json``.

Temperature scaling: Guo et al., ICML 2017. Logistic: Platt 1999. Isotonic: Zadrozny and Elkan, KDD 2002, by scikit-
learn. The method is chosen per finding by five-fold cross-validated Brier score on the fitting studies, folds cut by
patient.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from napari_colipri.atomic import write_json
from napari_colipri.engine.calibration import Calibration, CalibrationEntry, CalibrationRule, Figure, Method, Origin
from napari_colipri.engine.domain import Domain
from training.evaluation.bootstrap import RESAMPLES, Floats, Interval
from training.evaluation.reliability import BINS, Reliability, reliability
from training.evaluation.scores import EvaluationError, Scores

__all__ = ["METHODS", "calibrate", "fit", "write_calibration"]

METHODS: tuple[Method, ...] = get_args(Method)
#: Fewest positives and negatives on which a calibrator is fitted or judged.
FEWEST = 10
_EDGE = 1e-7
_FOLDS = 5
_Labels = npt.NDArray[np.bool_]


def _logit(p: Floats) -> Floats:
    clipped = np.clip(p, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _temperature(p: Floats, y: _Labels) -> dict[str, Any]:
    from scipy.optimize import minimize_scalar

    logit = _logit(p)

    def loss(log_t: float) -> float:
        z = logit / np.exp(log_t)
        return float(np.mean(np.logaddexp(0, z) - y * z))

    return {"temperature": float(np.exp(minimize_scalar(loss, bounds=(-5, 8), method="bounded").x))}


def _logistic(p: Floats, y: _Labels) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=FutureWarning)  # scikit-learn renames arguments between versions
        model = LogisticRegression(C=1e4, max_iter=1000).fit(_logit(p)[:, None], y)
    return {"slope": float(model.coef_[0, 0]), "intercept": float(model.intercept_[0])}


def _isotonic(p: Floats, y: _Labels) -> dict[str, Any]:
    from sklearn.isotonic import IsotonicRegression

    edge = 1.0 / (2 * p.size)  # no certainty from a finite number of studies
    model = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(p, y.astype(float))
    x, heights = model.X_thresholds_, np.maximum.accumulate(model.y_thresholds_)
    return {"x": [float(v) for v in x], "y": [float(v) for v in heights]}


_FITS: dict[Method, Callable[[Floats, _Labels], dict[str, Any]]] = {
    "temperature": _temperature,
    "logistic": _logistic,
    "isotonic": _isotonic,
}


def _folds(patients: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    _, which = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = int(which.max()) + 1
    fold = np.random.default_rng(seed).permutation(count) % _FOLDS
    return np.asarray(fold[which], dtype=np.int64)


def fit(p: Floats, y: _Labels, patients: Sequence[str], method: Method | None = None, seed: int = 0) -> CalibrationRule:
    """Fit a calibrator.

    Parameters
    ----------
    p, y, patients
        Probabilities, labels and patients of the fitting studies, [N] each.
    method
        Or None: the one with the lowest cross-validated Brier score.
    seed
        Of the folds.

    Raises
    ------
    EvaluationError
        With fewer than :data:`FEWEST` positives or negatives.
    """
    if min(int(y.sum()), int((~y).sum())) < FEWEST:
        raise EvaluationError(
            f"Calibration needs {FEWEST} positives and {FEWEST} negatives; there are {int(y.sum())} and "
            f"{int((~y).sum())}.",
            code="too_few",
        )
    if method is None:
        scores = _cross_validated(p, y, _folds(patients, seed))
        return _rule(min(METHODS, key=lambda each: scores[each]), p, y)
    return _rule(method, p, y)


def _rule(method: Method, p: Floats, y: _Labels) -> CalibrationRule:
    return CalibrationRule(method=method, **_FITS[method](p, y))


def _cross_validated(p: Floats, y: _Labels, fold: npt.NDArray[np.int64]) -> dict[Method, float]:
    """Brier score of every method on the folds left out."""
    scores: dict[Method, float] = {}
    for method in METHODS:
        errors = np.full(p.size, np.nan)
        for k in range(_FOLDS):
            out = fold == k
            if out.any() and y[~out].any() and not y[~out].all():
                errors[out] = (_rule(method, p[~out], y[~out]).apply(p[out]) - y[out]) ** 2
        scores[method] = float(np.nanmean(errors))
    return scores


def _figure(value: Interval) -> Figure:
    low, high = (value.value, value.value) if not np.isfinite(value.low) else (value.low, value.high)
    return Figure(value=value.value, low=low, high=high)


def _entry(
    finding: str, origin: Origin, rule: CalibrationRule, fitted_on: int, judged: Reliability
) -> CalibrationEntry:
    return CalibrationEntry(
        **rule.model_dump(),
        finding=finding,
        origin=origin,
        fitted_on=fitted_on,
        n=judged.studies,
        prevalence=judged.prevalence,
        ece=_figure(judged.ece),
        brier_skill=_figure(judged.brier_skill),
        curve=judged.curve,
    )


def _known(scores: Scores, name: str) -> tuple[Floats, _Labels, list[str]]:
    one = scores.select([name])
    known = np.isfinite(one.scores[:, 0]) & np.isfinite(one.labels[:, 0])
    patients = [patient for patient, kept in zip(one.patient, known.tolist(), strict=True) if kept]
    return one.scores[known, 0], one.labels[known, 0] > 0, patients


def calibrate(
    fitting: Scores,
    judging: Scores,
    *,
    domain: Domain,
    name: str,
    origin: Origin = "zero-shot",
    method: Method | None = None,
    resamples: int = RESAMPLES,
) -> tuple[Calibration, dict[str, Reliability], dict[str, str]]:
    """Fit on ``fitting``, judge on ``judging``.

    Parameters
    ----------
    fitting, judging
        Probabilities and labels of disjoint patients, neither of them trained on.
    domain, name
        What the studies are, and the set's name as it stands beside every number.
    origin
        Which answer the scores are.
    method
        One for all findings, or None to choose per finding.
    resamples
        Of the intervals.

    Returns
    -------
    calibration
        Of the findings that could be fitted and whose skill over the prevalence on ``judging`` has an interval above
        zero.
    reliability
        Of every fitted finding after calibration.
    left_out
        Finding to the reason why it has no entry.

    Raises
    ------
    EvaluationError
        If patients are shared.
    """
    shared = set(fitting.patient) & set(judging.patient)
    if shared:
        raise EvaluationError(
            f"{len(shared)} patients stand in the fitting and the judging set.", code="shared_patients"
        )
    entries, figures, left_out = [], {}, {}
    for finding in fitting.answered:
        if finding not in judging.answered:
            left_out[finding] = "no study to judge it on"
            continue
        p, y, patients = _known(judging, finding)
        try:
            fitted = fit(*_known(fitting, finding), method=method)
        except EvaluationError as error:
            left_out[finding] = error.message
            continue
        if min(int(y.sum()), int((~y).sum())) < FEWEST:
            left_out[finding] = f"fewer than {FEWEST} positives or negatives to judge it on"
            continue
        judged = reliability(fitted.apply(p), y, patients, bins=BINS, resamples=resamples)
        figures[finding] = judged
        if not judged.brier_skill.low > 0:
            left_out[finding] = f"no skill over the prevalence that is sure (Brier skill {judged.brier_skill})"
            continue
        entries.append(_entry(finding, origin, fitted, len(_known(fitting, finding)[0]), judged))
    return Calibration(format=1, domain=domain, set=name, entries=tuple(entries)), figures, left_out


def write_calibration(parts: Sequence[Calibration], path: Path) -> Calibration:
    """Join calibrations of one set (zero-shot and probe) and write ``calibration.json``.

    Raises
    ------
    EvaluationError
        If they are of different domains or sets.
    """
    if len({(part.domain, part.set) for part in parts}) != 1:
        raise EvaluationError("Calibrations of different domains or sets cannot share a file.", code="mismatch")
    entries = tuple(entry for part in parts for entry in part.entries)
    whole = Calibration(format=1, domain=parts[0].domain, set=parts[0].set, entries=entries)
    write_json(path, whole.model_dump(mode="json", exclude_none=True))
    return whole
