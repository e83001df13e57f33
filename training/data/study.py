"""One record to a CT volume in HU with true axes, through the product's own readers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.checks import sample, voxel_reasons
from napari_colipri.ct.geometry import geometry_facts, geometry_reasons, measure
from napari_colipri.ct.open import open_volume
from napari_colipri.ct.passport import Passport
from napari_colipri.ct.readers.values import PADDING_HU
from napari_colipri.ct.resample import AIR_HU
from napari_colipri.ct.volume import CTVolume, HUArray
from napari_colipri.errors import StudyRefused
from training.data.arrays import is_array_file, read_array, read_array_labels
from training.data.records import Correction, Record

__all__ = ["corrected", "is_raw", "open_masks", "open_study"]

#: Reasons that a corrected volume is judged for anew.
_JUDGED_ANEW = {
    "not_hu",
    "wrong_body_part",
    "small_field_of_view",
    "unknown_orientation",
    "form_mismatch",
    "sheared",
    "gantry_tilt",
    "oblique",
    "non_axial",
    "single_slice",
}
#: Air, or the lung where no air is in view, is the darkest twentieth of a chest scan.
_DARK_PERCENTILE = 5
_INT16 = np.iinfo(np.int16)


def is_raw(volume: CTVolume, correction: Correction) -> bool:
    """Whether stored values are still to be rescaled: whether that brings air nearer to -1000 HU.

    Padding is left out of the sample: it is dark in both.
    """
    voxels = sample(volume)
    seen = voxels[voxels > AIR_HU]
    dark = float(np.percentile(seen, _DARK_PERCENTILE)) if seen.size else float(AIR_HU)
    return abs(correction.slope * dark + correction.intercept + 1000) < abs(dark + 1000)


def _rescaled(hu: HUArray, correction: Correction) -> HUArray:
    whole = float(correction.slope).is_integer() and float(correction.intercept).is_integer()
    values: npt.NDArray[np.float32] = hu.astype(np.float32)
    values *= np.float32(correction.slope)
    values += np.float32(correction.intercept)
    values[values <= PADDING_HU] = AIR_HU
    if whole and np.issubdtype(hu.dtype, np.integer) and values.max() <= _INT16.max:
        return values.astype(np.int16)
    return values


def corrected(volume: CTVolume, correction: Correction) -> tuple[CTVolume, list[str]]:
    """Apply what a table says about a volume.

    Parameters
    ----------
    volume
        As its file says.
    correction
        See :class:`training.data.records.Correction`.

    Returns
    -------
    CTVolume
        With a passport that judges the corrected values and axes.
    list of str
        What was done: ``"rescale"``, ``"affine"``.
    """
    done = []
    hu, affine = volume.hu, volume.affine
    identity = (correction.slope, correction.intercept) == (1.0, 0.0)
    if not identity and (correction.apply == "always" or is_raw(volume, correction)):
        hu = _rescaled(hu, correction)
        done.append("rescale")
    if correction.affine is not None:
        affine = np.asarray(correction.affine, np.float64)
        affine = np.vstack([affine[:3], [0.0, 0.0, 0.0, 1.0]])
        done.append("affine")
    if not done:
        return volume, done
    geometry = measure(
        hu.shape, affine, orientation_known=correction.affine is not None or volume.geometry.orientation_known
    )
    kept = [item for item in volume.passport.reasons if item.code not in _JUDGED_ANEW]
    changed = replace(volume, hu=hu, affine=affine, geometry=geometry)
    reasons = (*kept, *geometry_reasons(geometry), *voxel_reasons(changed))
    passport = Passport(reasons, geometry_facts(geometry), volume.passport.study)
    return replace(changed, passport=passport), done


def open_study(record: Record, folder: Path) -> tuple[CTVolume, list[str]]:
    """Read a record's image and correct it.

    Parameters
    ----------
    record
        Of a manifest.
    folder
        The manifest's.

    Raises
    ------
    StudyRefused
        If it cannot be read, or may not be analysed (values that are not HU, a single slice, 4D).
    """
    path, correction = record.image_path(folder), record.correction
    if is_array_file(path):
        known = correction.affine if correction else None
        volume = read_array(path, None if known is None else np.asarray(known, np.float64))
    else:
        volume = open_volume(path)
    done: list[str] = []
    if correction is not None:
        volume, done = corrected(volume, correction)
    blocking = volume.passport.blocking("analyse")
    if blocking is not None:
        raise StudyRefused(blocking.message, code=blocking.code)
    return volume, done


def open_masks(path: Path) -> CTVolume:
    """Read a label map: the values of ``hu`` are labels.

    Raises
    ------
    StudyRefused
        If it cannot be read.
    """
    return read_array_labels(path) if is_array_file(path) else open_volume(path)
