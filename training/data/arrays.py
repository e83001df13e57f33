"""Volumes that public sets and this project's phantoms keep as ``.npz``: numpy arrays without pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.checks import voxel_reasons
from napari_colipri.ct.geometry import geometry_facts, geometry_reasons, is_singular, measure
from napari_colipri.ct.passport import Passport
from napari_colipri.ct.readers.values import check_declared
from napari_colipri.ct.volume import Affine, CTVolume, HUArray, Source
from napari_colipri.errors import StudyRefused

__all__ = ["is_array_file", "read_array", "read_array_labels"]


def is_array_file(path: Path) -> bool:
    """Whether a path is named as a numpy archive."""
    return path.suffix.lower() == ".npz"


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """Read those of ``names`` that the archive holds."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive.files}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError):
        message = "The file is no archive of numpy arrays, or a damaged one."
        raise StudyRefused(message, code="unreadable", path=path) from None


def _affine(stored: npt.NDArray[Any] | None, path: Path) -> Affine:
    """Return the affine that an archive holds."""
    affine = None if stored is None else np.asarray(stored, np.float64)
    if affine is None or is_singular(affine):
        message = "The archive says nothing usable about voxel size and orientation."
        raise StudyRefused(message, code="singular_affine", path=path)
    return affine


def _volume(values: npt.NDArray[Any], affine: Affine, path: Path) -> CTVolume:
    if values.ndim != 3 or values.dtype.kind not in "iuf":
        raise StudyRefused("The archive's array is no volume of numbers.", code="not_a_volume", path=path)
    check_declared(values.shape, path)
    whole = values.dtype.kind in "iu" and np.can_cast(values.dtype, np.int16)
    hu: HUArray = values.astype(np.int16, copy=False) if whole else values.astype(np.float32, copy=False)
    geometry = measure(hu.shape, affine)
    volume = CTVolume(hu, affine, geometry, Source("nifti", str(path)))
    reasons = (*geometry_reasons(geometry), *voxel_reasons(volume))
    return CTVolume(hu, affine, geometry, volume.source, Passport(reasons, geometry_facts(geometry)))


def read_array(path: Path, affine: Affine | None = None) -> CTVolume:
    """Read a volume.

    Parameters
    ----------
    path
        With ``hu`` [i, j, k] and ``affine`` (a phantom of this project), or ``ct`` [k, j, i] (RAD-ChestCT), which says
        nothing of voxel size and orientation.
    affine
        Voxel [i, j, k] to RAS mm; needed for ``ct``, and instead of a stored one where given.

    Raises
    ------
    StudyRefused
        ``unreadable``, ``not_an_image``, ``not_a_volume``, ``singular_affine``.
    """
    found = _arrays(path, ("hu", "ct", "affine"))
    if "hu" in found:
        values = found["hu"]
    elif "ct" in found:
        values = found["ct"].transpose() if found["ct"].ndim == 3 else found["ct"]
    else:
        raise StudyRefused("The archive holds neither an array hu nor ct.", code="not_an_image", path=path)
    return _volume(values, affine if affine is not None else _affine(found.get("affine"), path), path)


def read_array_labels(path: Path) -> CTVolume:
    """Read the label map ``labels`` [i, j, k] with ``affine`` of a phantom, as a volume whose values are labels.

    Raises
    ------
    StudyRefused
        As :func:`read_array`.
    """
    found = _arrays(path, ("labels", "affine"))
    if "labels" not in found:
        raise StudyRefused("The archive holds no array of labels.", code="not_an_image", path=path)
    return _volume(found["labels"], _affine(found.get("affine"), path), path)
