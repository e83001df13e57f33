"""A manifest is checked before anything is computed: every problem has its line and its field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.data.files import record, tiny_set, write_lines
from training.data.errors import ManifestError
from training.data.manifest import Counts, check_manifest, read_manifest, summary, write_manifest
from training.data.records import Record, label_vector, report_text


def problems(path: Path, **options: bool) -> list[tuple[int, str, str]]:
    return [(item.line, item.field, item.code) for item in check_manifest(path, **options)[1]]


def test_a_right_manifest_has_no_problems(tmp_path: Path) -> None:
    manifest = tiny_set(tmp_path, 2)
    lines, found = check_manifest(manifest)
    assert [line.number for line in lines] == [1, 2]
    assert found == []


def test_errors_name_line_and_field(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "m.jsonl",
        record(0),
        record(1, split="validation"),
        record(2, labels={"Lung nodul": 1}),
        record(3, labels={"Lung nodule": 2}),
        record(4, patient=""),
        record(5, colour="red"),
    )
    with path.open("a") as file:
        file.write("{not json\n")
    assert problems(path, files=False) == [
        (2, "split", "field"),
        (3, "labels", "field"),
        (4, "labels.Lung nodule", "field"),
        (5, "patient", "field"),
        (6, "colour", "field"),
        (7, "", "not_json"),
    ]
    with pytest.raises(ManifestError, match=r"m\.jsonl, line 2, field split: .*5 more"):
        read_manifest(path)


def test_an_unknown_label_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", record(0, labels={"pleural effusions": 1}))
    assert "did you mean 'Pleural effusion'?" in str(check_manifest(path, files=False)[1][0])


def test_a_patient_in_two_splits_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", record(0), record(1), record(2, patient="p0", split="test"))
    (found,) = check_manifest(path, files=False)[1]
    assert found.line == 3
    assert found.code == "patient_in_two_splits"
    assert "on line 1" in found.message


def test_the_same_number_in_two_data_sets_is_not_the_same_patient(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", record(0), record(0, source="other", split="test"))
    assert problems(path, files=False) == []


def test_a_study_twice_and_missing_files(tmp_path: Path) -> None:
    manifest = tiny_set(tmp_path, 1)
    write_lines(manifest, record(0), record(0), record(1, study="x", masks="m.nii.gz", report="texts/1.txt"))
    assert problems(manifest) == [
        (2, "study", "duplicate_study"),
        (3, "image", "missing_file"),
        (3, "masks", "missing_file"),
        (3, "report", "missing_file"),
    ]


def test_labels_can_be_compared_with_what_the_report_says(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", record(0), record(1, labels={"Lung nodule": 0, "Emphysema": None}))
    found = check_manifest(path, files=False, read_findings=lambda text: {"Lung nodule": True, "Emphysema": True})[1]
    assert [(item.line, item.field) for item in found] == [(1, "labels.Emphysema"), (2, "labels.Lung nodule")]


def test_corrections_and_boxes_are_checked_too(tmp_path: Path) -> None:
    flat = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    path = write_lines(
        tmp_path / "m.jsonl",
        record(0, correction={"slope": 0, "intercept": -1024}),
        record(1, correction={"affine": flat}),
        record(2, boxes={"Nodule": [[0, 0, 0, 1, 1, 1]]}),
        record(3, boxes={"Lung nodule": [[0, 0, 0, 1, 1]]}),
    )
    assert [(line, field.split(".")[0]) for line, field, _ in problems(path, files=False)] == [
        (1, "correction"),
        (2, "correction"),
        (3, "boxes"),
        (4, "boxes"),
    ]


def test_a_written_manifest_reads_back(tmp_path: Path) -> None:
    records = [Record.model_validate(record(n, boxes={"Lung nodule": [[0, 0, 0, 1, 1, 1]]})) for n in range(2)]
    path = tmp_path / "m.jsonl"
    assert write_manifest(path, records) == 2
    assert [line.record for line in read_manifest(path)] == records


def test_a_report_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("No nodule.\n", encoding="utf-8")
    assert report_text(Record.model_validate(record(0, report="r.txt")), tmp_path) == "No nodule."
    assert report_text(Record.model_validate(record(0, report=None)), tmp_path) == ""


def test_labels_stand_in_canonical_order_and_unknown_is_nan() -> None:
    vector = label_vector({"Lung nodule": 1, "Medical material": 0, "Emphysema": None})
    assert vector.shape == (18,)
    assert (vector[0], vector[9]) == (0, 1)
    assert (vector != vector).sum() == 16


def test_the_summary_counts_by_source_and_split(tmp_path: Path) -> None:
    records = [
        Record.model_validate(item)
        for item in (record(0), record(1, patient="p0", report=None, labels={}), record(2, split="test"))
    ]
    rows = summary(records)
    assert list(rows) == [("tiny", "train"), ("tiny", "test")]
    assert rows["tiny", "train"] == Counts(studies=2, patients=1, reports=1, labelled=1, masks=0)


def test_a_manifest_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ManifestError, match="is empty"):
        read_manifest(tmp_path / "empty.jsonl")
