"""Masks as NIfTI on the source grid, with the geometry of the source's own header."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_colipri.atomic import replace_file
from napari_colipri.ct.volume import CTVolume
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["write_labels_nifti"]

_LABEL_INTENT = 1002  # NIFTI_INTENT_LABEL
_SCANNER, _ALIGNED = 1, 2  # NIFTI_XFORM_SCANNER_ANAT, NIFTI_XFORM_ALIGNED_ANAT
_MM = 2  # NIFTI_UNITS_MM
_SIZES = (348, 540)  # bytes of a header, version 1 and 2
_STEPS = 40


def write_labels_nifti(
    path: str | os.PathLike[str],
    labels: npt.NDArray[np.uint8],
    volume: CTVolume,
    *,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> None:
    """Write a label array as ``.nii.gz`` or ``.nii`` on the source grid.

    For a NIfTI source the header's sform, qform, their codes, the voxel sizes and the byte order are the source's own
    bytes: whatever program reads both puts them on top of each other. For other sources they are made from the affine.
    Free text of the source's header (description, auxiliary file, extensions) is not copied: it may name a patient.

    Parameters
    ----------
    path
        File to write; gzip level 1 if it ends in ``.gz``, without a name or a time inside: equal masks, equal files.
    labels
        uint8 [i, j, k] on the grid of ``volume.hu``.
    volume
        Where the labels belong.
    progress, cancel
        Told and asked between slabs of slices.

    Raises
    ------
    ValueError
        If the shapes differ.
    Cancelled
        If cancelled; nothing is left behind.
    """
    if labels.shape != volume.hu.shape:
        raise ValueError(f"labels of shape {labels.shape} do not lie on the grid {volume.hu.shape}")
    header = _header(volume)
    with replace_file(path) as temporary, temporary.open("wb") as raw, _maybe_gzip(path, raw) as stream:
        stream.write(header)
        depth = labels.shape[2]
        step = max(1, -(-depth // _STEPS))
        for start in range(0, depth, step):
            if cancel is not None:
                cancel.check()
            slab = np.asarray(labels[:, :, start : start + step], dtype=np.uint8)
            stream.write(slab.tobytes(order="F"))
            progress(min(1.0, (start + step) / depth), "Writing masks")


@contextlib.contextmanager
def _maybe_gzip(path: str | os.PathLike[str], raw: BinaryIO) -> Iterator[BinaryIO | gzip.GzipFile]:
    if not os.fspath(path).endswith(".gz"):
        yield raw
        return
    with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as stream:
        yield stream


def _nibabel() -> Any:
    import nibabel  # its headers are only partly typed

    return nibabel


def _header(volume: CTVolume) -> bytes:
    """Header and the empty extension flag: everything before the voxels."""
    found = _source_header(volume) if volume.source.kind == "nifti" else None
    header = found if found is not None else _fresh_header(volume)
    header.set_data_dtype(np.uint8)
    header["dim"] = [3, *volume.hu.shape, 1, 1, 1, 1]
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    header["cal_min"], header["cal_max"] = 0.0, 0.0
    header["intent_code"], header["intent_name"] = _LABEL_INTENT, b""
    header["descrip"], header["aux_file"] = b"", b""
    second = int(header["sizeof_hdr"]) == _SIZES[1]
    if not second:  # fields of the format before NIfTI that free text may hide in
        header["data_type"], header["db_name"] = b"", b""
    # A version 2 magic ends in control characters that tell a copy made in text mode.
    header["magic"] = b"n+2\0\r\n\x1a\n" if second else b"n+1"
    header["vox_offset"] = len(header.binaryblock) + 4
    return bytes(header.binaryblock) + b"\0\0\0\0"


def _source_header(volume: CTVolume) -> Any | None:
    """Header of the source file, or None where it cannot be read again or belongs to another grid."""
    try:
        header = _read_header(Path(volume.source.path))
    except (OSError, EOFError, zlib.error):
        return None  # inside an archive, or moved away since it was opened
    if header is None or tuple(int(n) for n in header["dim"][1:4]) != volume.hu.shape:
        return None
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    # Without codes the header places nothing, and its own words are kept as they are.
    if coded and not np.allclose(header.get_best_affine(), volume.affine, rtol=0, atol=1e-2):
        return None
    return header


def _read_header(path: Path) -> Any | None:
    """Read a NIfTI header of either version and byte order; None for anything else."""
    if path.suffix == ".img":
        path = path.with_suffix(".hdr")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) if packed else contextlib.nullcontext(raw) as stream:
            block = stream.read(_SIZES[1])
    for order, letter in (("little", "<"), ("big", ">")):
        size = int.from_bytes(block[:4], order)  # type: ignore[arg-type]
        if size not in _SIZES or len(block) < size:
            continue
        nibabel = _nibabel()
        kind = nibabel.Nifti1Header if size == _SIZES[0] else nibabel.Nifti2Header
        header = kind(block[:size], letter, check=False)
        if bytes(header["magic"].item())[:3] in {b"n+1", b"ni1", b"n+2", b"ni2"}:
            return header
    return None


def _fresh_header(volume: CTVolume) -> Any:
    header = _nibabel().Nifti1Header()
    header.set_data_shape(volume.hu.shape)
    # "Aligned to another file" claims nothing about the patient where the source states no orientation.
    code = _SCANNER if volume.geometry.orientation_known else _ALIGNED
    header.set_sform(volume.affine, code)
    header["pixdim"][1:4] = volume.geometry.spacing_mm
    if volume.geometry.orthogonal:  # a qform cannot hold a shear
        header.set_qform(volume.affine, code)
    header["xyzt_units"] = _MM
    return header
