"""A zip of a study: checked before a byte is written, unpacked into a private folder, removed afterwards."""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from napari_colipri.errors import OutOfResources, StudyRefused
from napari_colipri.paths import cache_dir, private_dir
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["unpacked"]

#: More than this is no study: files, bytes when unpacked, and how much smaller than its contents an archive may be.
MAX_FILES, MAX_BYTES, MAX_RATIO = 20_000, 16 << 30, 200
#: Small archives may shrink more: a folder of air compresses well and harms nobody.
_HARMLESS_BYTES = 64 << 20
_BLOCK = 1 << 20
#: Folders left by a process that was killed are removed after this many seconds.
_STALE_S = 6 * 3600


@contextmanager
def unpacked(path: Path, progress: Progress = report_nothing, cancel: CancelToken | None = None) -> Iterator[Path]:
    """Unpack a zip into a new folder below the cache folder (mode 0700), removed on leaving.

    Raises
    ------
    StudyRefused
        ``archive_unsafe`` (a path out of the folder, a link, too many or too large files), ``truncated`` or
        ``unreadable``.
    OutOfResources
        If the disk cannot hold the contents.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked(archive, path)
            folder = _private_folder(sum(member.file_size for member in members))
            try:
                _extract(archive, members, folder, progress, cancel)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except (zipfile.BadZipFile, EOFError) as error:
        raise StudyRefused("The zip archive is damaged or cut short.", code="truncated", path=path) from error
    except (NotImplementedError, RuntimeError) as error:
        message = "The zip archive uses a password or a method of compression that cannot be read."
        raise StudyRefused(message, code="unreadable", path=path) from error


def _unsafe(path: Path, why: str) -> StudyRefused:
    return StudyRefused(f"The archive was not opened: {why}.", code="archive_unsafe", path=path)


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """Return the files to unpack; refuse the whole archive for one that would land elsewhere."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MAX_FILES:
        raise _unsafe(path, f"it holds {len(members)} files, more than {MAX_FILES}")
    total = sum(member.file_size for member in members)
    packed = max(1, sum(member.compress_size for member in members))
    if total > MAX_BYTES:
        raise _unsafe(path, f"it unpacks to {total / 2**30:.0f} GiB")
    if total > _HARMLESS_BYTES and total > MAX_RATIO * packed:
        raise _unsafe(path, f"it unpacks to {total // packed} times its size")
    seen: set[str] = set()
    for member in members:
        if _escapes(member.filename):
            raise _unsafe(path, "one of its paths leads out of its folder")
        mode = member.external_attr >> 16
        if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            raise _unsafe(path, "it contains a link or a special file")
        if member.flag_bits & 1:
            raise StudyRefused("The archive is protected by a password.", code="unreadable", path=path)
        folded = member.filename.casefold()
        if folded in seen:
            raise _unsafe(path, "it contains one name twice")
        seen.add(folded)
    return [member for member in members if not _is_clutter(member.filename)]


def _escapes(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return name.startswith(("/", "\\")) or ".." in parts or any(":" in part for part in parts) or "\0" in name


def _is_clutter(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _private_folder(size: int) -> Path:
    parent = private_dir(cache_dir() / "archives")
    for old in parent.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _STALE_S:
                shutil.rmtree(old, ignore_errors=True)
    if shutil.disk_usage(parent).free < size + (64 << 20):
        message = f"Unpacking the archive needs {size / 2**30:.1f} GiB, more than is free on the disk of the cache."
        raise OutOfResources(message, code="disk_full")
    return Path(tempfile.mkdtemp(dir=parent))


def _extract(
    archive: zipfile.ZipFile,
    members: list[zipfile.ZipInfo],
    folder: Path,
    progress: Progress,
    cancel: CancelToken | None,
) -> None:
    for index, member in enumerate(members):
        if cancel is not None:
            cancel.check()
        if index % 16 == 0:
            progress(index / len(members), "Unpacking")
        target = folder.joinpath(*PurePosixPath(member.filename.replace("\\", "/")).parts)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # zipfile itself stops at the declared size and checks the sum
        with archive.open(member) as packed, target.open("xb") as file:
            shutil.copyfileobj(packed, file, _BLOCK)
