"""NRRD and MetaImage, attached or detached: geometry from SimpleITK, voxels straight into one buffer."""

from __future__ import annotations

import bz2
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from napari_colipri.ct.geometry import is_singular, lps_to_ras
from napari_colipri.ct.readers.assemble import assemble
from napari_colipri.ct.readers.itk_header import Declared, is_itk, read_declared
from napari_colipri.ct.readers.stream import Stream, check_end, check_size, open_bytes, skip
from napari_colipri.ct.readers.values import Voxels, convert_voxels, read_voxels
from napari_colipri.ct.volume import Affine, CTVolume
from napari_colipri.errors import StudyRefused
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["is_itk", "read_itk"]


def read_itk(path: str | Path, progress: Progress = report_nothing, cancel: CancelToken | None = None) -> CTVolume:
    """Read the first volume of a NRRD, NHDR, MHA or MHD file.

    Values are treated as in :func:`napari_colipri.ct.readers.nifti.read_nifti`. Data files outside the header's own
    folder are not opened. Where the header says nothing about the patient's axes the orientation is unknown.

    Parameters
    ----------
    path
        The file, or the header of a detached one.
    progress, cancel
        As there.

    Returns
    -------
    CTVolume
        As there.

    Raises
    ------
    StudyRefused
        As there, and ``archive_unsafe``.
    OutOfResources, Cancelled
        As there.
    """
    path = Path(path)
    declared = read_declared(path)
    affine = _affine(path, declared.kind)
    if declared.encoding == "other":
        voxels = _voxels_by_simpleitk(declared, path)
    else:
        voxels = _voxels(declared, path, progress, cancel)
    return assemble(
        voxels,
        declared.shape,
        affine,
        kind=declared.kind,
        path=path,
        stored=declared.dtype,
        volumes=declared.volumes,
        orientation_known=declared.orientation_known,
    )


# --- geometry --------------------------------------------------------------------------------------------------------


@contextmanager
def _quiet_itk() -> Iterator[Any]:
    """Keep ITK from writing warnings, which name the file, to stderr."""
    import SimpleITK

    itk: Any = SimpleITK
    before = itk.ProcessObject.GetGlobalWarningDisplay()
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield itk
    finally:
        itk.ProcessObject.SetGlobalWarningDisplay(before)


def _affine(path: Path, kind: str) -> Affine:
    """Return voxel to RAS mm as SimpleITK places it (NRRD spaces are brought to LPS there)."""
    with _quiet_itk() as itk:
        try:
            reader = itk.ImageFileReader()
            reader.SetImageIO("NrrdImageIO" if kind == "nrrd" else "MetaImageIO")
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
        except RuntimeError as error:  # the only type that SimpleITK raises
            placed = any(word in str(error).lower() for word in ("spacing", "direction", "determinant"))
            message = "The header cannot place the voxels." if placed else "The header is damaged."
            raise StudyRefused(message, code="singular_affine" if placed else "unreadable", path=path) from error
        size = int(reader.GetDimension())
        direction = np.reshape(reader.GetDirection(), (size, size))
        spacing, origin = reader.GetSpacing(), reader.GetOrigin()
    used = min(size, 3)
    affine = np.eye(4)
    affine[:used, :used] = direction[:used, :used] * np.asarray(spacing[:used])
    affine[:used, 3] = origin[:used]
    affine = lps_to_ras(affine)
    if is_singular(affine):
        message = "The header cannot place the voxels (zero, infinite or flat axes)."
        raise StudyRefused(message, code="singular_affine", path=path)
    return affine


# --- voxels ----------------------------------------------------------------------------------------------------------


class _Zlib(io.RawIOBase):
    """A zlib stream (MetaImage) as a file."""

    def __init__(self, raw: Stream) -> None:
        self._raw = raw
        self._chunk = memoryview(bytearray(1 << 18))
        self._pending = b""
        self._inflater = _inflater()

    def readinto(self, buffer: Any, /) -> int:
        """Inflate into ``buffer``; 0 at the stream's own end.

        Raises
        ------
        EOFError
            Where the file ends before the stream does.
        """
        view = memoryview(buffer)
        while not self._inflater.eof:
            if not self._pending:
                count = self._raw.readinto(self._chunk) or 0
                self._pending = bytes(self._chunk[:count])
            data = self._inflater.decompress(self._pending, len(view))
            ended = not self._pending
            self._pending = self._inflater.unconsumed_tail
            if data:
                view[: len(data)] = data
                return len(data)
            if ended and not self._inflater.eof:
                raise EOFError
        return 0


def _inflater() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this platform: the standard library does the same, more slowly
        return zlib.decompressobj()
    return isal_zlib.decompressobj()


def _inflated(raw: Stream, encoding: str) -> Stream:
    if encoding == "zlib":
        return _Zlib(raw)
    return bz2.BZ2File(cast("io.BufferedReader", raw)) if encoding == "bzip2" else raw


def _voxels(declared: Declared, path: Path, progress: Progress, cancel: CancelToken | None) -> Voxels:
    file = declared.files[0]
    # an interleaved file has to be read whole to pick its first volume
    count = declared.count * (declared.volumes if declared.interleaved else 1)
    size = count * declared.dtype.itemsize
    compressed = declared.encoding != "raw"
    start, inside = declared.start, 0
    if declared.offset == -1 and not compressed:
        start = file.stat().st_size - size * (1 if declared.interleaved else declared.volumes)
    elif declared.offset < 0:
        raise StudyRefused("The header is damaged: voxels start before the file.", code="unreadable", path=path)
    elif compressed:
        inside = declared.offset
    else:
        start += declared.offset
    if declared.encoding != "bzip2":  # whose ratio has no useful bound
        check_size(file, size, start, compressed=compressed)
    with open_bytes(file, max(start, 0), compressed=declared.encoding == "gzip") as raw:
        stream = _inflated(raw, declared.encoding)
        skip(stream, inside, path)
        voxels = read_voxels(stream, count, declared.dtype, path, progress=progress, cancel=cancel)
        if compressed and (declared.volumes == 1 or declared.interleaved):
            check_end(stream, path)
    return replace(voxels, hu=voxels.hu[:: declared.volumes].copy()) if declared.interleaved else voxels


def _voxels_by_simpleitk(declared: Declared, path: Path) -> Voxels:
    """Read text or slice-per-file data, all at once."""
    if declared.volumes > 1:
        message = "Several volumes in this encoding cannot be read; save them as raw or gzip."
        raise StudyRefused(message, code="unreadable", path=path)
    there = sum(file.stat().st_size for file in declared.files)
    several = len(declared.files) > 1
    # text needs at least a digit and a space per voxel; MetaIO would silently fill what is missing
    least = 2 * declared.count - 1 if not several else declared.count * declared.dtype.itemsize
    if there < least and (declared.kind == "mha" or not several):
        raise StudyRefused("The file is cut off: voxels are missing in its data files.", code="truncated", path=path)
    with _quiet_itk() as itk:
        try:
            array = itk.GetArrayFromImage(itk.ReadImage(str(path)))
        except RuntimeError as error:
            message = "The voxels cannot be decoded: they are damaged or cut off."
            raise StudyRefused(message, code="unreadable", path=path) from error
    if array.size != declared.count:
        raise StudyRefused("The voxels do not fit the header.", code="unreadable", path=path)
    return convert_voxels(array.reshape(-1))
