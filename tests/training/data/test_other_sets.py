"""RAD-ChestCT, NLST, Merlin and TotalSegmentator in miniature, and phantoms as they lie in their pool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from napari_colipri.errors import StudyRefused
from tests.training.data.files import chest_hu, record, write_lines, write_nifti
from tests.training.data.test_ct_rate import write_csv
from training.data.arrays import read_array, read_array_labels
from training.data.converters import merlin, nlst, rad_chestct, totalsegmentator
from training.data.converters.tables import Converted, Row, Shares
from training.data.crops import Crop, read_crop, read_mask
from training.data.errors import DataError
from training.data.manifest import check_manifest, read_manifest, write_manifest
from training.data.plan import Plan
from training.data.preprocess import preprocess
from training.data.store import studies_in
from training.data.study import open_study

EIGHT = Plan(axis_order="RAS", spacing_mm=(8.0, 8.0, 8.0), chunk=16, block=8)


def checked(converted: Converted, manifest: Path) -> None:
    write_manifest(manifest, converted.records)
    assert check_manifest(manifest)[1] == []


# RAD-ChestCT


@pytest.fixture
def rad(tmp_path: Path) -> Path:
    folder = tmp_path / "rad"
    folder.mkdir()
    hu, _ = chest_hu()
    for name in ("trn00001", "trn00002", "val00001", "tst00001"):
        # slices from the head down, rows from the front, columns from the right: every axis of RAS turned round
        np.savez_compressed(folder / f"{name}.npz", ct=hu[::-1, ::-1, ::-1].transpose(2, 1, 0))
    (folder / "other.npz").write_bytes(b"")
    write_csv(
        folder / "CT_Scan_Metadata_Complete_35747.csv",
        [
            {"NoteAcc_DEID": "trn00001", "MRN_DEID": "m1", "final_spacing": 8.0},
            {"NoteAcc_DEID": "trn00002", "MRN_DEID": "m1", "final_spacing": 8.0},
        ],
    )
    write_csv(
        folder / "imgtrain_Abnormality_and_Location_Labels.csv",
        [
            {"NoteAcc_DEID": "trn00001", "nodule*lung": 0, "nodule*right_lung": 1, "calcification*aorta": 1},
            {"NoteAcc_DEID": "trn00002", "nodule*lung": 0, "nodule*right_lung": 0, "calcification*aorta": 0},
        ],
    )
    return folder


def test_rad_chestct_lies_the_right_way_round(rad: Path, tmp_path: Path) -> None:
    converted = rad_chestct.convert(rad, tmp_path / "m.jsonl")
    checked(converted, tmp_path / "m.jsonl")
    volume, done = open_study(converted.records[0], tmp_path)
    assert volume.geometry.axis_codes == ("L", "P", "I")
    assert volume.geometry.spacing_mm == (8.0, 8.0, 8.0)
    assert done == ["affine"]
    preprocess(read_manifest(tmp_path / "m.jsonl")[:1], tmp_path, tmp_path / "out", EIGHT)
    (study,) = studies_in(tmp_path / "out")
    np.testing.assert_array_equal(read_crop(study, Crop((0, 0, 0), study.shape)), chest_hu()[0])


def test_rad_chestct_labels_patients_and_splits(rad: Path, tmp_path: Path) -> None:
    converted = rad_chestct.convert(rad)
    first, second, test, valid = converted.records
    assert (first.patient, second.patient, valid.patient) == ("m1", "m1", "val00001")
    assert [item.split for item in converted.records] == ["train", "train", "test", "valid"]
    assert first.labels["Lung nodule"] == 1
    assert first.labels["Arterial wall calcification"] is None
    assert second.labels["Lung nodule"] == second.labels["Coronary artery wall calcification"] == 0
    assert first.labels["Emphysema"] is None
    assert test.labels == {}
    assert converted.left_out == {"not named like a scan of RAD-ChestCT": 1}
    rows = converted.beside["rad-chestct-labels.csv"].splitlines()
    assert len(rad_chestct.ABNORMALITIES) == 16
    assert [row.split(",")[3] for row in rows] == ["Calcification", "1", "0"]


def test_a_folder_without_archives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"trn00001\.npz"):
        rad_chestct.convert(tmp_path)


def test_archives_that_are_none_or_say_too_little_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK\x03\x04 rubbish")
    with pytest.raises(StudyRefused) as refused:
        read_array(path)
    assert refused.value.code == "unreadable"
    np.save(tmp_path / "b.npy", np.zeros(3))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    with pytest.raises(StudyRefused):
        read_array(tmp_path / "b.npz")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"x": np.zeros((2, 2, 2))}, "not_an_image"),
        ({"ct": np.zeros((3, 3, 3), np.int16)}, "singular_affine"),
        ({"hu": np.zeros((3, 3, 3), np.int16), "affine": np.zeros((4, 4))}, "singular_affine"),
        ({"hu": np.zeros((3, 3), np.int16), "affine": np.eye(4)}, "not_a_volume"),
        ({"hu": np.zeros((3, 3, 3), bool), "affine": np.eye(4)}, "not_a_volume"),
        ({"hu": np.full((2, 2, 2), None), "affine": np.eye(4)}, "unreadable"),  # would have to be unpickled
    ]
    for arrays, code in cases:
        np.savez(path, **arrays)
        with pytest.raises(StudyRefused) as refused:
            read_array(path)
        assert refused.value.code == code
    with pytest.raises(StudyRefused):
        read_array_labels(path)


# NLST


def series(folder: Path, name: str, slices: int) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    for number in range(slices):
        (path / f"1-{number:03d}.dcm").write_bytes(b"")
    return path


def test_nlst_series_get_the_labels_of_their_year(tmp_path: Path) -> None:
    top = tmp_path / "manifest-1/NLST"
    series(top / "100002/01-02-1999-NLST-LSS-55322", "1.0-0OPA-35858", 45)
    series(top / "100002/01-02-1999-NLST-LSS-55322", "2.0-scout", 2)
    series(top / "100002/01-02-2000-NA-NLST-LSS-11765", "1.0-1OPA-72875", 45)
    series(top / "100004/01-02-2001-NLST-LSS-63991", "1.0-2OPA-24639", 45)
    table = [
        {"pid": "100002", "study_yr": 0, "sct_ab_desc": 51},
        {"pid": "100002", "study_yr": 0, "sct_ab_desc": 61},
        {"pid": "100002", "study_yr": 1, "sct_ab_desc": 55},
        {"pid": "100004", "study_yr": 2, "sct_ab_desc": ".M"},
    ]
    write_csv(tmp_path / "nlst_780_ctab_idc_20210527.csv", table)
    converted = nlst.convert(tmp_path, tmp_path / "m.jsonl", shares=Shares(0, 0))
    checked(converted, tmp_path / "m.jsonl")
    first, later, other = converted.records
    assert (first.patient, first.study) == ("100002", "100002-T0-1.0-0OPA-35858")
    assert (first.labels["Lung nodule"], first.labels["Pulmonary fibrotic sequela"]) == (1, None)
    assert (first.labels["Emphysema"], first.labels["Pleural effusion"]) == (0, 0)
    assert (later.labels["Lung nodule"], later.labels["Pleural effusion"]) == (0, None)
    assert other.labels == {}
    assert sum(converted.left_out.values()) == 1
    with pytest.raises(DataError, match="no study such as"):
        nlst.convert(tmp_path / "manifest-1/NLST/100002")


# Merlin


def test_merlin_from_its_tables(tmp_path: Path) -> None:
    folder = tmp_path / "merlinabdominalctdataset"
    for name in ("AC1", "AC2"):
        write_nifti(folder / f"merlin_data/{name}.nii.gz", *chest_hu())
    (folder / "reports_final.xlsx").write_bytes(b"")
    with pytest.raises(DataError, match=r"Save reports_final\.xlsx as reports_final\.csv"):
        merlin.convert(tmp_path)
    rows = [
        {"study id": "AC1", "Findings": "A finding.", "Split": "val"},
        {"study id": "AC2", "Findings": "", "Split": "train"},
        {"study id": "AC3", "Findings": "Elsewhere.", "Split": "test"},
    ]
    write_csv(folder / "reports_final.csv", rows)
    diseases = dict.fromkeys(merlin.DISEASES, -1) | {"pleural_effusion": 1, "atelectasis": 0}
    write_csv(folder / "zero_shot_findings_disease_cls.csv", [{"study id": "AC1"} | diseases])
    converted = merlin.convert(tmp_path, tmp_path / "m.jsonl")
    checked(converted, tmp_path / "m.jsonl")
    first, second = converted.records
    assert (first.report, first.split, second.report, second.split) == ("A finding.", "valid", None, "train")
    assert (first.labels["Pleural effusion"], first.labels["Atelectasis"]) == (1, 0)
    assert first.labels["Cardiomegaly"] is None
    assert converted.left_out["in the table of reports, but not on this disk"] == 1
    write_csv(folder / "reports_final.csv", [rows[0] | {"Split": "later"}])
    with pytest.raises(DataError, match="line 2, column Split: 'later'"):
        merlin.convert(tmp_path)


# TotalSegmentator


@pytest.fixture
def subjects(tmp_path: Path) -> Path:
    folder = tmp_path / "Totalsegmentator_dataset_v201"
    hu, affine = chest_hu()
    for number, name in enumerate(("s0000", "s0001", "s0002")):
        write_nifti(folder / name / "ct.nii.gz", hu, affine)
        for place, part in enumerate(("lung_upper_lobe_left", "lung_lower_lobe_left", "rib_left_1", "rib_right_1")):
            mask = np.zeros(hu.shape, np.uint8)
            mask[5 * place : 5 * place + 5, 10:20, 10:20] = 1
            if number < 2:
                write_nifti(folder / name / f"segmentations/{part}.nii.gz", mask, affine)
    text = "image_id;age;split\ns0000;60;train\ns0001;61;test\ns0002;62;val\n"
    (folder / "meta.csv").write_text(text, encoding="utf-8-sig")
    return folder


def test_binary_masks_become_one_label_map(subjects: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "sets/total.jsonl"
    manifest.parent.mkdir()
    converted = totalsegmentator.convert(subjects, manifest)
    checked(converted, manifest)
    assert [item.split for item in converted.records] == ["train", "test"]
    assert converted.left_out == {"masks that cannot be used (unreadable)": 1}
    (name,) = converted.beside
    classes = json.loads(converted.beside[name])
    masks = converted.records[0].masks_path(manifest.parent)
    assert masks is not None
    labels = np.asanyarray(nibabel.load(masks).dataobj)
    assert {classes[str(label)] for label in np.unique(labels)} == {"background", "lung_left", "bones"}
    assert (labels[0:10, 12, 12] == 1).all()
    assert (labels[10:20, 12, 12] == 5).all()
    preprocess(read_manifest(manifest), manifest.parent, tmp_path / "out", EIGHT)
    study = studies_in(tmp_path / "out")[0]
    np.testing.assert_array_equal(read_mask(study, Crop((0, 0, 0), study.shape)), labels)


def test_other_classes_make_other_maps_and_finished_ones_are_kept(subjects: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "total.jsonl"
    first = totalsegmentator.convert(subjects, manifest).records[0].masks_path(tmp_path)
    other = totalsegmentator.convert(subjects, manifest, classes={"ribs": ["rib_*"]}).records[0].masks_path(tmp_path)
    assert first is not None
    assert other is not None
    assert first != other
    assert set(np.unique(np.asanyarray(nibabel.load(other).dataobj))) == {0, 1}
    stamp = first.stat().st_mtime_ns
    totalsegmentator.convert(subjects, manifest)
    assert first.stat().st_mtime_ns == stamp


def test_masks_on_different_grids_are_left_out(subjects: Path, tmp_path: Path) -> None:
    mask = nibabel.load(subjects / "s0000/segmentations/rib_left_1.nii.gz")
    shifted = mask.affine.copy()
    shifted[0, 3] += 30
    write_nifti(subjects / "s0000/segmentations/rib_left_1.nii.gz", np.asanyarray(mask.dataobj), shifted)
    converted = totalsegmentator.convert(subjects, tmp_path / "m.jsonl")
    assert converted.left_out["masks that cannot be used (mask_elsewhere)"] == 1
    (subjects / "meta.csv").write_text("image_id;split\ns0000;new\n")
    with pytest.raises(DataError, match="line 2, column split: 'new'"):
        totalsegmentator.convert(subjects, tmp_path / "m.jsonl")


# phantoms


def test_a_phantom_archive_is_prepared_as_it_lies_in_its_pool(tmp_path: Path) -> None:
    hu, affine = chest_hu()
    labels = (hu > -500).astype(np.uint8)
    np.savez(tmp_path / "00000001.npz", hu=hu, labels=labels, affine=affine, text=np.zeros(3, np.uint8))
    line = record(1, image="00000001.npz", masks="00000001.npz", boxes={"Lung nodule": [[0, 0, 0, 9, 9, 9]]})
    manifest = write_lines(tmp_path / "m.jsonl", line | {"boxes_complete": True})
    preprocess(read_manifest(manifest), tmp_path, tmp_path / "out", EIGHT)
    (study,) = studies_in(tmp_path / "out")
    whole = Crop((0, 0, 0), study.shape)
    np.testing.assert_array_equal(read_crop(study, whole), hu)
    np.testing.assert_array_equal(read_mask(study, whole), labels)
    assert study.boxes_complete
    assert study.boxes == {"Lung nodule": [[0, 0, 0, 9, 9, 9]]}


def test_rows_read_as_numbers_name_their_place() -> None:
    with pytest.raises(DataError, match=r"t\.csv, line 7, column x"):
        Row({"x": "many"}, 7, "t.csv").number("x")
