"""Zips: the study inside, or one refusal before anything lands anywhere."""

from __future__ import annotations

import contextlib
import io
import stat
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_colipri.ct import open_volume, read_passport
from napari_colipri.ct.readers import archive
from napari_colipri.ct.readers.archive import unpacked
from napari_colipri.errors import Cancelled, OutOfResources, StudyRefused
from napari_colipri.progress import CancelToken
from tests.dicom_files import stored_chest, write_series


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def leftovers(home: Path) -> list[Path]:
    folder = home / "cache" / "archives"
    return list(folder.iterdir()) if folder.exists() else []


def refusal(path: Path) -> str:
    with pytest.raises(StudyRefused) as caught:
        open_volume(path)
    assert caught.value.path == path
    return caught.value.code


def test_a_dicom_folder_comes_out_as_it_went_in(tmp_path: Path, user_folders: Path) -> None:
    paths = write_series(tmp_path / "study")
    made = zipped(tmp_path / "study.zip", {f"PA0/SE0/{path.name}": path.read_bytes() for path in paths})
    volume = open_volume(made)
    plain = open_volume(tmp_path / "study")
    np.testing.assert_array_equal(volume.hu, plain.hu)
    np.testing.assert_array_equal(volume.affine, plain.affine)
    assert volume.fingerprint == plain.fingerprint
    assert volume.source.path == str(made)
    assert volume.source.patient_key == plain.source.patient_key
    assert leftovers(user_folders) == []


def test_one_nifti_file_in_a_zip_is_opened(tmp_path: Path) -> None:
    hu = (stored_chest() - 1024).transpose(2, 1, 0)
    inner = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(hu, np.diag([-7.0, -8.0, 10.0, 1.0])), inner)
    made = zipped(tmp_path / "any.zip", {"ct.nii.gz": inner.read_bytes(), "__MACOSX/._ct.nii.gz": b"\0"})
    np.testing.assert_array_equal(open_volume(made).hu, hu)


def test_two_nifti_files_in_a_zip_are_no_answer(tmp_path: Path) -> None:
    assert refusal(zipped(tmp_path / "two.zip", {"a.nii": b"\x5c\1\0\0", "b.nii": b"\x5c\1\0\0"})) == "not_dicom"


@pytest.mark.parametrize(
    "name",
    [
        "../outside.dcm",
        "a/../../outside.dcm",
        "/etc/outside.dcm",
        "..\\outside.dcm",
        "C:\\outside.dcm",
        "C:outside.dcm",
    ],
)
def test_paths_out_of_the_folder_are_refused_and_nothing_is_written(
    tmp_path: Path, user_folders: Path, name: str
) -> None:
    assert refusal(zipped(tmp_path / "a.zip", {"good.dcm": b"1", name: b"2"})) == "archive_unsafe"
    assert not list(tmp_path.rglob("outside.dcm"))
    assert not list(user_folders.rglob("*outside.dcm"))
    assert leftovers(user_folders) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        member = zipfile.ZipInfo("link")
        member.external_attr = (kind | 0o777) << 16
        made.writestr(member, "/etc/passwd")
    assert refusal(path) == "archive_unsafe"


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path, user_folders: Path) -> None:
    path = zipped(tmp_path / "bomb.zip", {"air.dcm": bytes(100 << 20)})
    assert path.stat().st_size < 1 << 20
    assert refusal(path) == "archive_unsafe"
    assert leftovers(user_folders) == []


def test_a_bomb_that_lies_about_its_size_is_stopped(tmp_path: Path, user_folders: Path) -> None:
    path = zipped(tmp_path / "liar.zip", {"air.dcm": bytes(32 << 20)})
    # the declared size, little endian, in both headers
    path.write_bytes(path.read_bytes().replace((32 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    assert refusal(path) in ("truncated", "archive_unsafe")
    assert leftovers(user_folders) == []


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    assert refusal(zipped(tmp_path / "a.zip", {f"{n}.dcm": b"" for n in range(4)})) == "archive_unsafe"


def test_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 10)
    assert refusal(zipped(tmp_path / "a.zip", {"a.dcm": b"12345678901"})) == "archive_unsafe"


def test_names_that_are_one_on_some_file_systems_are_refused(tmp_path: Path) -> None:
    assert refusal(zipped(tmp_path / "a.zip", {"A.dcm": b"1", "a.dcm": b"2"})) == "archive_unsafe"


def test_a_cut_zip_is_truncated(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.zip", {"a.dcm": bytes(1000)}).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[: len(whole) // 2])
    assert refusal(tmp_path / "a.zip") == "truncated"


def test_an_empty_zip_holds_no_study(tmp_path: Path) -> None:
    assert read_passport(zipped(tmp_path / "a.zip", {})).display == "refuse"


def test_a_zip_with_a_password_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.dcm": b"secret"})
    raw = bytearray(path.read_bytes())
    raw[6] |= 1  # the flag in the local header, then in the directory
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(raw))
    assert refusal(path) == "unreadable"


def test_a_zip_within_a_zip_is_not_followed(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made:
        made.writestr("a.dcm", b"1")
    assert refusal(zipped(tmp_path / "a.zip", {"inner.zip": inner.getvalue()})) == "not_dicom"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps access lists instead of modes")
def test_the_folder_is_private_and_gone_afterwards_whatever_happens(tmp_path: Path, user_folders: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"sub/a.dcm": b"1"})
    with contextlib.suppress(KeyError), unpacked(path) as folder:
        assert folder.is_relative_to(user_folders / "cache")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / "sub" / "a.dcm").read_bytes() == b"1"
        raise KeyError
    assert not folder.exists()
    assert leftovers(user_folders) == []


def test_cancel_stops_and_leaves_nothing(tmp_path: Path, user_folders: Path) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        open_volume(zipped(tmp_path / "a.zip", {"a.dcm": b"1"}), cancel=token)
    assert leftovers(user_folders) == []


def test_a_full_disk_is_said_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(OutOfResources):
        open_volume(zipped(tmp_path / "a.zip", {"a.dcm": b"1"}))
