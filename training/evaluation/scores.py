"""A table of scores and labels, whatever model they come from, and its file: one study a line (JSONL)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_colipri.atomic import write_text
from napari_colipri.errors import ColipriError
from training.evaluation.bootstrap import Floats

__all__ = ["EvaluationError", "Scores", "read_lines", "read_scores", "rows_of", "write_scores"]


class EvaluationError(ColipriError):
    """A file of scores, reports or pairs is not what it should be; the message names file and line."""

    exit_status = 2


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of many studies.

    Attributes
    ----------
    findings
        Names of the F columns.
    scores
        float64 [N, F], higher = more likely present; NaN where the model gives no number.
    labels
        float64 [N, F]: 1, 0, or NaN where nobody knows.
    patient, study
        N keys each; the bootstrap draws patients.
    """

    findings: tuple[str, ...]
    scores: Floats
    labels: Floats
    patient: tuple[str, ...]
    study: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = (len(self.study), len(self.findings))
        if self.scores.shape != shape or self.labels.shape != shape or len(self.patient) != shape[0]:
            raise ValueError(f"scores and labels must be {shape}, one row per study and one column per finding")

    def __len__(self) -> int:
        return len(self.study)

    def select(self, findings: Sequence[str]) -> Scores:
        """Return these columns only, in this order.

        Raises
        ------
        KeyError
            If one is not there.
        """
        place = {name: index for index, name in enumerate(self.findings)}
        columns = [place[name] for name in findings]
        return Scores(tuple(findings), self.scores[:, columns], self.labels[:, columns], self.patient, self.study)

    @property
    def answered(self) -> tuple[str, ...]:
        """Findings for which at least one study has both a score and a label."""
        both = np.isfinite(self.scores) & np.isfinite(self.labels)
        return tuple(name for column, name in enumerate(self.findings) if both[:, column].any())


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of a JSONL file; empty lines are passed over.

    Raises
    ------
    EvaluationError
        Naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise EvaluationError(f"{path.name} cannot be read: {reason}.", code="unreadable") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise EvaluationError(f"{path.name} line {number} is not JSON: {error}.", code="bad_line") from error
        if not isinstance(value, dict):
            raise EvaluationError(f"{path.name} line {number} is not an object.", code="bad_line")
        yield number, value


def _numbers(value: Any, where: str, *, labels: bool) -> dict[str, float]:
    if not isinstance(value, dict):
        raise EvaluationError(f"{where} must be an object of finding: number.", code="bad_line")
    out = {}
    for name, number in value.items():
        if number is None:
            continue
        plain = isinstance(number, int | float) and not (isinstance(number, bool) and not labels)
        if not plain or not np.isfinite(number) or (labels and number not in (0, 1)):
            allowed = "0, 1 or null" if labels else "a number or null"
            raise EvaluationError(f"{where}: {name!r} is {number!r}, not {allowed}.", code="bad_line")
        out[name] = float(number)
    return out


def read_scores(path: Path) -> Scores:
    """Read ``{"study", "patient", "scores": {finding: number}, "labels": {finding: 0|1|null}}``, one a line.

    Raises
    ------
    EvaluationError
        Naming file and line: a missing field, a study twice, a value that is no number.
    """
    rows, seen = [], dict[str, int]()
    for number, item in read_lines(path):
        where = f"{path.name} line {number}"
        for field in ("study", "patient"):
            if not isinstance(item.get(field), str) or not item[field]:
                raise EvaluationError(f"{where}: {field!r} is missing or empty.", code="bad_line")
        if item["study"] in seen:
            raise EvaluationError(f"{where}: this study stands at line {seen[item['study']]} already.", code="bad_line")
        seen[item["study"]] = number
        scores = _numbers(item.get("scores", {}), f"{where}, scores", labels=False)
        labels = _numbers(item.get("labels", {}), f"{where}, labels", labels=True)
        rows.append((item["study"], item["patient"], scores, labels))
    if not rows:
        raise EvaluationError(f"{path.name} holds no study.", code="empty")
    return rows_of(rows)


def rows_of(rows: Iterable[tuple[str, str, dict[str, float], dict[str, float]]]) -> Scores:
    """Build a table from (study, patient, scores, labels); columns in the order in which they first appear."""
    listed = list(rows)
    names = tuple(dict.fromkeys(name for _, _, scores, labels in listed for name in (*scores, *labels)))

    def column(which: int) -> Floats:
        values = [[row[which].get(name, np.nan) for name in names] for row in listed]  # type: ignore[union-attr]
        return np.array(values, dtype=np.float64).reshape(len(listed), len(names))

    return Scores(names, column(2), column(3), tuple(row[1] for row in listed), tuple(row[0] for row in listed))


def write_scores(scores: Scores, path: Path) -> None:
    """Write the table as JSONL, whole or not at all."""
    lines = []
    for row, (study, patient) in enumerate(zip(scores.study, scores.patient, strict=True)):
        values, labels = scores.scores[row], scores.labels[row]
        item = {
            "study": study,
            "patient": patient,
            "scores": {n: float(v) for n, v in zip(scores.findings, values, strict=True) if np.isfinite(v)},
            "labels": {n: int(v) for n, v in zip(scores.findings, labels, strict=True) if np.isfinite(v)},
        }
        lines.append(json.dumps(item, ensure_ascii=False))
    write_text(path, "\n".join(lines) + "\n")
