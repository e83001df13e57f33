"""``analyse`` end to end: the files of the contract, every exit status, nothing half-written, no path inside."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_colipri import library
from napari_colipri.engine.bundle import open_bundle
from napari_colipri.export.analysis import ANALYSIS_FILES
from tests.bundles import write_tiny_bundle
from tests.cli.conftest import Run

ROOT = Path(__file__).resolve().parents[2]


def read(folder: Path, name: str) -> dict:  # type: ignore[type-arg]
    return json.loads((folder / name).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_a_nifti_study(run: Run, study: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("analyse", study, "--out", out, "--bundle", tiny, "--device", "cpu", "--prompt", "enlarged heart")
    assert done.status == 0, done.err
    assert {path.name for path in out.iterdir()} == set(ANALYSIS_FILES)
    names = [item["name"] for item in read(out, "findings.json")["findings"]]
    assert names[0] == "Cardiomegaly"
    assert names[-1] == "enlarged heart"
    assert all(item["calibration"] is None for item in read(out, "findings.json")["findings"])
    mask = nib.load(out / "segmentation.nii.gz")
    assert mask.shape == nib.load(study).shape
    assert mask.header["srow_x"].tobytes() == nib.load(study).header["srow_x"].tobytes()
    record = read(out, "run.json")
    assert record["bundle"] == {"name": "tiny", "hash": open_bundle(tiny).hash}
    assert record["prompts"] == ["enlarged heart"]
    assert "uncalibrated" in done.out


def test_no_file_names_the_path_or_the_patient(run: Run, study: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("analyse", study, "--out", out, "--bundle", tiny).status == 0
    for path in out.iterdir():
        data = path.read_bytes()
        assert b"JANE" not in data, path.name
        assert str(tmp_path).encode() not in data, path.name


def test_the_same_input_gives_the_same_answers(run: Run, study: Path, tiny: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run("analyse", study, "--out", tmp_path / name, "--bundle", tiny).status == 0
    for name in set(ANALYSIS_FILES) - {"run.json"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    one, two = (read(tmp_path / name, "run.json") for name in ("one", "two"))
    for record in (one, two):
        for varying in ("timings_s", "started", "finished"):
            del record[varying]
    assert one == two


def test_json_prints_the_same_objects(run: Run, study: Path, tiny: Path, tmp_path: Path) -> None:
    done = run("analyse", study, "--out", tmp_path / "out", "--bundle", tiny, "--json")
    printed = json.loads(done.out)
    for name in ("passport", "findings", "segmentation", "similar", "report", "run"):
        assert printed[name] == read(tmp_path / "out", f"{name}.json")


def test_a_dicom_series(run: Run, real_data: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("analyse", real_data / "lungfcp-01-0001" / "dicom", "--out", out, "--bundle", tiny)
    assert done.status == 0, done.err
    mask = nib.load(out / "segmentation.nii.gz")
    assert mask.shape == (512, 512, 98)
    assert read(out, "passport.json")["analyse"] in ("ok", "warn")
    assert read(out, "run.json")["input"]["kind"] == "dicom"


def test_not_a_chest_is_analysed_with_a_warning(run: Run, real_data: Path, tiny: Path, tmp_path: Path) -> None:
    study = real_data / "crlm-1004" / "crlm-1004_-1004_STANDARD_1.nii.gz"
    assert run("analyse", study, "--out", tmp_path / "out", "--bundle", tiny).status == 0
    codes = [item["code"] for item in read(tmp_path / "out", "passport.json")["reasons"]]
    assert "wrong_body_part" in codes
    assert "outside_training_range" in codes


def test_a_bundle_without_a_decoder_says_so(run: Run, study: Path, tmp_path: Path) -> None:
    bare = write_tiny_bundle(tmp_path / "bare", decoder=False)
    out = tmp_path / "out"
    assert run("analyse", study, "--out", out, "--bundle", bare).status == 0
    assert not (out / "segmentation.nii.gz").exists()
    assert "no segmentation decoder" in read(out, "segmentation.json")["notes"][0]


def test_similar_cases_of_a_library_of_ones_own(run: Run, study: Path, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    opened = open_bundle(tiny)
    library.create(folder, "mine", opened.hash, 16)
    for n in range(4):
        library.add_case(folder, case_id=f"case-{n}", vector=np.eye(16)[n], text="Clear.", origin="phantom")
    out = tmp_path / "out"
    assert run("analyse", study, "--out", out, "--bundle", tiny, "--library", folder).status == 0
    assert len(read(out, "similar.json")["hits"]) == 4


# ------------------------------------------------------------------------------------------------ exit statuses


def test_usage_is_2(run: Run, study: Path, tmp_path: Path) -> None:
    assert run("analyse", study).status == 2
    assert run("nonsense").status == 2
    assert run("analyse", tmp_path / "nowhere.nii", "--out", tmp_path / "out").status == 2
    (tmp_path / "file").write_text("")
    assert run("analyse", study, "--out", tmp_path / "file").status == 2
    assert run("review").status == 2
    assert "later version" in run("review").err


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nifti-derived/empty_file.nii.gz", "empty"),
        ("nifti-derived/truncated_gzip.nii.gz", "truncated"),
        ("nifti-derived/single_slice.nii.gz", "single_slice"),
        ("pydicom/CT_small.dcm", "single_slice"),
    ],
)
def test_a_refused_study_is_3_with_its_code(
    run: Run, real_data: Path, tiny: Path, tmp_path: Path, name: str, code: str
) -> None:
    done = run("analyse", real_data / "bad-inputs" / name, "--out", tmp_path / "out", "--bundle", tiny)
    assert done.status == 3
    assert f"{code}: " in done.err
    assert not (tmp_path / "out").exists()


def test_a_changed_bundle_or_foreign_library_is_4(run: Run, study: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("analyse", study, "--out", out, "--bundle", "no-such-bundle").status == 4
    library.create(tmp_path / "foreign", "foreign", "another bundle", 16)
    done = run("analyse", study, "--out", out, "--bundle", tiny, "--library", tmp_path / "foreign")
    assert (done.status, "bundle_mismatch" in done.err) == (4, True)
    changed = write_tiny_bundle(tmp_path / "changed")
    with (changed / "vocab.txt").open("a") as vocabulary:
        vocabulary.write("x\n")
    done = run("analyse", study, "--out", out, "--bundle", changed)
    assert (done.status, "vocab.txt" in done.err) == (4, True)
    assert run("analyse", study, "--out", out, "--bundle", tiny, "--device", "abacus").status == 4
    assert not out.exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()])
def test_no_space_and_no_memory_are_5(
    run: Run, study: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("napari_colipri.export.analysis._write_all", fail)
    assert run("analyse", study, "--out", tmp_path / "out", "--bundle", tiny).status == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DOE^JANE"]


def test_an_interrupt_is_130_and_leaves_nothing(
    run: Run, study: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_colipri.engine.session import Session

    findings = Session.findings

    def interrupted(self: Session, *args: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return findings(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "findings", interrupted)
    before = signal.getsignal(signal.SIGINT)
    done = run("analyse", study, "--out", tmp_path / "out", "--bundle", tiny)
    assert done.status == 130
    assert "Cancelled" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DOE^JANE"]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_unwritable_place_is_a_plain_sentence(run: Run, study: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("analyse", study, "--out", tmp_path / "file" / "out", "--bundle", tiny)
    assert done.status == 2
    assert "Traceback" not in done.err


def test_as_a_process_of_its_own(study: Path, tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "napari_colipri.cli", "analyse", str(study)]
    command += ["--out", str(tmp_path / "out"), "--bundle", str(tiny), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["run"]["bundle"]["name"] == "tiny"
