"""Is a bundle's axis order the one that its weights were trained with? Both orders are scored; no torch here.

Public versions of ``colipri`` disagree (0.1.0 and 0.1.1 reorient to SAR, 0.1.2 and 0.1.3 to RAS) and weights do not
say. With labels, zero-shot AUROC decides; without, anatomy does: the model is asked where organs are whose relation is
the same in every patient. An order wins only if chance is an unlikely explanation of its lead and of its own score too:
random weights end as *inconclusive*.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from napari_colipri.ct import open_volume
from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.bundle_files import bundle_hash
from napari_colipri.engine.check_scores import (
    auroc_p_values,
    macro_auroc,
    relation_p_values,
    relation_share,
)
from napari_colipri.engine.findings import questions
from napari_colipri.engine.session import Session
from napari_colipri.engine.types import Encoding, HeatMap
from napari_colipri.errors import BundleError, StudyRefused
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["ANATOMY", "CheckReport", "Relation", "check_axis_order", "read_labels", "with_axis_order"]

Answer: TypeAlias = Literal["right", "wrong", "inconclusive"]
#: (text, other text, RAS axis, sign): the first lies on that side of the second.
Relation: TypeAlias = tuple[str, str, int, int]

#: Relations that hold in every chest without situs inversus.
ANATOMY: tuple[Relation, ...] = (
    ("right lung", "left lung", 0, +1),
    ("right lung", "heart", 0, +1),
    ("liver", "heart", 0, +1),
    ("liver", "lung", 2, -1),
    ("liver", "heart", 2, -1),
    ("liver", "trachea", 2, -1),
    ("heart", "trachea", 2, -1),
    ("heart", "spine", 1, +1),
    ("sternum", "spine", 1, +1),
)
_ORDERS = ("RAS", "SAR")
_ALPHA = 0.05


@dataclass(frozen=True)
class CheckReport:
    """Outcome of a check.

    Attributes
    ----------
    answer
        Whether the configured axis order is right.
    axis_order
        The configured one.
    method
        ``"labels"`` (macro AUROC) or ``"anatomy"`` (share of true relations).
    scores
        Axis order -> score, or None where nothing could be scored; 0.5 is chance for both methods.
    studies
        How many were used.
    p_value
        Larger one of two: chance as the explanation of the lead, and of the winner's own score.
    skipped
        Why studies were left out, one sentence each, without names.
    """

    answer: Answer
    axis_order: str
    method: Literal["labels", "anatomy"]
    scores: dict[str, float | None]
    studies: int
    p_value: float
    skipped: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {**vars(self), "skipped": list(self.skipped)}

    def sentence(self) -> str:
        """Return the answer in words."""
        numbers = ", ".join(f"{key} {'–' if value is None else f'{value:.2f}'}" for key, value in self.scores.items())
        what = "macro AUROC" if self.method == "labels" else "share of true anatomical relations"
        verdict = {
            "right": f"Right: axis order {self.axis_order} is the better one",
            "wrong": f"Wrong: axis order {self.axis_order} is not the one that the weights were trained with",
            "inconclusive": f"Inconclusive: whether axis order {self.axis_order} is right cannot be told",
        }[self.answer]
        return f"{verdict} ({what}: {numbers}; {self.studies} studies, p = {self.p_value:.3f})."


def with_axis_order(bundle: Bundle, order: str) -> Bundle:
    """Return the same weights with another axis order, in memory."""
    changed = bundle.config.input.model_copy(update={"axis_order": order})
    config = bundle.config.model_copy(update={"input": changed})
    return replace(bundle, config=config, hash=bundle_hash(config))


def read_labels(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a table of labels: a column ``study`` (file or folder name) and a column of 0 and 1 per finding.

    Raises
    ------
    BundleError
        Code ``bad_labels``: no such column, or something else than 0, 1 and empty cells.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BundleError(f"The table of labels cannot be read: {error}", code="bad_labels") from error
    out: dict[str, dict[str, float]] = {}
    for number, row in enumerate(rows, start=2):
        study = row.pop("study", None)
        if not study:
            raise BundleError("The table of labels needs a column 'study'.", code="bad_labels")
        given = {name: value.strip() for name, value in row.items() if isinstance(value, str) and value.strip()}
        if None in row or not set(given.values()) <= {"0", "1"}:
            raise BundleError(f"Line {number} of the labels holds something else than 0 or 1.", code="bad_labels")
        out[study] = {name: float(value) for name, value in given.items()}
    return out


def _studies(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BundleError("The folder of studies does not exist.", code="not_found")
    others = {".csv", ".md", ".txt", ".json"}
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return [entry for entry in entries if entry.is_dir() or entry.suffix.lower() not in others]


def _labels_of(path: Path, labels: Mapping[str, Mapping[str, float]]) -> Mapping[str, float] | None:
    return labels.get(path.name) or labels.get(path.name.split(".")[0])


def _centre(heat: HeatMap) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the RAS mm centre of the warmest twentieth: steadier than the single warmest token."""
    finite = np.isfinite(heat.values)
    warm = finite & (heat.values >= np.quantile(heat.values[finite], 0.95))
    index = np.argwhere(warm).mean(axis=0)
    return np.asarray(heat.affine[:3, :3] @ index + heat.affine[:3, 3], dtype=np.float64)


