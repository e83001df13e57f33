"""What NRRD and MetaImage headers declare, read before any voxel: sizes, type, where the data lie.

Formats: http://teem.sourceforge.net/nrrd/format.html and https://itk.org/Wiki/MetaIO/Documentation
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_colipri.ct.readers.stream import open_file
from napari_colipri.ct.readers.values import check_declared
from napari_colipri.errors import StudyRefused

__all__ = ["Declared", "Encoding", "is_itk", "read_declared"]

Encoding = Literal["raw", "gzip", "zlib", "bzip2", "other"]

_MAX_HEADER = 1 << 20
_MAX_FILES = 1 << 16
_PATTERN = re.compile(r"[^%]*%0?\d*d[^%]*")

_NRRD_TYPES = {
    name: code
    for code, names in {
        "i1": "signed char,int8,int8_t",
        "u1": "uchar,unsigned char,uint8,uint8_t",
        "i2": "short,short int,signed short,signed short int,int16,int16_t",
        "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
        "i4": "int,signed int,int32,int32_t",
        "u4": "uint,unsigned int,uint32,uint32_t",
        "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
        "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(",")
}
_MET_TYPES = {
    "CHAR": "i1",
    "UCHAR": "u1",
    "SHORT": "i2",
    "USHORT": "u2",
    "INT": "i4",
    "UINT": "u4",
    "LONG": "i4",  # MetaIO writes 4 bytes on every platform
    "ULONG": "u4",
    "LONG_LONG": "i8",
    "ULONG_LONG": "u8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}
_NRRD_ENCODINGS: dict[str, Encoding] = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_ANATOMICAL = re.compile(r"(left|right)-(anterior|posterior)-(superior|inferior)(-time)?|[lr][ap][si]t?")
#: Kinds of an axis along which an image merely repeats; any other kind makes its samples vectors or colours.
_REPEATS = {"list", "time", "domain", "space", "???", "none", "point"}


@dataclass(frozen=True, eq=False)
class Declared:
    """A header, checked against caps and its own folder.

    Attributes
    ----------
    kind
        ``"nrrd"`` or ``"mha"`` (MetaImage, detached or not).
    shape, volumes
        Voxels of one volume along i, j, k, and how many volumes.
    interleaved
        Whether the volumes' values alternate voxel by voxel.
    dtype
        Stored type with its byte order.
    encoding
        How voxels are stored; ``"other"`` (text, several files) is left to SimpleITK.
    files
        Files of the voxels, all within the header's folder; the header itself where nothing is detached.
    start
        Byte behind the header where voxels follow it in the same file, else 0.
    offset
        Bytes to skip before the first voxel, after inflating where compressed; -1: the voxels end the file.
    orientation_known
        Whether the header says where the axes point in the patient.
    """

    kind: Literal["nrrd", "mha"]
    shape: tuple[int, int, int]
    volumes: int
    interleaved: bool
    dtype: np.dtype[Any]
    encoding: Encoding
    files: tuple[Path, ...]
    start: int
    offset: int
    orientation_known: bool

    @property
    def count(self) -> int:
        """Voxels of one volume."""
        return self.shape[0] * self.shape[1] * self.shape[2]


def is_itk(path: Path) -> bool:
    """Whether the first bytes are a NRRD or MetaImage header."""
    try:
        with path.open("rb") as raw:
            head = raw.read(512)
    except OSError:
        return False
    return head.startswith(b"NRRD00") or b"NDims" in head or b"ObjectType" in head


def read_declared(path: Path) -> Declared:
    """Read and check the header of a NRRD, NHDR, MHA or MHD file.

    Raises
    ------
    StudyRefused
        ``empty``, ``not_an_image``, ``unreadable``, ``truncated``, ``too_large``, ``colour``, ``not_ct``,
        ``not_a_volume``, or ``archive_unsafe`` where it names data outside its own folder.
    """
    with open_file(path) as raw:
        head = raw.read(_MAX_HEADER)
    if not head:
        raise StudyRefused("The file is empty (0 bytes).", code="empty", path=path)
    try:
        return _nrrd(head, path) if head.startswith(b"NRRD00") else _meta(head, path)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise StudyRefused("The header is damaged: a field cannot be read.", code="unreadable", path=path) from error


def _refuse(message: str, code: str, path: Path) -> StudyRefused:
    return StudyRefused(message, code=code, path=path)


def _inside(names: list[str], path: Path) -> tuple[Path, ...]:
    """Return the files that a header names, refusing those outside its folder (links are followed first)."""
    if len(names) > _MAX_FILES:
        raise _refuse(f"The header names {len(names)} files.", "too_large", path)
    folder = path.parent.resolve()
    files = []
    for name in names:
        file = (folder / name.replace("\\", "/")).resolve()
        if not file.is_relative_to(folder):
            message = "The header names a data file outside its own folder; such a file is not opened."
            raise _refuse(message, "archive_unsafe", path)
        if not file.is_file():
            raise _refuse("The data file that the header names is not there.", "unreadable", path)
        files.append(file)
    if not files:
        raise _refuse("The header names no data file.", "unreadable", path)
    return tuple(files)


def _numbered(pattern: str, first: int, last: int, step: int, path: Path) -> list[str]:
    if not _PATTERN.fullmatch(pattern) or step == 0 or abs((last - first) // step) >= _MAX_FILES:
        raise _refuse("The header's list of data files cannot be read.", "unreadable", path)
    return [pattern % number for number in range(first, last + (1 if step > 0 else -1), step)]


def _spatial(sizes: list[int], extra: int | None, kind: str, path: Path) -> tuple[tuple[int, int, int], int, bool]:
    """Return shape, number of volumes, and whether these alternate; ``extra`` is the axis that is not in space."""
    check_declared(tuple(sizes), path)
    if len(sizes) == 4:
        extra = 3 if extra is None else extra
        volumes = sizes[extra]
        if volumes > 1 and kind == "complex":
            raise _refuse("The voxels are complex numbers: this is not a CT.", "not_ct", path)
        if volumes > 1 and kind not in _REPEATS:
            raise _refuse("Every voxel holds several values (a colour or vector image), not HU.", "colour", path)
        if volumes > 1 and extra not in {0, 3}:
            raise _refuse("The order of the file's axes is not one of a scan.", "not_a_volume", path)
        sizes = [size for axis, size in enumerate(sizes) if axis != extra]
        return (sizes[0], sizes[1], sizes[2]), volumes, extra == 0 and volumes > 1
    if len(sizes) not in {2, 3}:
        raise _refuse(f"The file has {len(sizes)} dimensions; a scan has 3.", "not_a_volume", path)
    padded = [*sizes, 1]
    return (padded[0], padded[1], padded[2]), 1, False


# --- NRRD ------------------------------------------------------------------------------------------------------------


def _nrrd(head: bytes, path: Path) -> Declared:
    end = re.search(rb"\r?\n\r?\n", head)
    text = head[: end.start()] if end else head
    lines = text.decode("utf-8", "replace").splitlines()[1:]
    fields: dict[str, str] = {}
    rest: list[str] = []
    for number, line in enumerate(lines):
        key, colon, value = line.partition(":")
        if line.startswith("#") or not colon or value.startswith("="):
            continue
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() in {"data file", "datafile"} and value.strip().upper().startswith("LIST"):
            rest = lines[number + 1 :]  # a list of files ends the header
            break
    detached = fields.get("data file", fields.get("datafile"))
    if end is None and detached is None:
        raise _refuse("The file is cut off within its header.", "truncated", path)
    sizes = [int(word) for word in fields["sizes"].split()]
    if len(sizes) != int(fields["dimension"]):
        raise ValueError("sizes and dimension differ")
    extra, kind = _nrrd_extra(fields, len(sizes))
    shape, volumes, interleaved = _spatial(sizes, extra, kind, path)
    if fields["type"].lower() not in _NRRD_TYPES:
        raise _refuse(f"Voxels of type {fields['type']!r} cannot be read.", "unreadable", path)
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    encoding = _NRRD_ENCODINGS.get(fields["encoding"].lower(), "other")
    files, several = _nrrd_files(detached, rest, path)
    if several or int(fields.get("line skip", fields.get("lineskip", "0"))):
        encoding = "other"
    space = fields.get("space", "").lower()
    return Declared(
        kind="nrrd",
        shape=shape,
        volumes=volumes,
        interleaved=interleaved,
        dtype=np.dtype(order + _NRRD_TYPES[fields["type"].lower()]),
        encoding=encoding,
        files=files,
        start=end.end() if end and detached is None else 0,
        offset=int(fields.get("byte skip", fields.get("byteskip", "0"))),
        orientation_known=bool(_ANATOMICAL.fullmatch(space)) and "space directions" in fields,
    )


def _nrrd_extra(fields: dict[str, str], dimension: int) -> tuple[int | None, str]:
    """Return the axis that is not in space and its kind."""
    kinds = fields.get("kinds", "").split()
    directions = re.findall(r"none|\([^)]*\)", fields.get("space directions", "").lower())
    extra = None
    if len(directions) == dimension and "none" in directions:
        extra = directions.index("none")
    elif len(kinds) == dimension:
        extra = next((axis for axis, kind in enumerate(kinds) if kind.lower() not in {"domain", "space"}), None)
    return extra, kinds[extra].lower() if extra is not None and len(kinds) == dimension else "none"


def _nrrd_files(detached: str | None, rest: list[str], path: Path) -> tuple[tuple[Path, ...], bool]:
    if detached is None:
        return (path,), False
    if detached.upper().startswith("LIST"):
        return _inside([line.strip() for line in rest if line.strip()], path), True
    if "%" in detached:
        pattern, first, last, step = detached.split()[:4]
        return _inside(_numbered(pattern, int(first), int(last), int(step), path), path), True
    return _inside([detached], path), False


# --- MetaImage -------------------------------------------------------------------------------------------------------


def _truth(fields: dict[str, str], *keys: str) -> bool:
    return any(fields.get(key, "").lower() in {"true", "t", "1"} for key in keys)


def _meta(head: bytes, path: Path) -> Declared:
    last = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*?)[ \t]*(\r?\n|\Z)", head, re.MULTILINE)
    if last is None:
        known = b"NDims" in head[:512] or b"ObjectType" in head[:512]
        message = "The file is cut off within its header." if known else "The file is no NRRD or MetaImage file."
        raise _refuse(message, "truncated" if known else "not_an_image", path)
    lines = head[: last.start()].decode("utf-8", "replace").splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    sizes = [int(word) for word in fields["DimSize"].split()]
    if len(sizes) != int(fields["NDims"]):
        raise ValueError("DimSize and NDims differ")
    if int(fields.get("ElementNumberOfChannels", "1")) != 1:
        raise _refuse("Every voxel holds several values (a colour or vector image), not HU.", "colour", path)
    shape, volumes, interleaved = _spatial(sizes, None, "none", path)
    name = fields["ElementType"].removeprefix("MET_")
    if name not in _MET_TYPES:
        raise _refuse(f"Voxels of type {fields['ElementType']!r} cannot be read.", "unreadable", path)
    order = ">" if _truth(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<"
    target = last.group(1).decode("utf-8", "replace")
    files, several = _meta_files(target, head[last.end() :], path)
    encoding: Encoding = "zlib" if _truth(fields, "CompressedData") else "raw"
    if several or not _truth(fields, "BinaryData"):
        encoding = "other"
    return Declared(
        kind="mha",
        shape=shape,
        volumes=volumes,
        interleaved=interleaved,
        dtype=np.dtype(order + _MET_TYPES[name]),
        encoding=encoding,
        files=files,
        start=last.end() if files == (path,) else 0,
        offset=int(fields.get("HeaderSize", "0")),
        orientation_known=any(key in fields for key in ("TransformMatrix", "Rotation", "Orientation")),
    )


def _meta_files(target: str, behind: bytes, path: Path) -> tuple[tuple[Path, ...], bool]:
    if target.upper() == "LOCAL":
        return (path,), False
    if target.upper().startswith("LIST"):
        lines = behind.decode("utf-8", "replace").splitlines()
        return _inside([line.strip() for line in lines if line.strip()], path), True
    if "%" in target:
        pattern, *numbers = target.split()
        first, last, step = (int(word) for word in [*numbers, "1"][:3])
        return _inside(_numbered(pattern, first, last, step, path), path), True
    return _inside([target], path), False
