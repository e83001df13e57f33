"""The commands from a folder on disk to a prepared one."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.training.data.files import chest_hu, record, tiny_set, write_lines, write_nifti
from tests.training.data.test_ct_rate import miniature
from training.__main__ import app


def command(*words: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, words)])


def test_from_a_plain_folder_to_a_prepared_one(tmp_path: Path) -> None:
    for name in "abc":
        write_nifti(tmp_path / "clinic" / f"{name}.nii.gz", *chest_hu())
    (tmp_path / "clinic/labels.csv").write_text("name,Emphysema\na,1\n")
    manifest, out = tmp_path / "m.jsonl", tmp_path / "out"
    made = command("manifest", "folder", tmp_path / "clinic", manifest, "--source", "ours")
    assert made.exit_code == 0
    assert "3 of 3 images have no patient" in made.output
    assert command("check", manifest).exit_code == 0
    done = command("preprocess", manifest, out, "--spacing", 10)
    assert done.exit_code == 0
    assert "3 prepared" in done.output
    assert "3 kept" in command("preprocess", manifest, out, "--spacing", 10).output
    shown = command("show", out, "--size", 16, "--seconds", 0.1, "--batch", 2)
    assert shown.exit_code == 0
    assert "volumes/s at 16³" in shown.output
    assert "ours" in shown.output
    assert any("Emphysema" in line and "1, 0" in line for line in shown.output.splitlines())


def test_ct_rate_by_its_command(tmp_path: Path) -> None:
    root = miniature(tmp_path, fixed=False)
    made = command("manifest", "ctrate", root, tmp_path / "m.jsonl", "--section", "Impression")
    assert made.exit_code == 0
    assert "first edition" in made.output
    assert '"report": "Impression: Normal."' in (tmp_path / "m.jsonl").read_text()


def test_the_grid_of_a_bundle_is_the_default(tmp_path: Path) -> None:
    manifest = tiny_set(tmp_path, 1)
    assert command("preprocess", manifest, tmp_path / "out", "--no-whole").exit_code == 0
    assert '"keep": [' in (tmp_path / "out/plan.json").read_text()


def test_problems_are_lines_and_an_exit_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = write_lines(tmp_path / "m.jsonl", record(0), record(1, patient="p0", split="test"))
    found = command("check", manifest)
    assert found.exit_code == 2
    assert (
        "m.jsonl, line 2, field patient: this patient is in split 'test' here and in 'train' on line 1" in found.output
    )
    assert command("check", manifest, "--no-files").exit_code == 2
    assert command("preprocess", manifest, tmp_path / "out", "--spacing", 10).exit_code == 2
    assert command("show", tmp_path / "out").exit_code == 2
    assert command("show", tmp_path, "--crop", "left").exit_code == 2


def test_a_prepared_folder_is_verified_and_pruned(tmp_path: Path) -> None:
    manifest, out = tiny_set(tmp_path, 2), tmp_path / "out"
    assert command("preprocess", manifest, out, "--spacing", 10).exit_code == 0
    assert "2 studies are whole" in command("verify", out).output
    write_lines(manifest, record(0))
    assert "1 prepared studies are not in this manifest" in command("preprocess", manifest, out, "--spacing", 10).output
    assert "1 studies removed" in command("preprocess", manifest, out, "--spacing", 10, "--prune").output
    next(out.glob("studies/*/*.b2nd")).write_bytes(b"")
    assert command("verify", out).exit_code == 2
    assert command("verify", tmp_path).exit_code == 2


def test_every_converter_has_its_command(tmp_path: Path) -> None:
    for name in ("merlin", "radchestct", "nlst", "totalsegmentator", "ctrate", "folder"):
        assert command("manifest", name, tmp_path / "none", tmp_path / "m.jsonl").exit_code == 2
    (tmp_path / "classes.json").write_text("[1]")
    wrong = command(
        "manifest", "totalsegmentator", tmp_path, tmp_path / "m.jsonl", "--classes", tmp_path / "classes.json"
    )
    assert wrong.exit_code == 2


def test_skipped_studies_are_pointed_at(tmp_path: Path) -> None:
    manifest = tiny_set(tmp_path, 2)
    (tmp_path / "images/1.nii.gz").write_bytes(b"rubbish")
    done = command("preprocess", manifest, tmp_path / "out", "--spacing", 10)
    assert done.exit_code == 0
    assert "1 prepared, 1 skipped" in done.output
    assert "skipped.jsonl" in done.output


def test_labels_are_compared_with_the_reports_when_asked(tmp_path: Path) -> None:
    wrong = record(1, report="No nodule. Possible emphysema.")
    manifest = write_lines(tmp_path / "m.jsonl", record(0), wrong)
    assert command("check", manifest, "--no-files").exit_code == 0
    found = command("check", manifest, "--no-files", "--labels")
    assert found.exit_code == 2
    assert "line 2, field labels.Lung nodule: the label is 1, the report reads as absent" in found.output
    assert "Emphysema" not in found.output
