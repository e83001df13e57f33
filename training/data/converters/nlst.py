"""The National Lung Screening Trial, as The Cancer Imaging Archive hands it out, into a manifest.

    FOLDER/…/100002/01-02-1999-NLST-LSS-55322/1.000000-0OPAGELSPLUSD3602.512080.00.11.5-35858/*.dcm
    FOLDER/*ctab*.csv        one row an abnormality: pid, study_yr (0, 1, 2), sct_ab_desc (51 to 65)

Dates in the set are shifted so that the screening years T0, T1 and T2 are 1999, 2000 and 2001. There are no reports.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from training.data.converters.tables import Converted, Shares, find_one, read_table, relative
from training.data.errors import DataError
from training.data.records import Record

__all__ = ["ABNORMALITIES", "convert", "labels_of"]

SOURCE = "nlst"
_STUDY = re.compile(r"\d\d-\d\d-(\d{4})\b.*")
_FIRST_YEAR = 1999
_FEWEST_SLICES = 40
#: Finding to the codes of ``sct_ab_desc`` that mean it, from the trial's data dictionary.
ABNORMALITIES: dict[str, tuple[int, ...]] = {
    "Lung nodule": (51, 52, 53, 62),
    "Atelectasis": (54,),
    "Lymphadenopathy": (56,),
    "Consolidation": (58,),
    "Emphysema": (59,),
    "Pulmonary fibrotic sequela": (61,),
}
#: Code 61 joins reticulation, honeycombing, fibrosis and scar: its absence says more than its presence.
_MIXED = {"Pulmonary fibrotic sequela"}


def labels_of(codes: set[int]) -> dict[str, int | None]:
    """Return what the codes of one reading say.

    Codes that mix several findings (55, pleural thickening or effusion; 60, any cardiovascular abnormality) say that
    none is there by their absence only.
    """
    labels: dict[str, int | None] = {name: int(bool(codes & set(means))) for name, means in ABNORMALITIES.items()}
    for name in _MIXED:
        labels[name] = None if labels[name] else 0
    labels["Pleural effusion"] = None if 55 in codes else 0
    return labels


def _readings(folder: Path) -> dict[tuple[str, int], set[int]]:
    path = find_one(folder, ("ctab_idc_20210527.csv", "ctab.csv")) or next(
        iter(sorted(folder.glob("*ctab*.csv"))), None
    )
    found: dict[tuple[str, int], set[int]] = defaultdict(set)
    if path is not None:
        for row in read_table(path, ("pid", "study_yr", "sct_ab_desc")):
            code = row["sct_ab_desc"]
            if code.isdecimal():  # .M and .N stand for missing
                found[row["pid"], int(row.number("study_yr"))].add(int(code))
    return found


def convert(folder: Path, manifest: Path | None = None, *, shares: Shares | None = None) -> Converted:
    """Make a record of every series of at least 40 slices.

    Parameters
    ----------
    folder
        See above; patients at the top, or below a folder such as ``NLST``.
    manifest
        Where the manifest will be: paths become relative to it.
    shares
        Of the patients, by a hash.

    Raises
    ------
    DataError
        If there is no such study.
    """
    readings = _readings(folder)
    shares = shares or Shares()
    out = Converted()
    studies = sorted({path for pattern in ("*/*", "*/*/*", "*/*/*/*") for path in folder.glob(pattern)})
    for study in studies:
        dated = _STUDY.fullmatch(study.name)
        if dated is None or not study.parent.name.isdecimal() or not study.is_dir():
            continue
        patient, year = study.parent.name, int(dated[1]) - _FIRST_YEAR
        codes = readings.get((patient, year))
        for series in sorted(path for path in study.iterdir() if path.is_dir()):
            slices = sum(1 for path in series.iterdir() if path.suffix.lower() == ".dcm")
            if slices < _FEWEST_SLICES:
                out.left_out[f"series of fewer than {_FEWEST_SLICES} slices (localizers)"] += 1
                continue
            out.records.append(
                Record(
                    image=relative(series, manifest),
                    labels=labels_of(codes) if codes else {},
                    patient=patient,
                    study=f"{patient}-T{year}-{series.name}",
                    split=shares.split_of(patient),
                    source=SOURCE,
                )
            )
    if not out.records:
        raise DataError(f"There is no study such as 100002/01-02-1999-NLST-LSS-55322 in {folder}.")
    if not readings:
        out.notes.append("No table of abnormalities (ctab) was found: labels are unknown.")
    out.notes.append("There are no reports: NLST is image-only. A scan without a row in ctab has unknown labels.")
    return out
