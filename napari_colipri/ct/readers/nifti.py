"""NIfTI-1 and NIfTI-2, plain or gzip: header truth from nibabel, voxels straight into one buffer."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_colipri.ct.geometry import apply, is_singular, spacing_mm
from napari_colipri.ct.passport import Reason, reason
from napari_colipri.ct.readers.assemble import assemble
from napari_colipri.ct.readers.stream import (
    GZIP_MAGIC,
    Stream,
    check_end,
    check_size,
    open_bytes,
    open_file,
    peek,
    read_exact,
    skip,
)
from napari_colipri.ct.readers.values import check_declared, read_voxels
from napari_colipri.ct.volume import Affine, CTVolume
from napari_colipri.errors import StudyRefused
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["is_nifti", "read_nifti"]

#: Header extensions larger than this are damage.
_MAX_OFFSET = 64 << 20
_SIZES = {348: ("nifti1", 344, (b"n+1\x00", b"ni1\x00")), 540: ("nifti2", 4, (b"n+2\x00", b"ni2\x00"))}
_COLOUR = {128: "RGB", 2304: "RGBA"}
_COMPLEX = {32, 1792, 2048}
#: xyzt_units: millimetres per unit of length (nifti1.h: 1 metre, 2 mm, 3 micrometre).
_UNITS_MM = {1: 1000.0, 3: 0.001}


@dataclass(frozen=True, eq=False)
class _Header:
    """What a NIfTI header says, checked.

    ``shape`` is the first volume's, ``volumes`` how many the file holds, ``offset`` the byte of its first voxel.
    """

    shape: tuple[int, int, int]
    volumes: int
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    offset: int
    affine: Affine
    known: bool
    form: str
    reasons: tuple[Reason, ...]


def is_nifti(path: Path) -> bool:
    """Whether the first bytes, inflated where they are gzip, are a NIfTI header, whatever the file is called."""
    return _layout(peek(path, 540)) is not None


def _layout(head: bytes) -> tuple[str, str] | None:
    """Return (kind, byte order) of a NIfTI header, or None for anything else."""
    if len(head) < 348:
        return None
    for order in "<>":
        known = _SIZES.get(struct.unpack(f"{order}i", head[:4])[0])
        if known and head[known[1] : known[1] + 4] in known[2]:
            return known[0], order
    return None


def read_nifti(path: str | Path, progress: Progress = report_nothing, cancel: CancelToken | None = None) -> CTVolume:
    """Read the first volume of a NIfTI file.

    Stored integers with an integral rescale become int16, everything else float32. NaN and infinite voxels become air
    (``nan_voxels`` says how many), as do values of -1500 and below, which scanners put outside the reconstruction
    circle. The sform is used where it has a code, else the qform; where neither has one the grid is nibabel's base
    affine and the orientation unknown.

    Parameters
    ----------
    path
        File; its name does not matter, its bytes do.
    progress, cancel
        Told and asked every four million voxels.

    Returns
    -------
    CTVolume
        ``hu`` [i, j, k] as stored (Fortran order), not writeable; ``passport`` with the reasons of format and geometry.

    Raises
    ------
    StudyRefused
        ``empty``, ``not_an_image``, ``truncated``, ``unreadable``, ``too_large``, ``singular_affine``, ``colour``,
        ``not_ct``, ``not_a_volume``.
    OutOfResources
        Where the voxels do not fit into memory.
    Cancelled
        When asked to stop.
    """
    path = Path(path)
    with open_file(path) as raw:
        compressed = raw.read(2) == GZIP_MAGIC
    with open_bytes(path) as stream:
        header, used = _read_header(stream, path, compressed=compressed)
        count = math.prod(header.shape)
        check_size(path, header.offset + count * header.dtype.itemsize, compressed=compressed)
        skip(stream, header.offset - used, path)
        voxels = read_voxels(
            stream,
            count,
            header.dtype,
            path,
            slope=header.slope,
            intercept=header.intercept,
            progress=progress,
            cancel=cancel,
        )
        if header.volumes == 1 and compressed:
            check_end(stream, path)
    return assemble(
        voxels,
        header.shape,
        header.affine,
        kind="nifti",
        path=path,
        stored=header.dtype,
        volumes=header.volumes,
        orientation_known=header.known,
        reasons=header.reasons,
        facts={"rescale": [header.slope, header.intercept], "form": header.form},
    )


# --- header ----------------------------------------------------------------------------------------------------------


def _read_header(stream: Stream, path: Path, *, compressed: bool) -> tuple[_Header, int]:
    """Read and check the header; also return how many bytes were used."""
    head = bytearray(348)
    try:
        read_exact(stream, memoryview(head), path)
    except StudyRefused as error:
        # a short plain file is no NIfTI at all; a short gzip stream may be one that was cut
        if error.code == "truncated" and not compressed:
            raise _not_nifti(path) from error
        raise
    layout = _layout(bytes(head))
    if layout is None:
        raise _not_nifti(path)
    kind, order = layout
    if kind == "nifti2":
        rest = bytearray(540 - 348)
        read_exact(stream, memoryview(rest), path)
        head += rest
    return _parse(bytes(head), kind, order, path), len(head)


def _not_nifti(path: Path) -> StudyRefused:
    message = "The file is not a NIfTI image: its first bytes are no NIfTI header."
    return StudyRefused(message, code="not_an_image", path=path)


def _parse(head: bytes, kind: str, order: str, path: Path) -> _Header:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    header_class: Any = Nifti2Header if kind == "nifti2" else Nifti1Header
    header = header_class(head, endianness=order, check=False)
    if header["magic"].tobytes()[:2] == b"ni":
        message = "The file is one half of an .hdr/.img pair; save it as a single .nii file."
        raise StudyRefused(message, code="unreadable", path=path)
    shape, volumes = _shape(header, path)
    dtype = _dtype(header, path)
    slope, intercept = _rescale(header, path)
    with np.errstate(all="ignore"):  # damaged forms overflow; what comes of it is checked
        affine, known, form, reasons = _place(header, shape, path)
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _MAX_OFFSET:
        raise StudyRefused(f"The header is damaged: voxels start at byte {offset:g}.", code="unreadable", path=path)
    # below the header's own end means "directly behind it"; many writers leave 0
    start = max(int(offset), len(head) + 4)
    return _Header(shape, volumes, dtype, slope, intercept, start, affine, known, form, tuple(reasons))


def _shape(header: Any, path: Path) -> tuple[tuple[int, int, int], int]:
    dims = [int(value) for value in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise StudyRefused(f"The header is damaged: {dims[0]} dimensions.", code="unreadable", path=path)
    sizes = dims[1 : dims[0] + 1]
    check_declared(tuple(sizes[:3]), path)
    if dims[0] == 1 or sorted(sizes[:3])[-2:-1] == [1]:
        raise StudyRefused("The file holds a row of numbers, not an image.", code="not_a_volume", path=path)
    if any(size != 1 for size in sizes[4:]):
        raise StudyRefused("The file holds vectors (5 or more dimensions), not a scan.", code="not_a_volume", path=path)
    volumes = sizes[3] if len(sizes) > 3 else 1
    if volumes < 1:
        raise StudyRefused(f"The header is damaged: {volumes} volumes.", code="unreadable", path=path)
    padded = [*sizes, 1, 1]
    return (padded[0], padded[1], padded[2]), volumes


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code in _COLOUR:
        message = f"The file is a colour image ({_COLOUR[code]}), not CT values."
        raise StudyRefused(message, code="colour", path=path)
    if code in _COMPLEX:
        raise StudyRefused("The voxels are complex numbers: this is not a CT.", code="not_ct", path=path)
    try:
        dtype: np.dtype[Any] = np.dtype(header.get_data_dtype())
    except Exception as error:  # nibabel raises HeaderDataError, KeyError or TypeError for codes it does not know
        raise StudyRefused(f"Data type {code} is not known.", code="unreadable", path=path) from error
    if dtype.kind not in "iuf" or dtype.itemsize not in {1, 2, 4, 8}:
        raise StudyRefused(f"Voxels of type {dtype.name} cannot be read.", code="unreadable", path=path)
    return dtype


def _rescale(header: Any, path: Path) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0  # nifti1.h: a slope of 0 means that values are stored as they are
    if not math.isfinite(intercept):
        raise StudyRefused("The header is damaged: the rescale intercept is no number.", code="unreadable", path=path)
    return slope, intercept


# --- place -----------------------------------------------------------------------------------------------------------


def _tidy(header: Any) -> None:
    """Repair what ``nibabel.load`` repairs too: the sign of zooms, and a handedness that is neither 1 nor -1."""
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])


def _place(header: Any, shape: tuple[int, int, int], path: Path) -> tuple[Affine, bool, str, list[Reason]]:
    """Return the affine, whether its orientation is known, which form it comes from, and what is odd about it."""
    _tidy(header)
    has_s, has_q = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    form = "sform" if has_s else "qform" if has_q else "none"
    affine = header.get_sform() if has_s else _qform(header) if has_q else header.get_base_affine()
    affine = None if affine is None else np.asarray(affine, dtype=np.float64)
    if affine is not None:
        affine = _in_mm(affine, int(header["xyzt_units"]) & 7)
    if affine is None or is_singular(affine):
        what = "voxel sizes" if form == "none" else form
        message = f"The header's {what} cannot place the voxels (zero, infinite or flat axes)."
        raise StudyRefused(message, code="singular_affine", path=path)
    reasons: list[Reason] = []
    other = _qform(header) if has_s and has_q else None
    if other is not None and np.isfinite(other).all():
        reasons = _disagreement(affine, _in_mm(other, int(header["xyzt_units"]) & 7), shape)
    return affine, has_s or has_q, form, reasons


def _qform(header: Any) -> Affine | None:
    from nibabel.spatialimages import HeaderDataError

    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):  # a quaternion longer than 1, a negative zoom
        return None


def _in_mm(affine: Affine, unit: int) -> Affine:
    """Honour metres and micrometres, but only where millimetres would be absurd and the conversion is not."""
    factor = _UNITS_MM.get(unit, 1.0)
    scaled = affine.copy()
    scaled[:3] *= factor
    sane = [0.05 < value < 50 for value in (*spacing_mm(affine), *spacing_mm(scaled))]
    return scaled if all(sane[3:]) and not all(sane[:3]) else affine


def _disagreement(used: Affine, other: Affine, shape: tuple[int, int, int]) -> list[Reason]:
    ends = np.array(np.meshgrid(*((0, size - 1) for size in shape), indexing="ij")).reshape(3, -1).T
    apart = float(np.linalg.norm(apply(used, ends) - apply(other, ends), axis=1).max())
    if apart <= min(spacing_mm(used)) / 2:
        return []
    message = f"The header's two forms place the volume up to {apart:.1f} mm apart; the sform is used."
    return [reason("form_mismatch", message, round(apart, 3))]
