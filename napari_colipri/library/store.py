"""The SQLite file that is the truth of a library: cases, texts, labels, thumbnails and vectors."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_colipri.atomic import replace_file
from napari_colipri.errors import LibraryError, OutOfResources
from napari_colipri.paths import private_dir

__all__ = ["FILE_NAME", "PNG_START", "Meta", "add_case", "create", "read_meta", "reading", "remove_case"]

FILE_NAME = "library.sqlite"
_APPLICATION_ID = 0x434F4C49  # "COLI": tells a library from any other SQLite file
_FORMAT = 1
PNG_START = b"\x89PNG\r\n\x1a\n"

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cases (
    case_id TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    labels TEXT NOT NULL,
    origin TEXT NOT NULL,
    patient_key TEXT,
    fingerprint TEXT,
    added TEXT NOT NULL,
    vector BLOB NOT NULL,
    thumbnail BLOB
);
CREATE INDEX cases_fingerprint ON cases (fingerprint);
CREATE INDEX cases_patient ON cases (patient_key);
"""


@dataclass(frozen=True)
class Meta:
    """What a library says about itself.

    Attributes
    ----------
    name
        Its name on screen.
    bundle_hash
        Hash of the bundle that made its vectors.
    dim
        Length D of a vector.
    """

    name: str
    bundle_hash: str
    dim: int


@contextlib.contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "full" in text:
            raise OutOfResources(f"No space left to write the library: {text}.", code="disk_full") from error
        if "locked" in text:
            raise LibraryError("Another program is writing this library; try again.", code="busy") from error
        if "readonly" in text or "read-only" in text:
            raise LibraryError("This library is read-only.", code="read_only") from error
        raise LibraryError(f"The library in {path.parent} cannot be read: {text}.", code="damaged") from error
    except sqlite3.DatabaseError as error:
        raise LibraryError(f"The library in {path.parent} is damaged: {error}.", code="damaged") from error


def _file(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise LibraryError(f"There is no case library in {folder}.", code="missing")
    return path


@contextlib.contextmanager
def reading(folder: str | os.PathLike[str]) -> Iterator[sqlite3.Connection]:
    """Open the library in ``folder`` for reading; nothing is written, not even a lock on a read-only mount.

    Raises
    ------
    LibraryError
        ``missing``, ``damaged``, ``not_a_library`` or ``newer_format``.
    """
    path = _file(folder).resolve()
    # Without immutable=1 SQLite wants to create journal files, which a read-only mount refuses.
    how = "mode=ro" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "immutable=1"
    with _plain_errors(path), contextlib.closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True)) as connection:
        _check_kind(connection, path)
        yield connection


@contextlib.contextmanager
def _writing(folder: str | os.PathLike[str]) -> Iterator[sqlite3.Connection]:
    path = _file(folder).resolve()
    with (
        _plain_errors(path),
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=10.0)) as connection,
    ):
        _check_kind(connection, path)
        connection.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten, not only unlinked
        with connection:
            yield connection


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise LibraryError(f"{path.name} in {path.parent} is not a case library.", code="not_a_library")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _FORMAT:
        raise LibraryError(
            f"This library has format {version}; this version reads up to {_FORMAT}.", code="newer_format"
        )


def read_meta(connection: sqlite3.Connection) -> Meta:
    """Return what an open library says about itself.

    Raises
    ------
    LibraryError
        ``damaged`` if an entry is missing.
    """
    values = dict(connection.execute("SELECT key, value FROM meta"))
    try:
        return Meta(values["name"], values["bundle_hash"], int(values["dim"]))
    except (KeyError, ValueError) as error:
        raise LibraryError(f"The library does not state its {error}.", code="damaged") from error


