"""DICOM pixels to HU: uncompressed straight from the file into the volume, compressed through pydicom's decoders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.readers.dicom_codestream import declared_size
from napari_colipri.ct.readers.dicom_elements import DEFLATED, inflated
from napari_colipri.ct.readers.dicom_headers import NATIVE, SliceHeader
from napari_colipri.ct.readers.values import MAX_VOXELS, PADDING_HU
from napari_colipri.ct.resample import AIR_HU
from napari_colipri.errors import StudyRefused
from napari_colipri.progress import CancelToken, Progress

__all__ = ["CODECS_EXTRA", "read_planes", "unsupported"]

Plane = npt.NDArray[Any]

#: Extra of this package that brings the decoders not in its base dependencies.
CODECS_EXTRA = "dicom-codecs"

_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"


class _OutOfRange(Exception):
    """A value does not fit int16."""


def _decodes(decoder: Any, header: SliceHeader) -> bool:
    """Whether an installed plugin really decodes this slice: GDCM claims 12-bit JPEG and then fails on it."""
    plugins = set(decoder.available_plugins)
    if header.syntax == _JPEG_EXTENDED and header.bits_allocated > 8:
        plugins.discard("gdcm")
    return bool(plugins)


def unsupported(header: SliceHeader) -> str | None:
    """Return a sentence that names the transfer syntax if it cannot be decoded here, else None."""
    if not header.encapsulated:
        return None
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    uid = UID(header.syntax)
    try:
        if header.syntax not in NATIVE and _decodes(get_decoder(uid), header):
            return None
        known = True
    except NotImplementedError:
        known = False
    name = f"{uid.name} ({header.syntax})" if header.syntax else "not stated"
    sentence = f"The transfer syntax {name} cannot be decoded here"
    if known:
        return f"{sentence}: install napari-colipri[{CODECS_EXTRA}]."
    return f"{sentence}; no decoder exists for it: export the study uncompressed."


def read_planes(
    headers: Sequence[SliceHeader], progress: Progress, cancel: CancelToken | None
) -> tuple[npt.NDArray[np.int16] | npt.NDArray[np.float32], list[int]]:
    """Read all slices of a stack as HU.

    Parameters
    ----------
    headers
        In order of k, all of one matrix.
    progress, cancel
        Told and asked once per slice.

    Returns
    -------
    ndarray
        HU [k, row, column], C-contiguous; int16 where every slice's slope and intercept are whole numbers and all
        values fit, else float32.
    list of int
        Slices that could not be decoded; their planes are undefined.

    Raises
    ------
    StudyRefused
        ``too_large`` above :data:`MAX_VOXELS`.
    """
    rows, columns = headers[0].rows, headers[0].columns
    if rows * columns * len(headers) > MAX_VOXELS:
        message = f"The series states {columns} x {rows} x {len(headers)} voxels, more than can be loaded."
        raise StudyRefused(message, code="too_large")
    integral = all(
        item.bits_allocated <= 16
        and (item.table or (float(item.slope or 1).is_integer() and float(item.intercept or 0).is_integer()))
        for item in headers
    )
    if integral:
        try:
            return _fill(np.empty((len(headers), rows, columns), np.int16), headers, progress, cancel)
        except _OutOfRange:
            pass  # a metal implant on an extended scale: the same again in float32
    return _fill(np.empty((len(headers), rows, columns), np.float32), headers, progress, cancel)


def _fill(
    volume: npt.NDArray[Any], headers: Sequence[SliceHeader], progress: Progress, cancel: CancelToken | None
) -> tuple[npt.NDArray[Any], list[int]]:
    bad: list[int] = []
    files = _Files()
    for index, header in enumerate(headers):
        if cancel is not None:
            cancel.check()
        if index % 16 == 0:
            progress(index / len(headers), "Reading slices")
        try:
            stored = files.stored(header, volume[index])
        except _OutOfRange:
            raise
        except MemoryError:
            raise
        except Exception:  # decoders raise whatever a damaged stream provokes: the slice is then left out and counted
            bad.append(index)
            continue
        _to_hu(stored, header, volume[index])
    return volume, bad


class _Files:
    """Bytes of the file read last, so that a multi-frame file is read once."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._bytes = b""

    def _whole(self, header: SliceHeader) -> bytes:
        if header.path != self._path:
            self._bytes = inflated(header.path) if header.syntax == DEFLATED else header.path.read_bytes()
            self._path = header.path
        return self._bytes

    def stored(self, header: SliceHeader, plane: Plane) -> Plane:
        """Return the stored values [row, column]; in the memory of ``plane`` where it can hold them."""
        if header.encapsulated:
            return _decoded(header, self._whole(header))
        kind = np.dtype(f"{'i' if header.signed else 'u'}{max(1, header.bits_allocated // 8)}")
        place = header.offset + header.frame * header.frame_bytes
        if plane.dtype == np.int16 and kind.itemsize == 2 and header.syntax != DEFLATED:
            target = plane.view(kind)
            with header.path.open("rb", buffering=0) as file:
                file.seek(place)
                if file.readinto(plane.reshape(-1).view(np.uint8).data) != header.frame_bytes:
                    raise EOFError
        else:
            count = header.rows * header.columns
            target = np.frombuffer(self._whole(header), kind, count, place).reshape(header.rows, header.columns)
            target = target if plane.dtype == np.float32 else target.astype(kind)
        if header.big_endian and kind.itemsize > 1:
            return target.byteswap(inplace=target.flags.writeable)
        return target


