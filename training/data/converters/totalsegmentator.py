"""The TotalSegmentator data set (Wasserthal et al., Radiology: AI 2023) into a manifest with one label map a subject.

    FOLDER/meta.csv                      separated by semicolons: image_id; …; split (train, val, test)
    FOLDER/s0000/ct.nii.gz
    FOLDER/s0000/segmentations/*.nii.gz  one binary mask a structure

The licence differs between releases on Zenodo: check the one at hand before anything is shipped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_colipri.atomic import replace_file
from napari_colipri.ct.readers.nifti import read_nifti
from napari_colipri.errors import StudyRefused
from training.data.converters.tables import Converted, Shares, read_table, relative
from training.data.errors import DataError
from training.data.records import Record, Split

__all__ = ["CLASSES", "convert", "merge_masks"]

SOURCE = "totalsegmentator"
#: Class to the structures that make it, in both naming schemes of the set; label = place, from 1. Structures without a
#: class stay background. Lung vessels and airways below the trachea have no mask: they count as lung here.
CLASSES: dict[str, tuple[str, ...]] = {
    "lung_left": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "lung_right": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "heart": (
        "heart",
        "heart_atrium_left",
        "heart_atrium_right",
        "heart_ventricle_left",
        "heart_ventricle_right",
        "heart_myocardium",
    ),
    "aorta": ("aorta",),
    "bones": ("vertebrae_*", "rib_*", "sternum", "clavicula_*", "scapula_*", "humerus_*", "sacrum", "hip_*", "femur_*"),
    "liver": ("liver",),
    "trachea": ("trachea",),
    "spleen": ("spleen",),
    "stomach": ("stomach",),
    "esophagus": ("esophagus",),
}
_SPLITS: dict[str, Split] = {"train": "train", "val": "valid", "test": "test"}


def merge_masks(
    folder: Path, classes: Mapping[str, Sequence[str]]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Make one label map of a folder of binary masks.

    Parameters
    ----------
    folder
        ``segmentations`` of one subject.
    classes
        Class to file names without suffix, ``*`` standing for anything; label = place, from 1. Where two overlap, the
        later one holds.

    Returns
    -------
    labels
        uint8 [i, j, k].
    affine
        Voxel to RAS mm.

    Raises
    ------
    StudyRefused
        If there is no mask of any class, one cannot be read, or their grids differ.
    """
    labels: npt.NDArray[np.uint8] | None = None
    affine = np.eye(4)
    for label, patterns in enumerate(classes.values(), 1):
        files = sorted({path for pattern in patterns for path in folder.glob(f"{pattern}.nii.gz")})
        for path in files:
            mask = read_nifti(path)
            if labels is None:
                labels, affine = np.zeros(mask.hu.shape, np.uint8), mask.affine
            if mask.hu.shape != labels.shape or not np.allclose(mask.affine, affine, atol=1e-3):
                raise StudyRefused(f"The mask {path.name} lies on another grid than the others.", code="mask_elsewhere")
            labels[mask.hu > 0] = label
    if labels is None:
        raise StudyRefused("There is no mask of any wanted class.", code="unreadable")
    return labels, affine


def _write(target: Path, labels: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> None:
    import nibabel

    image = nibabel.Nifti1Image(labels, affine)
    image.header.set_xyzt_units("mm")
    with replace_file(target, private=True) as part:
        nibabel.save(image, part)


def convert(folder: Path, manifest: Path, *, classes: Mapping[str, Sequence[str]] | None = None) -> Converted:
    """Make records, and a label map each in ``<manifest>-masks`` beside the manifest; finished maps are kept.

    Parameters
    ----------
    folder
        See above.
    manifest
        Where the manifest will be.
    classes
        As in :func:`merge_masks`; :data:`CLASSES` without it.

    Raises
    ------
    DataError
        If ``meta.csv`` or every subject is missing, or a subject's split is none of the set's.
    """
    wanted = dict(classes or CLASSES)
    if not 0 < len(wanted) < 255:
        raise DataError("A label map holds 1 to 254 classes.")
    table = folder / "meta.csv"
    rows = read_table(table, ("image_id", "split"), delimiter=";") if table.exists() else []
    split_of: dict[str, Split] = {}
    for row in rows:
        if row["split"] not in _SPLITS:
            raise DataError(f"meta.csv, line {row.line}, column split: {row['split'][:20]!r} is no split of the set.")
        split_of[row["image_id"]] = _SPLITS[row["split"]]
    subjects = sorted(path.parent for path in folder.glob("*/ct.nii.gz"))
    if not subjects:
        raise DataError(f"There is no subject such as s0000/ct.nii.gz in {folder}.")
    # the classes are part of the folder's name: another choice makes other maps
    digest = hashlib.blake2b(json.dumps(wanted).encode(), digest_size=4).hexdigest()
    masks = manifest.parent / f"{manifest.stem}-masks-{digest}"
    masks.mkdir(parents=True, exist_ok=True)
    out = Converted()
    for subject in subjects:
        target = masks / f"{subject.name}.nii.gz"
        try:
            if not target.exists():
                _write(target, *merge_masks(subject / "segmentations", wanted))
        except StudyRefused as error:
            out.left_out[f"masks that cannot be used ({error.code})"] += 1
            continue
        out.records.append(
            Record(
                image=relative(subject / "ct.nii.gz", manifest),
                masks=relative(target, manifest),
                patient=subject.name,
                study=subject.name,
                split=split_of.get(subject.name) or Shares().split_of(subject.name),
                source=SOURCE,
            )
        )
    if not rows:
        out.notes.append("There is no meta.csv: subjects were shared out by a hash instead of the set's own split.")
    labels = {"0": "background"} | {str(label): name for label, name in enumerate(wanted, 1)}
    out.beside[f"{masks.name}/classes.json"] = json.dumps(labels, indent=2) + "\n"
    out.notes.append("The masks are partly a model's: a figure on them measures similarity to it.")
    return out
