"""RAD-ChestCT (Draelos et al., Medical Image Analysis 2021; Zenodo 6406114) into a manifest.

    FOLDER/…/trn00001.npz        array ct: int16 HU [slices, rows, columns], isotropic
    FOLDER/CT_Scan_Metadata_Complete_35747.csv              NoteAcc_DEID, MRN_DEID (the patient), final_spacing (mm)
    FOLDER/img{train,valid,test}_Abnormality_and_Location_Labels.csv    NoteAcc_DEID, then abnormality*location columns

The archives say nothing of orientation. The columns of the set's own table of lung boxes do (``sup_axis0min``,
``ant_axis1min``, ``rig_axis2min``): the first slice is the uppermost, the first row the front, the first column the
patient's right.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from napari_colipri.text.findings import FINDING_NAMES
from training.data.converters.tables import Converted, Row, find_one, read_table, relative
from training.data.errors import DataError
from training.data.records import Correction, Record, Split

__all__ = ["ABNORMALITIES", "convert", "findings_of"]

SOURCE = "rad-chestct"
SPACING_MM = 0.8
#: Finding of CT-RATE to the set's abnormalities that mean it; 16 of 18 (see :func:`findings_of` for calcification).
ABNORMALITIES: dict[str, tuple[str, ...]] = {
    "Medical material": (
        "breast_implant",
        "cabg",
        "catheter_or_port",
        "chest_tube",
        "clip",
        "gi_tube",
        "hardware",
        "heart_valve_replacement",
        "pacemaker_or_defib",
        "staple",
        "stent",
        "suture",
        "tracheal_tube",
    ),
    "Calcification": ("calcification",),
    "Cardiomegaly": ("cardiomegaly",),
    "Pericardial effusion": ("pericardial_effusion",),
    "Hiatal hernia": ("hernia",),
    "Lymphadenopathy": ("lymphadenopathy",),
    "Emphysema": ("emphysema",),
    "Atelectasis": ("atelectasis",),
    "Lung nodule": ("nodule", "nodulegr1cm"),
    "Lung opacity": ("opacity", "groundglass"),
    "Pulmonary fibrotic sequela": ("fibrosis", "scarring"),
    "Pleural effusion": ("pleural_effusion",),
    "Peribronchial thickening": ("bronchial_wall_thickening",),
    "Consolidation": ("consolidation",),
    "Bronchiectasis": ("bronchiectasis",),
    "Interlobular septal thickening": ("septal_thickening",),
}
_CALCIFICATIONS = ("Arterial wall calcification", "Coronary artery wall calcification")
_PARTS: dict[str, Split] = {"trn": "train", "val": "valid", "tst": "test"}
_LABELS = ("imgtrain", "imgvalid", "imgtest")


def findings_of(row: Row) -> dict[str, int | None]:
    """Return the 16 transfer labels of a row: 1 if any column of any abnormality behind it is 1, wherever it lies.

    A finding none of whose columns the table has is unknown.
    """
    seen: dict[str, bool] = {}
    for column, cell in row.cells.items():
        name, star, _ = column.partition("*")
        if star:
            key = name.strip().lower()
            seen[key] = seen.get(key, False) or cell.strip() in ("1", "1.0")
    out: dict[str, int | None] = {}
    for finding, names in ABNORMALITIES.items():
        known = [seen[name] for name in names if name in seen]
        out[finding] = int(any(known)) if known else None
    return out


def _labels(found: dict[str, int | None]) -> dict[str, int | None]:
    """Return manifest labels: calcification of unknown place tells that both are absent, never which is there."""
    labels = {name: value for name, value in found.items() if name in FINDING_NAMES}
    return labels | dict.fromkeys(_CALCIFICATIONS, 0 if found["Calcification"] == 0 else None)


def _correction(spacing_mm: float) -> Correction:
    """Return the affine of an archive read as [columns, rows, slices]: to the left, to the back, to the feet."""
    step = -spacing_mm
    return Correction(affine=((step, 0, 0, 0), (0, step, 0, 0), (0, 0, step, 0), (0, 0, 0, 1)))


def _by_scan(path: Path | None, needed: tuple[str, ...]) -> dict[str, Row]:
    if path is None:
        return {}
    return {row["NoteAcc_DEID"]: row for row in read_table(path, ("NoteAcc_DEID", *needed))}


def convert(folder: Path, manifest: Path | None = None) -> Converted:
    """Make records of a local copy, whole or in part.

    Parameters
    ----------
    folder
        See above; archives and tables up to three levels below.
    manifest
        Where the manifest will be: paths become relative to it.

    Returns
    -------
    Converted
        ``beside`` holds a table of the 16 labels as the field scores the set, calcification as one.

    Raises
    ------
    DataError
        If there are no archives.
    """
    volumes = sorted({path for pattern in ("*.npz", "*/*.npz", "*/*/*.npz") for path in folder.glob(pattern)})
    if not volumes:
        raise DataError(f"There is no volume such as trn00001.npz in {folder}.")
    metadata = _by_scan(find_one(folder, ("CT_Scan_Metadata_Complete_35747.csv",)), ("MRN_DEID",))
    labels: dict[str, Row] = {}
    for part in _LABELS:
        labels |= _by_scan(find_one(folder, (f"{part}_Abnormality_and_Location_Labels.csv",)), ())
    out = Converted()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["study", "patient", *ABNORMALITIES])
    for path in volumes:
        split = _PARTS.get(path.stem[:3])
        if split is None:
            out.left_out["not named like a scan of RAD-ChestCT"] += 1
            continue
        about = metadata.get(path.stem)
        spacing = about.number("final_spacing") if about and about["final_spacing"] else SPACING_MM
        patient = (about["MRN_DEID"] if about else "") or path.stem
        found = findings_of(labels[path.stem]) if path.stem in labels else {}
        if found:
            cells = ["" if value is None else value for value in found.values()]
            writer.writerow([path.stem, patient, *cells])
        out.records.append(
            Record(
                image=relative(path, manifest),
                labels=_labels(found) if found else {},
                patient=patient,
                study=path.stem,
                split=split,
                source=SOURCE,
                correction=_correction(spacing),
            )
        )
    out.beside["rad-chestct-labels.csv"] = table.getvalue()
    if not metadata:
        out.notes.append(
            f"There is no metadata table: voxels count as {SPACING_MM} mm, and every scan as a patient of its own."
        )
    out.notes.append(
        "There are no reports. Calcification has no place in the labels: the manifest marks both as absent where there "
        "is none and as unknown otherwise; rad-chestct-labels.csv has it as one label."
    )
    return out
