"""One CT volume: HU values, affine, geometry and where it came from. numpy only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.passport import Passport

__all__ = ["Affine", "CTVolume", "Geometry", "HUArray", "Source", "fingerprint_of"]

Affine: TypeAlias = npt.NDArray[np.float64]
HUArray: TypeAlias = npt.NDArray[np.int16] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Geometry:
    """Measured geometry of a source grid.

    Attributes
    ----------
    shape
        Voxels along i, j, k.
    spacing_mm
        Norms of the affine's columns, mm, along i, j, k.
    axis_codes
        Direction in which each index grows, nearest patient axis, e.g. ``("L", "P", "S")``.
    orientation_known
        False where the file stores no orientation: no letters, no claim about left and right.
    obliquity_deg
        Largest angle between a voxel axis and its nearest patient axis, degrees.
    shear_deg
        Largest departure from right angles between voxel axes, degrees (gantry tilt is a shear).
    slice_positions_mm
        Position of each slice (k) along the slice normal, mm, where slices are unevenly spaced; else None.
        ``CTVolume.affine`` then holds the median spacing and is not enough to place a voxel.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    axis_codes: tuple[str, str, str]
    orientation_known: bool
    obliquity_deg: float
    shear_deg: float
    slice_positions_mm: tuple[float, ...] | None = None

    @property
    def orthogonal(self) -> bool:
        """Whether axes are at right angles (within 0.05 degrees) and slices evenly spaced."""
        return self.shear_deg < 0.05 and self.slice_positions_mm is None

    @property
    def axis_aligned(self) -> bool:
        """Whether the grid needs no resampling for display: orthogonal and rotated by less than 0.05 degrees."""
        return self.orthogonal and self.obliquity_deg < 0.05


@dataclass(frozen=True)
class Source:
    """Where a volume came from. Holds no patient name, identifier or date.

    Attributes
    ----------
    kind
        File format.
    path
        As the user gave it. May carry a patient's name: never logged or written into a record.
    series_uid, study_uid
        DICOM UIDs, or None.
    patient_key
        HMAC-SHA256 of issuer and PatientID under this installation's secret, or None ("cannot tell").
    age_band, sex
        Such as ``"60-69"`` and ``"F"``, or None.
    """

    kind: Literal["nifti", "nrrd", "mha", "dicom"]
    path: str
    series_uid: str | None = None
    study_uid: str | None = None
    patient_key: str | None = None
    age_band: str | None = None
    sex: str | None = None
    series_description: str | None = None
    kernel: str | None = None


def fingerprint_of(hu: HUArray, affine: Affine) -> str:
    """Hash of values and affine, independent of file format, compression and memory order.

    Parameters
    ----------
    hu
        Voxels indexed [i, j, k], HU, int16 or float32, any strides.
    affine
        Voxel to RAS mm, 4 x 4.

    Returns
    -------
    str
        32 hexadecimal digits (BLAKE2b).
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((hu.shape, hu.dtype.str)).encode())
    digest.update(np.ascontiguousarray(np.round(affine, 6) + 0.0, dtype="<f8").tobytes())
    by_slice = hu.transpose(2, 1, 0)  # Fortran order of [i, j, k]: how NIfTI and DICOM lie in memory
    for plane in by_slice:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class CTVolume:
    """A CT volume on its source grid.

    Attributes
    ----------
    hu
        Hounsfield units indexed [i, j, k] as the columns of ``affine``; int16 where every slice's rescale is
        integral, else float32; any strides; not writeable.
    affine
        Voxel index to patient RAS mm, 4 x 4 float64.
    geometry, source, passport
        See their classes.
    """

    hu: HUArray
    affine: Affine
    geometry: Geometry
    source: Source
    passport: Passport = field(default_factory=Passport)

    @cached_property
    def fingerprint(self) -> str:
        """See :func:`fingerprint_of`; about 0.2 s for 512 x 512 x 300, computed once."""
        return fingerprint_of(self.hu, self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, ml (at the median slice spacing where slices are uneven)."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0