def _relations(session: Session, encoding: Encoding) -> list[float]:
    """Return 1 for each relation that the heat maps show, 0 for each they deny, NaN where words are unknown."""
    places = {}
    for text in dict.fromkeys(text for relation in ANATOMY for text in relation[:2]):
        try:
            places[text] = _centre(session.localise(encoding, text))
        except BundleError:
            continue  # words that this bundle does not know
    return [
        float(sign * (places[first][axis] - places[second][axis]) > 0)
        if first in places and second in places
        else math.nan
        for first, second, axis, sign in ANATOMY
    ]


def _probabilities(session: Session, encoding: Encoding) -> list[float]:
    answers = session.findings(encoding).items
    return [math.nan if item.probability is None else item.probability for item in answers]


def check_axis_order(
    bundle: Bundle,
    studies: str | Path,
    labels: str | Path | None = None,
    *,
    device: str = "auto",
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> CheckReport:
    """Score a bundle on a folder of studies in both public axis orders (and its own, where that is a third).

    Parameters
    ----------
    bundle
        Opened and verified.
    studies
        Folder; each file or folder in it is one study. Six are the least that can decide.
    labels
        Table as :func:`read_labels` takes it, or None to use anatomy.
    device
        As in :class:`~napari_colipri.engine.session.Session`.
    progress, cancel
        Called and checked per study and order, and within an encoding.

    Raises
    ------
    BundleError
        If there is no usable study or the labels cannot be read.
    """
    table = read_labels(labels) if labels is not None else None
    configured = bundle.config.input.axis_order
    orders = dict.fromkeys((*_ORDERS, configured))
    sessions = {order: Session(with_axis_order(bundle, order), device=device) for order in orders}
    rows: dict[str, list[list[float]]] = {order: [] for order in orders}
    truth: list[list[float]] = []
    skipped: list[str] = []
    paths = _studies(Path(studies))
    names = [question.name for question in questions(bundle.config)]
    for number, path in enumerate(paths, start=1):
        progress((number - 1) / len(paths), f"Study {number} of {len(paths)}")
        known = _labels_of(path, table) if table is not None else {}
        if known is None:
            skipped.append(f"study {number}: no labels")
            continue
        try:
            volume = open_volume(path, cancel=cancel)
            encoded = {order: session.encode(volume, cancel=cancel) for order, session in sessions.items()}
        except StudyRefused as error:
            skipped.append(f"study {number}: {error.message}")
            continue
        for order, session in sessions.items():
            score = _relations if table is None else _probabilities
            rows[order].append(score(session, encoded[order]))
        truth.append([known.get(name, math.nan) for name in names])
    for session in sessions.values():
        session.unload()
    if not truth:
        raise BundleError("None of the studies could be used for the check.", code="no_studies")
    return _report(configured, rows, truth if table is not None else None, tuple(skipped))


def _report(
    configured: str, rows: Mapping[str, list[list[float]]], truth: list[list[float]] | None, skipped: tuple[str, ...]
) -> CheckReport:
    arrays = {order: np.array(values, dtype=np.float64) for order, values in rows.items()}
    if truth is None:
        scores = {order: relation_share(values) for order, values in arrays.items()}
    else:
        known = np.array(truth, dtype=np.float64)
        scores = {order: macro_auroc(values, known) for order, values in arrays.items()}
    ranked = sorted(scores, key=lambda order: math.inf if math.isnan(scores[order]) else -scores[order])
    best, second = ranked[0], ranked[1]
    if any(math.isnan(score) for score in scores.values()):
        p_value = 1.0
    elif truth is None:
        p_value = max(relation_p_values(arrays[best], arrays[second]))
    else:
        p_value = max(auroc_p_values(arrays[best], arrays[second], known))
    answer: Answer = "inconclusive" if p_value >= _ALPHA else "right" if best == configured else "wrong"
    return CheckReport(
        answer=answer,
        axis_order=configured,
        method="anatomy" if truth is None else "labels",
        scores={order: None if math.isnan(score) else float(score) for order, score in scores.items()},
        studies=len(next(iter(arrays.values()))),
        p_value=float(p_value),
        skipped=skipped,
    )
