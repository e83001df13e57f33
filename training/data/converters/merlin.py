"""The Merlin abdominal CT data set (Blankemeier et al.; non-commercial research) into a manifest.

    FOLDER/merlin_data/<study id>.nii.gz
    FOLDER/reports_final.csv                     study id, Findings, Split
    FOLDER/zero_shot_findings_disease_cls.csv    study id first, then 1, 0 or -1 (not mentioned) a disease

The reports come as ``reports_final.xlsx``: save that sheet as CSV (UTF-8) under the same name first.
"""

from __future__ import annotations

from pathlib import Path

from training.data.converters.tables import Converted, Row, Shares, find_one, label_of, read_table, relative, stem
from training.data.errors import DataError
from training.data.records import Record, Split

__all__ = ["DISEASES", "convert"]

SOURCE = "merlin"
#: Column of the disease table to the finding of CT-RATE that means the same.
DISEASES = {
    "atelectasis": "Atelectasis",
    "cardiomegaly": "Cardiomegaly",
    "coronary_calcification": "Coronary artery wall calcification",
    "hiatal_hernia": "Hiatal hernia",
    "lymphadenopathy": "Lymphadenopathy",
    "pleural_effusion": "Pleural effusion",
}
_SPLITS: dict[str, Split] = {"train": "train", "val": "valid", "valid": "valid", "validation": "valid", "test": "test"}


def _reports(folder: Path) -> dict[str, Row]:
    path = find_one(folder, ("reports_final.csv", "reports_final_updated.csv"))
    if path is None:
        sheet = find_one(folder, ("reports_final.xlsx", "reports_final_updated.xlsx"))
        if sheet is not None:
            raise DataError(f"Save {sheet.name} as {sheet.with_suffix('.csv').name} (CSV, UTF-8) beside it first.")
        raise DataError(f"There is no reports_final.csv in {folder}.")
    return {row["study id"]: row for row in read_table(path, ("study id", "Findings", "Split"))}


def _diseases(folder: Path) -> dict[str, Row]:
    path = find_one(folder, ("zero_shot_findings_disease_cls.csv",))
    rows = read_table(path, ()) if path else []
    return {next(iter(row.cells.values()), "").strip(): row for row in rows}


def _split(row: Row | None, name: str) -> Split:
    if row is None or not row["Split"]:
        return Shares().split_of(name)
    split = _SPLITS.get(row["Split"].lower())
    if split is None:
        raise DataError(f"{row.table}, line {row.line}, column Split: {row['Split'][:20]!r} is no split of the set.")
    return split


def convert(folder: Path, manifest: Path | None = None) -> Converted:
    """Make records of a local copy, whole or in part.

    Parameters
    ----------
    folder
        See above; volumes and tables up to three levels below.
    manifest
        Where the manifest will be: paths become relative to it.

    Raises
    ------
    DataError
        If volumes or reports are missing, or a table is wrong.
    """
    patterns = ("merlin_data/*.nii.gz", "*/merlin_data/*.nii.gz", "*/*/merlin_data/*.nii.gz")
    volumes = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if not volumes:
        raise DataError(f"There is no volume merlin_data/*.nii.gz in {folder}.")
    reports, diseases = _reports(folder), _diseases(folder)
    out = Converted()
    alone = 0
    for path in volumes:
        name = stem(path)
        row, said = reports.get(name), diseases.get(name)
        patient = (row["patient id"] if row else "") or name
        alone += patient == name
        labels = {finding: label_of(said[column], said, column) for column, finding in DISEASES.items()} if said else {}
        out.records.append(
            Record(
                image=relative(path, manifest),
                report=(row["Findings"] if row else "") or None,
                labels=labels,
                patient=patient,
                study=name,
                split=_split(row, name),
                source=SOURCE,
            )
        )
    out.left_out["in the table of reports, but not on this disk"] += len(reports.keys() - {stem(p) for p in volumes})
    if alone:
        out.notes.append(
            f"{alone} studies name no patient and count as a patient each: the set's own split is taken to keep "
            "patients apart, and a batch may hold two scans of one."
        )
    out.notes.append("Abdomen and pelvis: scans show the lung bases at most. Merlin may not be used commercially.")
    return out
