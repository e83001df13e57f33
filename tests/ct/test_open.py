"""Opening by what the bytes are; and nothing of the patient leaves."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_colipri.ct import open as opening
from napari_colipri.ct import open_volume, read_passport
from napari_colipri.errors import OutOfResources, StudyRefused
from tests.dicom_files import PATIENT_ID, PATIENT_NAME, stored_chest, write_series


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    hu = (stored_chest() - 1024).transpose(2, 1, 0)
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(hu, np.diag([-7.0, -8.0, 10.0, 1.0])), path)
    return path


def code_of(path: Path) -> str:
    with pytest.raises(StudyRefused) as caught:
        open_volume(path)
    assert caught.value.path == path
    return caught.value.code


@pytest.mark.parametrize("name", ["study.nii.gz", "study", "study.dcm", "study.bin"])
def test_a_nifti_is_opened_whatever_it_is_called(nifti: Path, name: str) -> None:
    renamed = nifti.rename(nifti.with_name(name))
    volume = open_volume(renamed)
    assert volume.source.kind == "nifti"
    assert volume.hu.shape == (48, 40, 12)


@pytest.mark.parametrize("name", ["IM0001", "image.dcm", "image.nii.gz"])
def test_a_dicom_file_is_opened_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    path = write_series(tmp_path, stored_chest(1))[0].rename(tmp_path / name)
    volume = open_volume(str(path))
    assert volume.source.kind == "dicom"
    assert (volume.passport.display, volume.passport.analyse) == ("warn", "refuse")
    assert [item.code for item in volume.passport.reasons] == ["single_slice"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.nii.gz", b"", "empty"),
        ("a.dcm", b"", "empty"),
        ("a.nii.gz", b"a line of text", "not_an_image"),
        ("a.dcm", b"a line of text", "not_dicom"),
        ("a.txt", b"a line of text", "not_an_image"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 300, "not_an_image"),
        ("a.pkl", b"\x80\x04\x95" + b"\0" * 300, "not_an_image"),
        ("a.tar.xz", b"\xfd7zXZ\0" + b"\0" * 300, "not_an_image"),
        ("a.nii.gz", b"\x1f\x8b\x08\0", "truncated"),
    ],
)
def test_what_is_no_study_is_refused_for_what_it_is(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert code_of(path) == code
    assert [item.code for item in read_passport(path).reasons] == [code]


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert code_of(tmp_path / "absent") == "unreadable"
    assert read_passport(tmp_path / "absent").verdict == "refuse"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert code_of(tmp_path) == "not_dicom"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert code_of(tmp_path / "pipe") == "unreadable"


def test_a_folder_with_one_nifti_is_that_nifti(nifti: Path) -> None:
    assert open_volume(nifti.parent).source.kind == "nifti"


def test_passport_tells_geometry_and_kind(tmp_path: Path) -> None:
    write_series(tmp_path)
    passport = read_passport(tmp_path)
    assert passport.geometry["shape"] == [48, 40, 12]
    assert passport.geometry["spacing_mm"] == [7.0, 8.0, 10.0]
    assert passport.geometry["axis_codes"] == "LPS"
    assert passport.study["kind"] == "dicom"
    assert passport.study["dtype"] == "int16"
    assert passport.study["same_patient_can_be_told"] is True
    assert passport.study["fingerprint"] == open_volume(tmp_path).fingerprint


def test_a_missing_slice_is_not_also_called_uneven(tmp_path: Path) -> None:
    write_series(tmp_path)[5].unlink()
    codes = [item.code for item in read_passport(tmp_path).reasons]
    assert "missing_slices" in codes
    assert "variable_spacing" not in codes


def test_a_tilted_dicom_series_is_called_tilted_and_not_sheared(tmp_path: Path) -> None:
    angle = np.deg2rad(15)
    write_series(
        tmp_path,
        edit=lambda image, _: setattr(image, "ImageOrientationPatient", [1, 0, 0, 0, np.cos(angle), np.sin(angle)]),
    )
    codes = [item.code for item in read_passport(tmp_path).reasons]
    assert "gantry_tilt" in codes
    assert "sheared" not in codes


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (MemoryError(), OutOfResources, "out_of_memory"),
        (PermissionError(13, "Permission denied"), StudyRefused, "unreadable"),
        (RecursionError("Doe^Jane"), StudyRefused, "unreadable"),
        (ImportError("no", name="nibabel"), StudyRefused, "unreadable"),
    ],
)
def test_whatever_a_reader_raises_becomes_one_typed_sentence(
    nifti: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    kind: type[StudyRefused],
    code: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(opening, "_read", fail)
    with pytest.raises(kind) as caught:
        open_volume(nifti)
    assert caught.value.code == code
    assert "Doe" not in caught.value.message + caplog.text
    assert caught.value.__cause__ is None
    assert read_passport(nifti).verdict == "refuse"


def test_no_patient_leaves_in_logs_passports_or_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    paths = write_series(tmp_path, edit=lambda image, _: setattr(image, "PatientBirthDate", "19560317"))
    broken = paths[3].read_bytes()
    # a name longer than its element says, a date that is none: parsers like to quote such values
    paths[3].write_bytes(broken.replace(b"19560317", b"1956DoeJ", 1)[:-50])
    volume = open_volume(tmp_path)
    said = json.dumps(volume.passport.to_json()) + repr(volume.source) + caplog.text + "".join(capfd.readouterr())
    for secret in (*PATIENT_NAME.split("^"), *PATIENT_ID.split("-"), "19560317", "1956DoeJ"):
        assert secret not in said.replace(str(tmp_path), "")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_always_get_a_passport(tmp_path: Path, data: st.DataObject) -> None:
    good = _samples(tmp_path)
    whole = bytearray(data.draw(st.sampled_from(good)))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, min(len(whole), 3000) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged" / "file"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    assert read_passport(path).verdict in ("ok", "warn", "refuse")


def _samples(folder: Path) -> list[bytes]:
    kept = folder / "good"
    if not kept.exists():
        write_series(kept, stored_chest(1))
        hu = (stored_chest(3) - 1024).transpose(2, 1, 0)
        for name in ("a.nii", "a.nii.gz"):
            nib.save(nib.Nifti1Image(hu, np.diag([-7.0, -8.0, 10.0, 1.0])), kept / name)
    return [path.read_bytes() for path in sorted(kept.iterdir())]


def test_file_libraries_are_loaded_by_the_reader_that_needs_them(nifti: Path) -> None:
    # nibabel itself imports pydicom where it is installed
    script = (
        "import sys\n"
        "from napari_colipri.ct import open_volume\n"
        "assert not {'nibabel', 'SimpleITK', 'pydicom', 'torch', 'qtpy', 'napari'} & set(sys.modules)\n"
        f"open_volume({str(nifti)!r})\n"
        "assert not {'SimpleITK', 'torch', 'qtpy', 'napari'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
