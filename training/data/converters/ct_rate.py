"""CT-RATE (Hamamci et al., arXiv 2403.17834; CC BY-NC-SA 4.0) into a manifest.

Two editions of the volumes go by the same names. The first (``train``, ``valid``) stores raw values under default
headers: slope, intercept, spacing, position and orientation stand in the metadata table only (its authors,
CT-CLIP issue 28). The second (``train_fixed``, ``valid_fixed``) holds HU and right headers; applying the table to it
rescales twice (CT-CLIP issue 50). So the second is taken as it is, and to the first the table is applied where the
voxels show that it has not been yet.

The table says neither which slice its position belongs to nor in which order slices are stored. As in a public script
that corrects them, the third axis grows along the cross product of the first two (towards the head for a supine
patient), from that position.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from napari_colipri.ct.geometry import lps_to_ras
from napari_colipri.text.findings import FINDING_NAMES
from training.data.converters.tables import Converted, Row, Shares, find_one, label_of, read_table, relative
from training.data.errors import DataError
from training.data.records import Correction, Record, Split

__all__ = ["SECTIONS", "convert", "correction_of", "volume_name"]

SOURCE = "ct-rate"
#: Section heading to column of the report table.
SECTIONS = {
    "Clinical information": "ClinicalInformation_EN",
    "Technique": "Technique_EN",
    "Findings": "Findings_EN",
    "Impression": "Impressions_EN",
}
_NAME = re.compile(r"(train|valid)_(\d+)_([a-z]+)_(\d+)\.nii\.gz")
_GEOMETRY = ("XYSpacing", "ZSpacing", "ImagePositionPatient", "ImageOrientationPatient")
_META = ("RescaleSlope", "RescaleIntercept", *_GEOMETRY)
_EMPTY = ("", "nan", "not given.", "not given")


def volume_name(path: Path) -> tuple[str, str] | None:
    """Return (patient, study) of a volume called like ``train_1_a_2.nii.gz``, or None.

    Every reconstruction is a study of its own: it has its own voxels, and its patient tells that they belong together.
    """
    match = _NAME.fullmatch(path.name)
    return (f"{match[1]}_{match[2]}", path.name.removesuffix(".nii.gz")) if match else None


def _numbers(row: Row, column: str, count: int) -> list[float]:
    """Read a cell such as ``[0.68, 0.68]``."""
    try:
        values = [float(value) for value in json.loads(row[column])]
    except (ValueError, TypeError):
        values = []
    if len(values) != count:
        raise DataError(f"{row.table}, line {row.line}, column {column}: expected a list of {count} numbers.")
    return values


def correction_of(row: Row) -> Correction:
    """Return slope, intercept and affine (voxel to RAS mm) of one row of the metadata table.

    Raises
    ------
    DataError
        Naming table, line and column.
    """
    x_mm, y_mm = _numbers(row, "XYSpacing", 2)
    orientation = _numbers(row, "ImageOrientationPatient", 6)
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    affine = np.eye(4)
    affine[:3, 0] = along_row * x_mm
    affine[:3, 1] = along_column * y_mm
    affine[:3, 2] = np.cross(along_row, along_column) * row.number("ZSpacing")
    affine[:3, 3] = _numbers(row, "ImagePositionPatient", 3)
    rows = (lps_to_ras(affine) + 0.0).tolist()
    try:
        return Correction(
            slope=row.number("RescaleSlope"),
            intercept=row.number("RescaleIntercept"),
            affine=tuple(tuple(values) for values in rows),
        )
    except ValueError:
        raise DataError(f"{row.table}, line {row.line}: slope or geometry is damaged.") from None


def _report(row: Row | None, sections: Sequence[str]) -> str | None:
    if row is None:
        return None
    parts = [(name, row[SECTIONS[name]]) for name in sections]
    said = [f"{name}: {text}" for name, text in parts if text.lower() not in _EMPTY]
    return "\n\n".join(said) or None


def _by_volume(folder: Path, names: Sequence[str], needed: Sequence[str]) -> dict[str, Row]:
    path = find_one(folder, names)
    if path is None:
        return {}
    return {row["VolumeName"]: row for row in read_table(path, ("VolumeName", *needed))}


def _volumes(folder: Path) -> Iterator[Path]:
    """Yield ``<patient>/<scan>/<volume>.nii.gz`` in order of their numbers."""
    found = [path for path in folder.glob("*/*/*.nii.gz") if not path.name.startswith(".")]
    numbers = [[int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)] for path in found]
    yield from (found[index] for index in sorted(range(len(found)), key=lambda index: numbers[index]))


def _named_in(folder: Path, name: str) -> set[str]:
    """Return the volumes of a list such as ``no_chest_train.txt``."""
    path = find_one(folder, (name,))
    lines = path.read_text(encoding="utf-8").split() if path else []
    return {line.rpartition("/")[2].removesuffix(".nii.gz") for line in lines}


def convert(
    folder: Path,
    manifest: Path | None = None,
    *,
    hold_out: float = 0.02,
    sections: Sequence[str] = ("Findings", "Impression"),
) -> Converted:
    """Make records of a local copy of CT-RATE, or of a part of it.

    Parameters
    ----------
    folder
        The repository's folder or its ``dataset`` folder: volumes in ``train_fixed`` or ``train`` (likewise ``valid``),
        tables anywhere up to three levels below.
    manifest
        Where the manifest will be: paths become relative to it.
    hold_out
        Share of the training patients that become split ``valid``, by a hash of the patient: thresholds and stopping
        need patients of their own. The published validation volumes, on which the field reports, become ``test``.
    sections
        Which of :data:`SECTIONS` make the report, in this order.

    Raises
    ------
    DataError
        If there are no volumes, or raw ones without their metadata table.
    """
    wrong = [name for name in sections if name not in SECTIONS]
    if wrong:
        raise DataError(f"CT-RATE's reports have no section {wrong[0]!r}; they have {', '.join(SECTIONS)}.")
    root = folder / "dataset" if (folder / "dataset").is_dir() else folder
    out = Converted()
    for part, table in (("train", "train"), ("valid", "validation")):
        _convert_part(root, part, table, manifest, Shares(valid=hold_out, test=0.0), sections, out)
    if not out.records and not out.left_out:
        message = f"There is no volume such as train/train_1/train_1_a/train_1_a_1.nii.gz below {folder}."
        raise DataError(message)
    return out


def _convert_part(
    root: Path,
    part: str,
    table: str,
    manifest: Path | None,
    shares: Shares,
    sections: Sequence[str],
    out: Converted,
) -> None:
    fixed = (root / f"{part}_fixed").is_dir()
    volumes = list(_volumes(root / (f"{part}_fixed" if fixed else part)))
    if not volumes:
        return
    columns = [SECTIONS[name] for name in sections]
    reports = _by_volume(root, (f"{table}_reports.csv", f"{part}_reports.csv"), columns)
    labels = _by_volume(root, (f"{part}_predicted_labels.csv", f"{table}_predicted_labels.csv"), FINDING_NAMES)
    metadata = {} if fixed else _by_volume(root, (f"{table}_metadata.csv", f"{part}_metadata.csv"), _META)
    if not fixed and not metadata:
        raise DataError(
            f"The volumes in {part} store raw values, and {table}_metadata.csv, which says how they become HU, is "
            f"missing. Put it beside them, or use the corrected volumes ({part}_fixed)."
        )
    no_chest = _named_in(root, f"no_chest_{part}.txt")
    for path in volumes:
        named = volume_name(path)
        if named is None or named[1] in no_chest:
            out.left_out["listed as no chest" if named else "not named like a volume of CT-RATE"] += 1
            continue
        correction = None
        if not fixed:
            if path.name not in metadata:
                out.left_out["without a row in the metadata table"] += 1
                continue
            try:
                correction = correction_of(metadata[path.name])
            except DataError as error:
                out.left_out["with a damaged row in the metadata table"] += 1
                out.notes.append(error.message)
                continue
        split: Split = "test" if part == "valid" else shares.split_of(named[0])
        row = labels.get(path.name)
        known = {name: label_of(row[name], row, name) for name in FINDING_NAMES} if row else {}
        out.records.append(
            Record(
                image=relative(path, manifest),
                report=_report(reports.get(path.name), sections),
                labels=known,
                patient=named[0],
                study=named[1],
                split=split,
                source=SOURCE,
                correction=correction,
            )
        )
    present = {path.name for path in volumes}
    out.left_out["in a table, but not on this disk"] += len((reports.keys() | labels.keys()) - present)
    _say_what_is_missing(part, fixed, reports, labels, out)


def _say_what_is_missing(
    part: str, fixed: bool, reports: dict[str, Row], labels: dict[str, Row], out: Converted
) -> None:
    if not reports:
        out.notes.append(f"No table of reports was found for {part}: its volumes are image-only.")
    if not labels:
        out.notes.append(f"No table of labels was found for {part}: its labels are unknown.")
    if not fixed:
        out.notes.append(
            f"The volumes of {part} are the first edition: orientation comes from the metadata table, and HU where "
            "the voxels show raw values."
        )