def _decoded(header: SliceHeader, whole: bytes) -> Plane:
    """Decode one frame through pydicom: it chooses among the installed plugins."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    options: dict[str, Any] = {
        "rows": header.rows,
        "columns": header.columns,
        "number_of_frames": header.frames,
        "samples_per_pixel": 1,
        "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits_stored,
        "photometric_interpretation": header.photometric or "MONOCHROME2",
        "pixel_representation": int(header.signed),
        "pixel_keyword": "PixelData",
    }
    pixels = memoryview(whole)[header.offset :].tobytes()
    stated = declared_size(get_frame(pixels, header.frame, number_of_frames=header.frames))
    if stated is not None and stated != (header.rows, header.columns):
        raise ValueError  # a stream that unpacks to something else than the header announces is damaged, or a bomb
    decoded, _ = get_decoder(UID(header.syntax)).as_array(pixels, raw=True, index=header.frame, **options)
    if decoded.shape != (header.rows, header.columns):
        raise ValueError
    return np.asarray(decoded)


def _to_hu(stored: Plane, header: SliceHeader, plane: Plane) -> None:
    """Turn stored values into HU in ``plane``: the slice's own slope and intercept, padding and below to air."""
    stored = _without_high_bits(stored, header)
    slope, intercept = header.slope or 1.0, header.intercept or 0.0
    padding = _padding(stored, header)
    if header.table is not None:
        _store(header.table.look_up(stored), padding, plane)
    elif plane.dtype == np.float32:
        plane[...] = stored.astype(np.float64) * slope + intercept
    else:
        _whole_numbers(stored, int(slope), int(intercept), padding, plane)
    if padding is not None:
        plane[padding] = AIR_HU
    if plane.min() <= PADDING_HU:
        plane[plane <= PADDING_HU] = AIR_HU


def _whole_numbers(stored: Plane, slope: int, intercept: int, padding: Plane | None, plane: Plane) -> None:
    low, high = int(stored.min()), int(stored.max())
    lowest, highest = sorted((low * slope + intercept, high * slope + intercept))
    if slope == 1 and lowest >= -32768 and highest <= 32767 and abs(intercept) <= 32767:
        # unsigned values above 32767 wrap and come back by the intercept: the sum fits
        np.add(stored.view(np.int16) if stored.dtype == np.uint16 else stored, np.int16(intercept), out=plane)
        return
    _store(stored.astype(np.int32) * slope + intercept, padding, plane)


def _store(wide: npt.NDArray[np.int32], padding: Plane | None, plane: Plane) -> None:
    """Put whole numbers into a plane of either type."""
    if padding is not None:
        wide[padding] = AIR_HU
    if plane.dtype == np.int16 and wide.max() > 32767:
        raise _OutOfRange
    np.maximum(wide, -32768, out=plane, casting="unsafe")


def _without_high_bits(stored: Plane, header: SliceHeader) -> Plane:
    """Clear what old files keep above BitsStored (overlays) and extend the sign; nothing where there is nothing."""
    bits = header.bits_stored
    if bits >= 8 * stored.dtype.itemsize:
        return stored
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if header.signed else (0, (1 << bits) - 1)
    if stored.min() >= low and stored.max() <= high:
        return stored
    # Padding is often written outside BitsStored on purpose (-2000 in 12 bits): a plain sign is not an overlay.
    if header.signed and header.padding is not None and stored.min() >= min(low, header.padding):
        return stored
    shift = 8 * stored.dtype.itemsize - bits
    return np.asarray((stored << shift) >> shift)


def _padding(stored: Plane, header: SliceHeader) -> Plane | None:
    """Where the padding value stands; None where it does not, or where it would turn tissue into air."""
    if header.padding is None:
        return None
    info = np.iinfo(stored.dtype)
    value = header.padding
    if value > info.max or value < info.min:
        value = int(np.array(value & 0xFFFF, np.uint16).astype(stored.dtype))  # 63536 is -2000 with the wrong sign
    fills_corners = all(stored[row, column] == value for row in (0, -1) for column in (0, -1))
    hu = (header.slope or 1.0) * value + (header.intercept or 0.0)
    if header.table is not None:
        hu = float(header.table.look_up(np.array(value)))
    if hu > -900 and not fills_corners:
        return None
    mask = stored == value
    return mask if mask.any() else None
