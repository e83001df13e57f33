"""Opening a DICOM file up to its pixels and taking values out of it, whatever is wrong with it."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_colipri.errors import StudyRefused

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "DEFLATED",
    "Opened",
    "inflated",
    "integer",
    "items",
    "lenient",
    "looks_like_dicom",
    "number",
    "numbers",
    "open_header",
    "text",
    "texts",
    "value",
    "words",
]

DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPLICIT = "1.2.840.10008.1.2.1"
_CHUNK = 32 * 1024
_UNDEFINED = 0xFFFFFFFF
#: Tags with which a data set without preamble begins, little endian.
_FIRST_ELEMENTS = (b"\2\0\0\0", *(bytes((8, 0, low, 0)) for low in (0x00, 0x01, 0x05, 0x08, 0x16)))
_MARKS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


@dataclass(frozen=True)
class Opened:
    """A header and where its pixels are.

    Attributes
    ----------
    dataset
        Elements before the pixels.
    syntax
        Transfer syntax as the file states it, empty where it does not.
    offset, length
        Of the value of PixelData, bytes, in the inflated stream where the file is deflated. Length -1: encapsulated;
        0: there is none.
    size
        Of the (inflated) file, bytes.
    """

    dataset: Dataset
    syntax: str
    offset: int
    length: int
    big_endian: bool
    size: int


@contextmanager
def lenient() -> Iterator[None]:
    """Read values as they stand: pydicom's warnings about them would quote patient data on stderr."""
    from pydicom import config

    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (132 bytes or more) may be DICOM, with or without its preamble."""
    return head[128:132] == b"DICM" or head[:4] in _FIRST_ELEMENTS


def value(dataset: Dataset, keyword: str) -> Any:
    """Return an element's value, or None where it is absent, empty or cannot be decoded."""
    try:
        found = dataset.get(keyword)
    except Exception:  # pydicom decodes here and raises whatever the broken value provokes: then it is absent
        return None
    return None if found is None or found == "" else found


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return ``count`` finite numbers, or None."""
    found = value(dataset, keyword)
    items = found if not isinstance(found, (str, bytes)) and hasattr(found, "__len__") else [found]
    try:
        got = tuple(float(item) for item in items)
    except (TypeError, ValueError):
        return None
    return got if len(got) == count and all(math.isfinite(item) for item in got) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return a finite number, or None."""
    got = numbers(dataset, keyword, 1)
    return got[0] if got else None


def integer(dataset: Dataset, keyword: str, default: int) -> int:
    """Return a whole number, or ``default``."""
    found = number(dataset, keyword)
    return default if found is None else int(found)


def text(dataset: Dataset, keyword: str) -> str:
    """Return a stripped string, empty where absent."""
    found = value(dataset, keyword)
    return "" if found is None else str(found).strip(" \0")


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a multi-valued string, stripped."""
    found = value(dataset, keyword)
    if found is None:
        return ()
    items = [found] if isinstance(found, str) or not hasattr(found, "__iter__") else list(found)
    return tuple(str(item).strip() for item in items)


def words(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a multi-valued string in upper case."""
    return tuple(item.upper() for item in texts(dataset, keyword))


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, none where it is absent or cannot be decoded."""
    found = value(dataset, keyword)
    return list(found) if found is not None and hasattr(found, "__iter__") else []


def inflated(path: Path) -> bytes:
    """Return a deflated file with its data set inflated and its transfer syntax renamed to the plain one.

    Raises
    ------
    StudyRefused
        ``too_large`` if it inflates beyond 100 times its size (16 MiB at least), ``truncated`` if the stream is
        damaged.
    """
    from pydicom.filereader import read_file_meta_info

    raw = path.read_bytes()
    start = 144 + integer(read_file_meta_info(path), "FileMetaInformationGroupLength", 0)
    cap = min(1 << 30, max(16 << 20, 100 * len(raw)))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(raw[start:], cap)
    except zlib.error as error:
        raise StudyRefused("The deflated data set is damaged.", code="truncated", path=path) from error
    if inflater.unconsumed_tail and not inflater.eof:
        message = f"The deflated file grows beyond {cap >> 20} MiB: that is no image of this size."
        raise StudyRefused(message, code="too_large", path=path)
    plain = _EXPLICIT.encode().ljust(len(DEFLATED), b"\0")
    return raw[:start].replace(DEFLATED.encode(), plain, 1) + body


def _parse(stream: io.BytesIO, keywords: list[str] | None) -> Dataset:
    from pydicom import dcmread

    try:
        return dcmread(stream, stop_before_pixels=True, force=True, specific_tags=keywords)
    except Exception as error:  # the parser answers hostile bytes with exceptions of a dozen types
        raise StudyRefused("The DICOM header cannot be read.", code="unreadable") from error


def _opened(dataset: Dataset, stream: io.BytesIO, syntax: str, size: int) -> Opened:
    place = stream.tell()
    mark = stream.getvalue()[place : place + 12]
    implicit, little = dataset.original_encoding
    offset, length = place, 0
    order = ">" if little is False else "<"
    if len(mark) == 12 and mark[:4] in _MARKS:
        head = 8 if implicit else 12
        stated = int(struct.unpack(order + "I", mark[head - 4 : head])[0])
        offset, length = place + head, (-1 if stated == _UNDEFINED else stated)
    return Opened(dataset, syntax, offset, length, order == ">", size)


def open_header(path: Path, keywords: list[str] | None) -> Opened:
    """Read a DICOM file up to its pixels, usually from its first 32 KiB.

    Parameters
    ----------
    path
        The file.
    keywords
        The elements wanted; None for all.

    Raises
    ------
    StudyRefused
        ``empty``, ``not_dicom``, ``unreadable``, ``truncated`` or ``too_large``.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        head = file.read(_CHUNK)
        if not head:
            raise StudyRefused("The file is empty.", code="empty", path=path)
        if not looks_like_dicom(head):
            raise StudyRefused("The file is not DICOM.", code="not_dicom", path=path)
        if DEFLATED.encode() in head[:1024]:
            stream = io.BytesIO(inflated(path))
            return _opened(_parse(stream, keywords), stream, DEFLATED, len(stream.getvalue()))
        try:
            stream = io.BytesIO(head)
            dataset = _parse(stream, keywords)
            opened = _opened(dataset, stream, _syntax(dataset), size)
        except StudyRefused:
            if len(head) == size:
                raise
            opened = None
        if opened is None or (opened.length == 0 and len(head) < size):
            # a header longer than the chunk cannot be told from a broken one: read the whole file
            file.seek(0)
            stream = io.BytesIO(file.read())
            dataset = _parse(stream, keywords)
            opened = _opened(dataset, stream, _syntax(dataset), size)
    return opened


def _syntax(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    return "" if meta is None else text(meta, "TransferSyntaxUID")
