"""Bytes of a file, inflated on the way where they are gzip, with typed errors instead of a dozen kinds."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

from napari_colipri.errors import StudyRefused

__all__ = [
    "GZIP_MAGIC",
    "Stream",
    "check_end",
    "check_size",
    "damaged",
    "open_bytes",
    "open_file",
    "peek",
    "read_exact",
    "skip",
]

GZIP_MAGIC = b"\x1f\x8b"
#: Deflate cannot expand more than this (zlib's documentation), so a smaller file is known to be cut off unread.
_BEST_RATIO = 1032
#: Bytes looked at behind the last voxel, to reach gzip's checksum; more is another volume or a bomb and stays unread.
_SLACK = 1 << 20
_COPY = 1 << 22


class Stream(Protocol):
    """What readers need of an open file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill ``buffer`` as far as one read goes; 0 at the end."""


def damaged(path: Path, error: Exception) -> StudyRefused:
    """Turn any error of reading or inflating into a refusal."""
    if isinstance(error, EOFError):
        return StudyRefused("The file is cut off: its compressed data end early.", code="truncated", path=path)
    if isinstance(error, OSError) and error.strerror:
        return StudyRefused(f"The file cannot be read: {error.strerror}.", code="unreadable", path=path)
    return StudyRefused("The file's compressed data are damaged.", code="unreadable", path=path)


def _inflate_errors() -> tuple[type[Exception], ...]:
    kinds: tuple[type[Exception], ...] = (EOFError, OSError, zlib.error)
    try:
        from isal import isal_zlib
    except ImportError:
        return kinds
    return (*kinds, cast("type[Exception]", isal_zlib.error))


def _gunzip(raw: io.BufferedIOBase) -> Stream:
    try:
        from isal import igzip
    except ImportError:  # no wheel for this platform: the standard library does the same, at a third of the speed
        return gzip.GzipFile(fileobj=raw, mode="rb")
    inflated: Stream = igzip.IGzipFile(fileobj=raw, mode="rb")
    return inflated


@contextmanager
def open_file(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file, or refuse it in one sentence."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise damaged(path, error) from error
    with raw:
        yield raw


@contextmanager
def open_bytes(path: Path, offset: int = 0, *, compressed: bool | None = None) -> Iterator[Stream]:
    """Open a file's bytes from ``offset`` on, inflated where they are gzip.

    Parameters
    ----------
    path, offset
        File, and where in it to start.
    compressed
        Whether these bytes are gzip; None looks at the first two.

    Raises
    ------
    StudyRefused
        ``empty`` or ``unreadable``.
    """
    with open_file(path) as raw:
        try:
            raw.seek(offset)
            magic = raw.read(2)
            raw.seek(offset)
        except OSError as error:
            raise damaged(path, error) from error
        if not magic:
            if offset:
                raise StudyRefused("The file is cut off: it ends after its header.", code="truncated", path=path)
            raise StudyRefused("The file is empty (0 bytes).", code="empty", path=path)
        yield _gunzip(raw) if (magic == GZIP_MAGIC if compressed is None else compressed) else raw


def peek(path: Path, count: int) -> bytes:
    """Return the first ``count`` bytes, inflated where they are gzip; fewer, or none, where they cannot be had."""
    buffer = bytearray(count)
    try:
        with open_bytes(path) as stream:
            filled = _fill(stream, memoryview(buffer))
    except StudyRefused:
        return b""
    except _inflate_errors():
        return b""
    return bytes(buffer[:filled])


def _fill(stream: Stream, view: memoryview) -> int:
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled : filled + _COPY])
        if not count:
            break
        filled += count
    return filled


def read_exact(stream: Stream, view: memoryview, path: Path) -> None:
    """Fill ``view`` or refuse the file.

    Raises
    ------
    StudyRefused
        ``truncated`` where bytes are missing, ``unreadable`` where they cannot be inflated.
    """
    try:
        filled = _fill(stream, view)
    except _inflate_errors() as error:
        raise damaged(path, error) from error
    if filled < len(view):
        raise StudyRefused("The file is cut off: voxels are missing at its end.", code="truncated", path=path)


def skip(stream: Stream, count: int, path: Path) -> None:
    """Move ``count`` bytes forward."""
    buffer = memoryview(bytearray(min(count, _COPY)))
    while count:
        part = buffer[: min(count, len(buffer))]
        read_exact(stream, part, path)
        count -= len(part)


def check_end(stream: Stream, path: Path) -> None:
    """Read up to 1 MiB behind the voxels, so that gzip compares its checksum; whatever is there is not used.

    Raises
    ------
    StudyRefused
        ``truncated`` where the end is missing, ``unreadable`` where the checksum differs.
    """
    try:
        _fill(stream, memoryview(bytearray(_SLACK)))
    except _inflate_errors() as error:
        raise damaged(path, error) from error


def check_size(path: Path, needed: int, offset: int = 0, *, compressed: bool) -> None:
    """Refuse a file that cannot hold ``needed`` bytes from ``offset`` on, before memory is set aside for them.

    Raises
    ------
    StudyRefused
        ``truncated``.
    """
    there = path.stat().st_size - offset
    if (there * _BEST_RATIO if compressed else there) < needed:
        message = f"The file is cut off: {needed} bytes are announced, {max(there, 0)} are there."
        raise StudyRefused(message, code="truncated", path=path)
