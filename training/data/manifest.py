"""A manifest: JSON Lines, one study a line, checked before anything is computed from it.

Problems name line and field. Patients do not cross from one split to another: that error names both lines.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from napari_colipri.atomic import replace_file
from training.data.errors import ManifestError
from training.data.records import SPLITS, Record, report_text

__all__ = ["Counts", "Line", "Problem", "check_manifest", "read_manifest", "summary", "write_manifest"]

#: A text to what it says about findings: True present, False absent; a finding that is not named is not spoken of.
ReadFindings = Callable[[str], Mapping[str, bool]]


@dataclass(frozen=True)
class Line:
    """One record and the line (from 1) on which it stands."""

    number: int
    record: Record


@dataclass(frozen=True)
class Problem:
    """What is wrong on a line.

    Attributes
    ----------
    line
        From 1.
    field
        Such as ``"labels.Lung nodul"``; "" where it concerns the whole line.
    code
        ``not_json``, ``field``, ``patient_in_two_splits``, ``duplicate_study``, ``missing_file`` or ``label_mismatch``.
    message
        One sentence without the place.
    """

    line: int
    field: str
    code: str
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}, field {self.field}" if self.field else f"line {self.line}"
        return f"{place}: {self.message}"


@dataclass
class Counts:
    """Row of the summary: studies, patients, and how many have what."""

    studies: int = 0
    patients: int = 0
    reports: int = 0
    labelled: int = 0
    masks: int = 0


def _parsed(text: str, number: int) -> tuple[Record | None, list[Problem]]:
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        return None, [Problem(number, "", "not_json", f"this is not JSON ({error.msg} at column {error.colno}).")]
    try:
        return Record.model_validate(raw), []
    except ValidationError as error:
        found = []
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            field = ".".join(str(part) for part in item["loc"])
            said = item["msg"].removeprefix("Value error, ")
            found.append(Problem(number, field, "field", f"{said[:1].lower()}{said[1:]}."))
        return None, found


def _lines(path: Path) -> Iterator[tuple[Line | None, list[Problem]]]:
    """Yield a manifest's lines, parsed."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    record, problems = _parsed(text, number)
                    yield (Line(number, record) if record else None), problems
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise ManifestError(f"The manifest {path.name} cannot be read: {said}.") from None


def _across(lines: Iterable[Line]) -> list[Problem]:
    """Problems between lines: a patient in two splits, a study twice."""
    found = []
    split_of: dict[tuple[str, str], Line] = {}
    first: dict[tuple[str, str], int] = {}
    for line in lines:
        record = line.record
        patient = split_of.setdefault((record.source, record.patient), line)
        if patient.record.split != record.split:
            said = (
                f"this patient is in split {record.split!r} here and in {patient.record.split!r} on line "
                f"{patient.number}; all studies of a patient belong to one split."
            )
            found.append(Problem(line.number, "patient", "patient_in_two_splits", said))
        earlier = first.setdefault((record.source, record.study), line.number)
        if earlier != line.number:
            found.append(
                Problem(line.number, "study", "duplicate_study", f"this study stands on line {earlier} already.")
            )
    return found


def _missing(lines: Iterable[Line], folder: Path) -> list[Problem]:
    """Files that are not there."""
    found = []
    for line in lines:
        record = line.record
        paths = {
            "image": record.image_path(folder),
            "masks": record.masks_path(folder),
            "report": record.report_path(folder),
        }
        for field, path in paths.items():
            if path is not None and not path.exists():
                found.append(Problem(line.number, field, "missing_file", f"there is no file {path}."))
    return found


def _mismatched(lines: Iterable[Line], folder: Path, read: ReadFindings) -> list[Problem]:
    """Labels that say the opposite of the report."""
    found = []
    for line in lines:
        try:
            text = report_text(line.record, folder)
        except (OSError, UnicodeDecodeError):
            continue  # reported as missing
        if not text:
            continue
        for name, said in read(text).items():
            label = line.record.labels.get(name)
            if label is not None and bool(label) != said:
                words = "present" if said else "absent"
                message = f"the label is {label}, the report reads as {words}."
                found.append(Problem(line.number, f"labels.{name}", "label_mismatch", message))
    return found


def check_manifest(
    path: Path, *, files: bool = True, read_findings: ReadFindings | None = None
) -> tuple[list[Line], list[Problem]]:
    """Read a manifest and everything that is wrong with it.

    Parameters
    ----------
    path
        JSON Lines; empty lines are left out.
    files
        Whether to look for the files it names.
    read_findings
        Where given, labels are compared with what it reads in the reports.

    Returns
    -------
    tuple
        The lines that could be parsed, and the problems in order of lines.

    Raises
    ------
    ManifestError
        If the file cannot be read at all.
    """
    lines, problems = [], []
    for line, found in _lines(path):
        problems += found
        if line is not None:
            lines.append(line)
    problems += _across(lines)
    if files:
        problems += _missing(lines, path.parent)
    if read_findings is not None:
        problems += _mismatched(lines, path.parent, read_findings)
    return lines, sorted(problems, key=lambda item: item.line)


def read_manifest(path: Path, *, files: bool = False) -> list[Line]:
    """Read a manifest that must be right.

    Raises
    ------
    ManifestError
        Naming the first problem and how many there are.
    """
    lines, problems = check_manifest(path, files=files)
    if problems:
        more = f" ({len(problems) - 1} more: see `python -m training data check`)" if len(problems) > 1 else ""
        raise ManifestError(f"{path.name}, {problems[0]}{more}", code=problems[0].code)
    if not lines:
        raise ManifestError(f"The manifest {path.name} is empty.")
    return lines


def write_manifest(path: Path, records: Iterable[Record]) -> int:
    """Write a manifest whole or not at all; returns the number of its lines."""
    count = 0
    with replace_file(path, private=True) as part, part.open("w", encoding="utf-8") as file:
        for record in records:
            fields = record.model_dump(mode="json")
            for rare in ("correction", "boxes", "boxes_complete"):
                if not fields[rare]:
                    del fields[rare]
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")
            count += 1
    return count


def summary(records: Iterable[Record]) -> dict[tuple[str, str], Counts]:
    """Count by (source, split), sources by name and splits in their order."""
    rows: dict[tuple[str, str], Counts] = defaultdict(Counts)
    patients: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        key = (record.source, record.split)
        row = rows[key]
        row.studies += 1
        row.reports += bool(record.report)
        row.labelled += any(value is not None for value in record.labels.values())
        row.masks += bool(record.masks)
        patients[key].add(record.patient)
        row.patients = len(patients[key])
    return {key: rows[key] for key in sorted(rows, key=lambda key: (key[0], SPLITS.index(key[1])))}