def create(folder: str | os.PathLike[str], name: str, bundle_hash: str, dim: int) -> None:
    """Create an empty library.

    Parameters
    ----------
    folder
        Folder to hold it; created with mode 0700 if needed.
    name
        Name on screen and in records.
    bundle_hash, dim
        Bundle whose vectors it will hold, and their length D.

    Raises
    ------
    LibraryError
        ``exists`` if there is one already, ``dimension`` if ``dim`` is not positive.
    """
    if dim <= 0:
        raise LibraryError("The length of a library's vectors must be positive.", code="dimension")
    path = Path(folder) / FILE_NAME
    if path.exists():
        raise LibraryError(f"There is a library in {folder} already.", code="exists")
    if not path.parent.is_dir():
        private_dir(path.parent)  # an existing folder of the user's keeps its mode
    rows = [("name", name), ("bundle_hash", bundle_hash), ("dim", str(dim)), ("created", _now())]
    with (
        replace_file(path, private=True) as temporary,
        _plain_errors(path),
        contextlib.closing(sqlite3.connect(temporary)) as connection,
        connection,
    ):
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def add_case(
    folder: str | os.PathLike[str],
    *,
    case_id: str,
    vector: npt.ArrayLike,
    text: str = "",
    labels: Mapping[str, bool] | Sequence[str] = (),
    thumbnail_png: bytes | None = None,
    origin: str,
    patient_key: str | None = None,
    fingerprint: str | None = None,
    bundle_hash: str | None = None,
) -> None:
    """Add one case.

    Parameters
    ----------
    folder
        Folder of the library.
    case_id
        Its name, unique within the library; it appears in reports, so it must not identify a patient.
    vector
        Pooled embedding [D], finite and not zero; stored L2-normalised as float32.
    text
        Its report.
    labels
        Findings that are present, or a mapping from finding to whether it is present.
    thumbnail_png
        A small PNG picture.
    origin
        Where it comes from and under which licence ("phantom", "local", "LIDC-IDRI, CC BY 3.0").
    patient_key, fingerprint
        For the guard against finding the patient's own scans; see :class:`~napari_colipri.ct.volume.Source`.
    bundle_hash
        Bundle that made ``vector``; compared with the library's if given.

    Raises
    ------
    LibraryError
        ``bundle_mismatch``, ``dimension_mismatch``, ``bad_vector``, ``bad_thumbnail``, ``exists`` or as
        :func:`reading`.
    """
    if thumbnail_png is not None and not thumbnail_png.startswith(PNG_START):
        raise LibraryError("A thumbnail must be a PNG picture.", code="bad_thumbnail")
    present = [name for name, there in labels.items() if there] if isinstance(labels, Mapping) else list(labels)
    with _writing(folder) as connection:
        meta = read_meta(connection)
        if bundle_hash is not None and bundle_hash != meta.bundle_hash:
            raise LibraryError(f"The library '{meta.name}' belongs to another bundle.", code="bundle_mismatch")
        blob = _to_blob(vector, meta.dim)
        if connection.execute("SELECT 1 FROM cases WHERE case_id = ?", (case_id,)).fetchone():
            raise LibraryError(f"The library has a case '{case_id}' already; remove it first.", code="exists")
        row = (case_id, text, json.dumps(present), origin, patient_key, fingerprint, _now(), blob, thumbnail_png)
        connection.execute("INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _to_blob(vector: npt.ArrayLike, dim: int) -> bytes:
    values = np.asarray(vector, dtype=np.float64).ravel()
    if values.size != dim:
        raise LibraryError(f"A vector of length {values.size} does not fit: {dim} expected.", code="dimension_mismatch")
    norm = float(np.linalg.norm(values))
    if not np.isfinite(norm) or norm == 0.0:
        raise LibraryError("A vector must be finite and not zero.", code="bad_vector")
    return (values / norm).astype("<f4").tobytes()


def remove_case(folder: str | os.PathLike[str], case_id: str) -> None:
    """Remove one case and overwrite its data.

    Raises
    ------
    LibraryError
        ``unknown_case``, or as :func:`reading`.
    """
    with _writing(folder) as connection:
        if connection.execute("DELETE FROM cases WHERE case_id = ?", (case_id,)).rowcount == 0:
            raise LibraryError(f"The library has no case '{case_id}'.", code="unknown_case")
