"""What goes into a library comes out again, and what does not fit is refused."""

from __future__ import annotations

import errno
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest

from napari_colipri import library
from napari_colipri.errors import LibraryError
from napari_colipri.library.store import FILE_NAME
from tests.library.conftest import BUNDLE, DIM, PNG


def refused(code: str):  # type: ignore[no-untyped-def]
    """Expect a LibraryError with this code and the exit status of a library problem."""
    return pytest.raises(LibraryError, check=lambda error: error.code == code and error.exit_status == 4)


def test_round_trip(folder: Path, vectors: np.ndarray) -> None:
    stats = library.stats(folder)
    assert (stats.name, stats.bundle_hash, stats.dim, stats.cases) == ("Ten cases", BUNDLE, DIM, 10)
    assert stats.labels == {"Lung nodule": 5, "Emphysema": 1}
    assert stats.origins == {"phantom": 8, "local": 2}
    assert stats.with_thumbnail == 9
    assert library.check(folder) == ()
    assert library.open_library(folder).text_of("case-4").endswith("Case number 4. Nothing else.")
    _, matrix, _, _ = library.open_library(folder)._cases
    np.testing.assert_allclose(matrix, vectors, atol=1e-7)


def test_the_folder_is_private(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / FILE_NAME).stat().st_mode) == 0o600


def test_an_existing_library_is_not_replaced(folder: Path) -> None:
    with refused("exists"):
        library.create(folder, "other", BUNDLE, DIM)
    with refused("exists"):
        library.add_case(folder, case_id="case-1", vector=np.ones(DIM), origin="local")
    assert library.stats(folder).cases == 10


def test_a_removed_case_leaves_no_trace(folder: Path) -> None:
    library.remove_case(folder, "case-7")
    assert library.stats(folder).cases == 9
    assert b"Case number 7" not in (folder / FILE_NAME).read_bytes()
    with refused("unknown_case"):
        library.remove_case(folder, "case-7")
    with refused("unknown_case"):
        library.open_library(folder).text_of("case-7")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"vector": np.ones(DIM + 1)}, "dimension_mismatch"),
        ({"vector": np.zeros(DIM)}, "bad_vector"),
        ({"vector": np.full(DIM, np.nan)}, "bad_vector"),
        ({"thumbnail_png": b"GIF89a"}, "bad_thumbnail"),
        ({"bundle_hash": "another"}, "bundle_mismatch"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, values: dict[str, object], code: str) -> None:
    case = {"case_id": "new", "vector": np.ones(DIM), "origin": "local"} | values
    with refused(code):
        library.add_case(folder, **case)  # type: ignore[arg-type]
    assert library.stats(folder).cases == 10


def test_missing_foreign_and_damaged_files(folder: Path, tmp_path: Path) -> None:
    with refused("missing"):
        library.open_library(tmp_path / "nowhere")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / FILE_NAME).write_text("no database, just words " * 100)
    with refused("damaged"):
        library.open_library(tmp_path / "text")
    (tmp_path / "foreign").mkdir()
    with sqlite3.connect(tmp_path / "foreign" / FILE_NAME) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    with refused("not_a_library"):
        library.open_library(tmp_path / "foreign")
    data = bytearray((folder / FILE_NAME).read_bytes())
    data[60:64] = (2).to_bytes(4, "big")  # PRAGMA user_version
    (folder / FILE_NAME).write_bytes(data)
    with refused("newer_format"):
        library.open_library(folder)


def test_check_names_what_is_wrong(folder: Path) -> None:
    with sqlite3.connect(folder / FILE_NAME) as connection:
        connection.execute("UPDATE cases SET vector = x'00000000' WHERE case_id = 'case-1'")
        connection.execute("UPDATE cases SET vector = zeroblob(64), thumbnail = x'00' WHERE case_id = 'case-2'")
        connection.execute("UPDATE cases SET labels = '{' , fingerprint = 'volume-4' WHERE case_id = 'case-3'")
    connection.close()
    problems = "\n".join(library.check(folder))
    for part in (
        "'case-1': its vector has 1 values",
        "'case-2': its vector is not of length one",
        "'case-3': its labels",
    ):
        assert part in problems
    assert "thumbnail is not a PNG" in problems
    assert "'case-3' and 'case-4' are the same volume" in problems
    with refused("damaged"):
        library.open_library(folder)._cases  # noqa: B018


def test_nothing_is_left_when_creation_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        library.create(tmp_path / "new", "new", BUNDLE, DIM)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_read_only_copy_is_searched_without_writing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr("os.access", lambda *_: False)  # as on a read-only mount
    monkeypatch.setattr("sqlite3.connect", lambda name, **kw: opened.append(name) or connect(name, **kw))
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert library.stats(folder).cases == 10
    assert opened[0].endswith("?immutable=1")
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_thumbnails_travel(folder: Path) -> None:
    stored = library.open_library(folder)._hits(["case-0", "case-1"], [0.5, 0.4])
    assert [hit.thumbnail_png for hit in stored] == [None, PNG]
