"""A plain folder of images into a manifest: ``reports.csv`` and ``labels.csv`` beside them go by name.

FOLDER/case-1.nii.gz, case-2/ (a DICOM series), …     one study each
FOLDER/reports.csv     name, report [, patient, split]
FOLDER/labels.csv      name, then one column per finding: 1, 0 or empty [, patient, split]
FOLDER/case-1.txt      a report as a file, where the table has none
FOLDER/masks/case-1.nii.gz
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_colipri.ct.open import format_of
from napari_colipri.errors import StudyRefused
from napari_colipri.text.findings import FINDING_NAMES, finding_term
from training.data.converters.tables import Converted, Row, Shares, label_of, read_table, relative, stem
from training.data.errors import DataError
from training.data.records import SPLITS, Record, Split

__all__ = ["convert"]

_ABOUT = {"name", "patient", "split", "report"}


def _images(folder: Path, out: Converted) -> dict[str, Path]:
    """Return studies by name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        aside = path.name.startswith(".") or path.suffix.lower() in (".csv", ".txt", ".json", ".jsonl", ".md")
        if aside or (path.is_dir() and path.name == "masks"):
            continue
        if not path.exists():
            out.left_out["a link that leads nowhere"] += 1
            continue
        if path.is_file():
            try:
                format_of(path)
            except StudyRefused:
                out.left_out["not an image"] += 1
                continue
        elif not any(path.iterdir()):
            out.left_out["an empty folder"] += 1
            continue
        name = stem(path)
        if name in found:
            raise DataError(f"Two images are called {name}: {found[name].name} and {path.name}. Rename one of them.")
        found[name] = path
    return found


def _rows(folder: Path, table: str, names: dict[str, Path], out: Converted) -> dict[str, Row]:
    path = folder / table
    if not path.exists():
        return {}
    rows: dict[str, Row] = {}
    for row in read_table(path, ("name",)):
        name = row["name"] if row["name"] in names else stem(Path(row["name"]))
        if name not in names:
            out.left_out[f"in {table}, but not in the folder"] += 1
        elif name in rows:
            raise DataError(f"{table}, line {row.line}: {name!r} stands on line {rows[name].line} already.")
        else:
            rows[name] = row
    return rows


def _findings(row: Row | None) -> dict[str, Any]:
    """Return the labels of a row; columns go by CT-RATE's names in any case."""
    if row is None:
        return {}
    labels: dict[str, Any] = {}
    for column, cell in row.cells.items():
        if column.strip().lower() in _ABOUT:
            continue
        term = finding_term(column)
        if term is None:
            raise DataError(f"{row.table}: the column {column!r} is no finding. Findings: {', '.join(FINDING_NAMES)}.")
        labels[term.name] = label_of(cell, row, column)
    return labels


def _said(column: str, rows: list[Row | None]) -> str:
    return next((row[column] for row in rows if row is not None and row[column]), "")


def _split(text: str, patient: str, shares: Shares, rows: list[Row | None]) -> Split:
    if not text:
        return shares.split_of(patient)
    for split in SPLITS:
        if text.lower() == split:
            return split
    row = next(row for row in rows if row is not None and row["split"])
    raise DataError(f"{row.table}, line {row.line}, column split: {text[:20]!r} is none of {', '.join(SPLITS)}.")


def convert(
    folder: Path, manifest: Path | None = None, *, source: str | None = None, shares: Shares | None = None
) -> Converted:
    """Make records of a plain folder.

    Parameters
    ----------
    folder
        See above.
    manifest
        Where the manifest will be: paths become relative to it.
    source
        Name of the data set; the folder's name without it.
    shares
        Of patients without a split in a table.

    Raises
    ------
    DataError
        If there are no images, or a table is wrong (file, line and column are named).
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    out = Converted()
    names = _images(folder, out)
    if not names:
        raise DataError(f"There are no images in {folder}.")
    reports = _rows(folder, "reports.csv", names, out)
    labels = _rows(folder, "labels.csv", names, out)
    alone = 0
    for name, path in names.items():
        rows = [reports.get(name), labels.get(name)]
        patient = _said("patient", rows)
        alone += not patient
        patient = patient or name
        text = folder / f"{name}.txt"
        masks = next((item for item in sorted((folder / "masks").glob(f"{name}.*")) if stem(item) == name), None)
        out.records.append(
            Record(
                image=relative(path, manifest),
                report=_said("report", rows) or (relative(text, manifest) if text.exists() else None),
                labels=_findings(labels.get(name)),
                masks=relative(masks, manifest) if masks else None,
                patient=patient,
                study=name,
                split=_split(_said("split", rows), patient, shares or Shares(), rows),
                source=source or folder.resolve().name,
            )
        )
    if alone:
        out.notes.append(
            f"{alone} of {len(names)} images have no patient in a table and count as a patient each: make sure that no "
            "patient stands in two splits."
        )
    return out
