"""Look through a prepared folder: files that inflate, patients and voxels that cross splits, studies nobody names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from training.data.crops import Crop, read_crop, read_mask
from training.data.errors import DataError
from training.data.store import Prepared, key_of, remove_prepared, studies_in

__all__ = ["Finding", "prune", "unnamed", "verify"]


@dataclass(frozen=True)
class Finding:
    """Something wrong with a prepared study.

    Attributes
    ----------
    key
        Name of its files.
    code
        ``unreadable``, ``patient_in_two_splits`` or ``voxels_in_two_splits``.
    message
        One sentence without identifiers.
    """

    key: str
    code: str
    message: str


def _whole(study: Prepared) -> Finding | None:
    """Inflate a study's arrays."""
    crop = Crop((0, 0, 0), study.shape)
    try:
        image, mask = read_crop(study, crop), read_mask(study, crop)
    except DataError as error:
        return Finding(study.key, "unreadable", error.message)
    if image.shape != study.shape or mask.shape != study.shape:
        return Finding(study.key, "unreadable", "The stored array is not as large as its sidecar says.")
    return None


def _crossing(studies: Iterable[Prepared]) -> list[Finding]:
    """Patients, and voxels under any name, that stand in more than one split.

    Manifests are checked one by one; a folder that several were prepared into can still mix their splits, and the same
    scan can come under two names.
    """
    found = []
    patients: dict[tuple[str, str], Prepared] = {}
    voxels: dict[str, Prepared] = {}
    for study in studies:
        first = patients.setdefault((study.source, study.patient), study)
        if first.split != study.split:
            said = f"This patient is in split {study.split!r} here and in {first.split!r} with study {first.key}."
            found.append(Finding(study.key, "patient_in_two_splits", said))
        same = voxels.setdefault(study.fingerprint, study)
        if same.split != study.split:
            said = f"The same voxels are in split {study.split!r} here and in {same.split!r} as study {same.key}."
            found.append(Finding(study.key, "voxels_in_two_splits", said))
    return found


def verify(folder: Path, *, done: Callable[[Prepared], None] = lambda study: None) -> list[Finding]:
    """Inflate every study of a prepared folder and look for what crosses splits.

    Parameters
    ----------
    folder
        Prepared folder.
    done
        Told of every study that was inflated.

    Raises
    ------
    DataError
        If a sidecar is damaged.
    """
    studies = studies_in(folder)
    found = _crossing(studies)
    for study in studies:
        damage = _whole(study)
        if damage is not None:
            found.append(damage)
        done(study)
    return found


def unnamed(folder: Path, names: Iterable[tuple[str, str]]) -> list[Prepared]:
    """Return the studies of a folder that none of the (source, study) pairs names."""
    keys = {key_of(source, study) for source, study in names}
    return [study for study in studies_in(folder) if study.key not in keys]


def prune(folder: Path, names: Iterable[tuple[str, str]]) -> int:
    """Remove the studies that none of the (source, study) pairs names, such as a patient's who withdrew.

    Returns
    -------
    int
        How many were removed.
    """
    strangers = unnamed(folder, names)
    for study in strangers:
        remove_prepared(study)
    return len(strangers)
