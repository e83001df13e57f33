"""CT-RATE in miniature, both editions; the metadata table's real rows where they are at hand."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_colipri.ct.open import open_volume
from napari_colipri.text.findings import FINDING_NAMES
from tests.training.data.files import SPACING, chest_hu, write_nifti
from training.data.converters.ct_rate import convert, correction_of, volume_name
from training.data.converters.tables import Row, read_table
from training.data.errors import DataError
from training.data.manifest import check_manifest, write_manifest
from training.data.records import Correction, Record
from training.data.study import is_raw, open_study

INTERCEPT = -8192  # as the photon-counting scanner of the set has it


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def metadata(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "VolumeName": name,
        "RescaleSlope": 1,
        "RescaleIntercept": INTERCEPT,
        "XYSpacing": f"[{SPACING[0]}, {SPACING[1]}]",
        "ZSpacing": SPACING[2],
        "ImagePositionPatient": "[-164.0, -116.0, -156.0]",
        "ImageOrientationPatient": "[1, 0, 0, 0, 1, 0]",
    } | changes


def miniature(root: Path, *, fixed: bool) -> Path:
    """Two training patients (one with two reconstructions) and a validation patient."""
    names = ["train_1_a_1", "train_1_a_2", "train_12_a_1", "valid_1_a_1"]
    for number, name in enumerate(names):
        part, patient, scan = name.split("_")[:3]
        hu, affine = chest_hu(number, codes="LPS")
        folder = (
            root / "dataset" / (f"{part}_fixed" if fixed else part) / f"{part}_{patient}" / f"{part}_{patient}_{scan}"
        )
        values = hu if fixed else hu - INTERCEPT
        write_nifti(folder / f"{name}.nii.gz", values.astype(np.int16), affine if fixed else np.eye(4))
    files = [f"{name}.nii.gz" for name in names]
    texts = root / "dataset" / "radiology_text_reports"
    about = {"ClinicalInformation_EN": "", "Technique_EN": "Not given."}
    for part, table, label in (("train", "train", "train"), ("valid", "validation", "valid")):
        mine = [name for name in files if name.startswith(part)]
        write_csv(
            texts / f"{table}_reports.csv",
            [
                {"VolumeName": name, **about, "Findings_EN": f"Findings of {name}.", "Impressions_EN": "Normal."}
                for name in mine
            ],
        )
        labels = [
            {"VolumeName": name} | {finding: int(n == 9) for n, finding in enumerate(FINDING_NAMES)} for name in mine
        ]
        write_csv(root / "dataset" / "multi_abnormality_labels" / f"{label}_predicted_labels.csv", labels)
        write_csv(root / "dataset" / "metadata" / f"{table}_metadata.csv", [metadata(name) for name in mine])
    return root


@pytest.mark.parametrize("fixed", [True, False], ids=["corrected", "first"])
def test_both_editions_become_the_same_hu_at_the_same_place(tmp_path: Path, fixed: bool) -> None:
    root = miniature(tmp_path / "ct-rate", fixed=fixed)
    converted = convert(root, tmp_path / "m.jsonl", hold_out=0)
    assert [item.study for item in converted.records] == ["train_1_a_1", "train_1_a_2", "train_12_a_1", "valid_1_a_1"]
    for number, item in enumerate(converted.records):
        volume, done = open_study(item, tmp_path)
        hu, affine = chest_hu(number, codes="LPS")
        np.testing.assert_array_equal(volume.hu, hu)
        np.testing.assert_allclose(np.abs(volume.affine[:3, :3]), np.abs(affine[:3, :3]), atol=1e-5)
        assert volume.geometry.axis_codes == ("L", "P", "S")
        assert done == ([] if fixed else ["rescale", "affine"])
        assert volume.hu.dtype == np.int16
        assert "not_hu" not in [reason.code for reason in volume.passport.reasons]


def test_records_hold_report_labels_and_split(tmp_path: Path) -> None:
    converted = convert(miniature(tmp_path, fixed=True), tmp_path / "m.jsonl", hold_out=0)
    first, last = converted.records[0], converted.records[-1]
    assert first.patient == converted.records[1].patient == "train_1"
    assert (first.split, last.split) == ("train", "test")
    assert first.report == "Findings: Findings of train_1_a_1.nii.gz.\n\nImpression: Normal."
    assert [name for name, value in first.labels.items() if value] == ["Lung nodule"]
    assert not first.image.startswith("/")
    write_manifest(tmp_path / "m.jsonl", converted.records)
    assert check_manifest(tmp_path / "m.jsonl")[1] == []


def test_held_out_patients_are_whole_and_the_same_every_time(tmp_path: Path) -> None:
    root = miniature(tmp_path, fixed=True)
    splits = [{item.patient: item.split for item in convert(root, hold_out=0.5).records} for _ in range(2)]
    assert splits[0] == splits[1]
    of_first = {item.split for item in convert(root, hold_out=0.5).records if item.patient == "train_1"}
    assert len(of_first) == 1
    assert {item.split for item in convert(root, hold_out=1.0).records} == {"valid", "test"}


def test_hu_that_were_put_in_place_of_raw_values_are_not_rescaled_twice(tmp_path: Path) -> None:
    root = miniature(tmp_path, fixed=True)
    for part in ("train", "valid"):
        (root / "dataset" / f"{part}_fixed").rename(root / "dataset" / part)
    item = convert(root, hold_out=0).records[0]
    assert item.correction is not None
    volume, done = open_study(item, tmp_path)
    assert done == ["affine"]
    np.testing.assert_array_equal(volume.hu, chest_hu(0, codes="LPS")[0])


def test_padding_far_below_air_does_not_hide_raw_values(tmp_path: Path) -> None:
    hu, affine = chest_hu(0)
    raw = (hu + 1024).astype(np.int16)
    raw[:6] = -2000  # what scanners write outside the reconstruction circle, before the rescale
    write_nifti(tmp_path / "images/0.nii.gz", raw, affine)
    item = Record(
        image="images/0.nii.gz",
        patient="p",
        study="s",
        split="train",
        source="t",
        correction=Correction(intercept=-1024),
    )
    volume, done = open_study(item, tmp_path)
    assert done == ["rescale"]
    np.testing.assert_array_equal(volume.hu[6:], hu[6:])


@pytest.mark.parametrize("name", ["acrin-flt-013/acrin-flt-013.nii.gz", "totalsegmentator-pulmonary/ct_cropped.nii.gz"])
@pytest.mark.parametrize("intercept", [-1024, -8192])
def test_raw_and_corrected_real_scans_are_told_apart(real_data: Path, name: str, intercept: int) -> None:
    volume = open_volume(real_data / name)
    raw = replace(volume, hu=(volume.hu.astype(np.int32) - intercept).astype(np.float32))
    assert not is_raw(volume, Correction(intercept=intercept))
    assert is_raw(raw, Correction(intercept=intercept))


def test_raw_volumes_without_their_table_are_refused(tmp_path: Path) -> None:
    root = miniature(tmp_path, fixed=False)
    (root / "dataset/metadata/train_metadata.csv").unlink()
    with pytest.raises(DataError, match=r"train_metadata\.csv.*missing"):
        convert(root)


def test_nothing_is_left_out_silently(tmp_path: Path) -> None:
    root = miniature(tmp_path, fixed=False)
    data = root / "dataset"
    (data / "train/train_12/train_12_a/train_12_a_1.nii.gz").rename(data / "train/train_12/train_12_a/copy.nii.gz")
    (data / "no_chest_valid.txt").write_text("dataset/valid/valid_1/valid_1_a/valid_1_a_1.nii.gz\n")
    rows = [metadata("train_1_a_1.nii.gz", XYSpacing="[0.7]"), metadata("other.nii.gz")]
    write_csv(data / "metadata/train_metadata.csv", rows)
    converted = convert(root)
    assert converted.records == []
    assert dict(converted.left_out) == {
        "with a damaged row in the metadata table": 1,
        "without a row in the metadata table": 1,
        "not named like a volume of CT-RATE": 1,
        "listed as no chest": 1,
        "in a table, but not on this disk": 1,
    }
    assert any("line 2, column XYSpacing" in note for note in converted.notes)


def test_a_table_without_a_column_or_with_a_wrong_cell_is_named(tmp_path: Path) -> None:
    root = miniature(tmp_path, fixed=True)
    path = root / "dataset/multi_abnormality_labels/train_predicted_labels.csv"
    path.write_text(path.read_text().replace("train_1_a_1.nii.gz,0", "train_1_a_1.nii.gz,maybe"))
    with pytest.raises(DataError, match=r"train_predicted_labels\.csv, line 2, column Medical material: 'maybe'"):
        convert(root)
    path.write_text("VolumeName\n")
    with pytest.raises(DataError, match="no column 'Medical material'"):
        convert(root)
    with pytest.raises(DataError, match="There is no volume"):
        convert(tmp_path / "empty")


def test_names_of_volumes() -> None:
    assert volume_name(Path("x/train_12_b_3.nii.gz")) == ("train_12", "train_12_b_3")
    assert volume_name(Path("train_12_b.nii.gz")) is None


def test_every_real_row_of_the_metadata_table_makes_a_correction(real_data: Path) -> None:
    (path,) = (real_data / "reports/ct-rate-metadata").glob("*.csv")
    rows = read_table(path, ("VolumeName", "RescaleSlope"))
    found = [correction_of(row) for row in rows]
    assert len(found) > 3000
    assert {item.intercept for item in found} == {-1024.0, -8192.0}
    for item in found:
        assert item.affine is not None
        axes = np.array(item.affine)[:3, :3]
        # supine, head first: the first index runs to the left, the second to the back, the third to the head
        assert axes[0, 0] < 0 < axes[2, 2]
        assert axes[1, 1] < 0


def test_a_tilted_row_keeps_axes_at_right_angles() -> None:
    angle = np.deg2rad(20)
    orientation = [1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))]
    cells = {key: str(value) for key, value in metadata("v", ImageOrientationPatient=orientation).items()}
    affine = np.array(correction_of(Row(cells, 2, "t.csv")).affine)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert np.linalg.det(axes) > 0
