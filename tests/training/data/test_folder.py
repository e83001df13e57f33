"""A plain folder: images, tables and masks go by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.data.files import chest_hu, write_nifti
from training.data.converters.folder import convert
from training.data.converters.tables import Shares
from training.data.errors import DataError
from training.data.manifest import check_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "clinic"
    for name in ("a", "b", "c"):
        write_nifti(folder / f"{name}.nii.gz", *chest_hu())
    hu, affine = chest_hu()
    write_nifti(folder / "masks/a.nii.gz", (hu > 0).astype(np.uint8), affine)
    (folder / "reports.csv").write_text('name,report,patient,split\na,"Two lines,\nquoted.",P1,test\nb,,P1,test\n')
    (folder / "labels.csv").write_text("name,lung nodule,Emphysema\na.nii.gz,1,\nc,0,1\ngone,1,1\n")
    (folder / "b.txt").write_text("A text file.")
    (folder / "notes.md").write_text("no image")
    return folder


def test_everything_goes_by_name(folder: Path, tmp_path: Path) -> None:
    converted = convert(folder, tmp_path / "m.jsonl", shares=Shares(valid=1.0, test=0.0))
    a, b, c = converted.records
    assert (a.report, b.report, c.report) == ("Two lines,\nquoted.", "clinic/b.txt", None)
    assert a.labels == {"Lung nodule": 1, "Emphysema": None}
    assert c.labels == {"Lung nodule": 0, "Emphysema": 1}
    assert (a.masks, b.masks) == ("clinic/masks/a.nii.gz", None)
    assert [item.patient for item in converted.records] == ["P1", "P1", "c"]
    assert [item.split for item in converted.records] == ["test", "test", "valid"]
    assert converted.left_out == {"in labels.csv, but not in the folder": 1}
    assert "1 of 3 images have no patient" in converted.notes[0]
    write_manifest(tmp_path / "m.jsonl", converted.records)
    assert check_manifest(tmp_path / "m.jsonl")[1] == []


def test_a_dicom_series_is_a_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "series").mkdir()
    (folder / "series/1.dcm").write_bytes(b"x")
    (folder / "nothing").mkdir()
    converted = convert(folder)
    assert [item.study for item in converted.records] == ["a", "b", "c", "series"]
    assert converted.left_out["an empty folder"] == 1


def test_what_is_wrong_in_a_table_is_named(folder: Path) -> None:
    (folder / "labels.csv").write_text("name,Nodules\na,1\n")
    with pytest.raises(DataError, match=r"labels\.csv: the column 'Nodules' is no finding"):
        convert(folder)
    (folder / "labels.csv").write_text("name,Emphysema\na,1\na,0\n")
    with pytest.raises(DataError, match=r"labels\.csv, line 3: 'a' stands on line 2 already"):
        convert(folder)
    (folder / "labels.csv").write_text("name,split\na,later\n")
    (folder / "reports.csv").unlink()
    with pytest.raises(DataError, match=r"line 2, column split: 'later'"):
        convert(folder)


def test_two_images_of_one_name_are_refused(folder: Path) -> None:
    write_nifti(folder / "a.nii", *chest_hu())
    with pytest.raises(DataError, match="Two images are called a"):
        convert(folder)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        convert(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        convert(tmp_path / "none")


def test_shares_follow_the_patient_and_nothing_else() -> None:
    shares = Shares(valid=0.1, test=0.2)
    splits = [shares.split_of(f"patient {number}") for number in range(2000)]
    assert splits == [shares.split_of(f"patient {number}") for number in range(2000)]
    assert 0.07 < splits.count("valid") / 2000 < 0.13
    assert 0.16 < splits.count("test") / 2000 < 0.24
