"""The other commands: passport, model, library, demo, doctor, forget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from napari_colipri.desktop.preferences import Preferences, save_preferences
from napari_colipri.paths import cache_dir
from tests.bundles import write_tiny_bundle
from tests.cli.conftest import Run

ROOT = Path(__file__).resolve().parents[2]


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "napari.layers", "nibabel", "pydicom", "SimpleITK", "numpy")
    code = (
        "import sys; from napari_colipri.cli import main; sys.argv = ['napari-colipri', '--help']\n"
        "try: main()\n"
        f"except SystemExit as end: print([m for m in {heavy} if m in sys.modules]); sys.exit(end.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "open", "analyse", "passport", "model", "library", "review", "doctor", "forget"):
        assert f"  {command} " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


# ------------------------------------------------------------------------------------------------------ passport


def test_passport_of_a_good_study(run: Run, study: Path) -> None:
    done = run("passport", study, "--json")
    printed = json.loads(done.out)
    assert done.status == 0
    assert printed["analyse"] in ("ok", "warn")
    assert printed["geometry"]["shape"] == [40, 30, 44]


def test_passport_is_printed_for_what_cannot_be_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "words.nii.gz").write_text("these are words")
    done = run("passport", tmp_path / "words.nii.gz", "--json")
    printed = json.loads(done.out)
    assert done.status == 3
    assert printed["display"] == printed["analyse"] == printed["verdict"] == "refuse"
    assert f"{printed['reasons'][0]['code']}: " in done.err
    assert run("passport", tmp_path / "words.nii.gz").status == 3


def test_every_bad_input_has_its_passport(run: Run, real_data: Path) -> None:
    files = [path for path in (real_data / "bad-inputs").rglob("*") if path.suffix in (".dcm", ".gz", ".nii")]
    assert len(files) > 20
    for path in files[::4]:
        done = run("passport", path, "--json")
        printed = json.loads(done.out)
        assert done.status == (3 if printed["analyse"] == "refuse" else 0), path.name


# --------------------------------------------------------------------------------------------------------- model


def test_models_are_added_listed_and_removed(run: Run, tiny: Path) -> None:
    assert run("model", "add", tiny, "--name", "mine").status == 0
    listed = json.loads(run("model", "list", "--json").out)
    assert "mine" in [item["name"] for item in listed]
    assert "mine: Tiny random model" in run("model", "list").out
    assert run("model", "add", tiny, "--name", "mine").status == 4
    assert run("model", "remove", "mine").status == 0
    assert run("model", "remove", "mine").status == 4
    assert run("model", "remove", "demo").status == 4


def test_the_axis_order_of_random_weights_cannot_be_told(run: Run, study: Path, tiny: Path) -> None:
    done = run("model", "check", tiny, "--studies", study.parent, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["answer"] == "inconclusive"
    assert run("model", "check", tiny, "--studies", study).status == 2
    assert run("model", "check", tiny, "--studies", study.parent, "--labels", "nowhere.csv").status == 2


@pytest.mark.parametrize(("answer", "status"), [("right", 0), ("wrong", 4), ("inconclusive", 0)])
def test_only_a_right_axis_order_is_recorded(
    run: Run, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    from napari_colipri.engine.check import CheckReport

    settings = {"axis_order": "assumed", "pooling": "verified", "preset": "verified"}
    assert (
        run("model", "add", write_tiny_bundle(tmp_path / "unsure", settings=settings), "--name", "unsure").status == 0
    )
    report = CheckReport(answer, "RAS", "labels", {"RAS": 0.8, "SAR": 0.5}, 9, 0.01)  # type: ignore[arg-type]
    monkeypatch.setattr("napari_colipri.engine.check.check_axis_order", lambda *_, **__: report)
    assert run("model", "check", "unsure", "--studies", study.parent).status == status
    (listed,) = [item for item in json.loads(run("model", "list", "--json").out) if item["name"] == "unsure"]
    assert listed["settings"]["axis_order"] == ("verified" if answer == "right" else "assumed")


# ------------------------------------------------------------------------------------------------------- library


def test_a_library_from_beginning_to_end(run: Run, study: Path, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    (tmp_path / "report.txt").write_text("IMPRESSION: A nodule of 12 mm.")
    assert run("library", "create", folder, "--name", "Mine", "--bundle", tiny).status == 0
    added = ("library", "add", folder, study, "--bundle", tiny)
    done = run(*added, "--case", "first", "--report", tmp_path / "report.txt")
    assert done.status == 0, done.err
    assert "Read from its report: Lung nodule." in done.out
    assert run(*added, "--case", "second", "--label", "Emphysema", "--report", tmp_path / "report.txt").status == 0
    stats = json.loads(run("library", "stats", folder, "--json").out)
    assert stats["labels"] == {"Lung nodule": 1, "Emphysema": 1}
    assert run("library", "remove", folder, "second").status == 0
    assert run(*added, "--case", "first").status == 4
    stats = json.loads(run("library", "stats", folder, "--json").out)
    assert (stats["name"], stats["cases"], stats["labels"]) == ("Mine", 1, {"Lung nodule": 1})
    assert run("library", "check", folder).status == 0
    found = json.loads(run("library", "search", folder, study, "--bundle", tiny, "--json").out)
    assert found["hits"] == []
    assert found["left_out"] == ["first"]  # it is this very volume
    assert run("library", "remove", folder, "first").status == 0
    assert run("library", "remove", folder, "first").status == 4


def test_library_problems_are_4(run: Run, tmp_path: Path, study: Path, tiny: Path) -> None:
    assert run("library", "stats", tmp_path / "nowhere").status == 4
    assert run("library", "search", tmp_path / "nowhere", study, "--bundle", tiny).status == 4
    folder = tmp_path / "library"
    run("library", "create", folder, "--bundle", tiny)
    (folder / "library.sqlite").write_bytes(b"rubbish" * 100)
    assert run("library", "check", folder).status == 4


# ---------------------------------------------------------------------------------------- demo, open, doctor, forget


def test_demo_without_a_display_writes_report_masks_and_picture(
    run: Run, study: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_colipri.cli.studies.sample_study", lambda: study)
    monkeypatch.setattr("napari_colipri.cli.studies.has_display", lambda: False)
    done = run("demo", "--out", tmp_path / "shown", "--bundle", tiny)
    assert done.status == 0, done.err
    assert "no display" in done.err
    names = {path.name for path in (tmp_path / "shown").iterdir()}
    assert names >= {"report.md", "segmentation.nii.gz", "picture.png"}
    assert (tmp_path / "shown" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_demo_and_open_start_the_viewer(run: Run, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("napari_colipri.cli.studies.sample_study", lambda: study)
    monkeypatch.setattr("napari_colipri.cli.studies.has_display", lambda: True)
    monkeypatch.setattr("napari_colipri.cli.studies._open_window", lambda *a, **k: opened.append((*a, k["analyse"])))
    assert run("demo").status == 0
    assert run("open", study).status == 0
    assert opened == [(study, True), (study, False)]


def test_the_viewer_starts_with_the_model_that_was_named(
    run: Run, study: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr("napari_colipri.cli.studies.has_display", lambda: True)
    monkeypatch.setattr("napari_colipri.desktop.launch.run", lambda *arguments: started.append(arguments))
    save_preferences(Preferences("chosen before", "cpu"))
    assert run("open", study).status == 0
    assert run("open", study, "--bundle", tiny, "--device", "cuda").status == 0
    assert run("open", study, "--bundle", "demo").status == 0
    assert [arguments[2] for arguments in started] == [
        Preferences("chosen before", "cpu"),
        Preferences(str(tiny), "cuda"),
        Preferences(None, "cpu"),
    ]
    assert run("open", study, "--bundle", "unheard-of").status == 4
    assert run("open", study, "--device", "abacus").status == 2
    assert len(started) == 3


def test_open_without_a_display_says_what_to_do(run: Run, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_colipri.cli.studies.has_display", lambda: False)
    done = run("open", study)
    assert (done.status, "napari-colipri analyse" in done.err) == (2, True)


def test_doctor_answers_whatever_is_missing(run: Run) -> None:
    done = run("doctor", "--json")
    printed = json.loads(done.out)
    assert done.status == (0 if printed["works"] else 4)
    assert {"python", "device", "shipped library", "cache folder"} <= {item["what"] for item in printed["findings"]}
    assert run("doctor").out.count("\n") >= len(printed["findings"])


def test_forget_removes_what_was_derived_and_nothing_else(run: Run, study: Path) -> None:
    fingerprint = json.loads(run("passport", study, "--json").out)["study"]["fingerprint"]
    drafts = cache_dir() / "drafts"
    drafts.mkdir()
    (drafts / f"{fingerprint}.json").write_text("{}")
    (drafts / f"{'0' * 32}.json").write_text("{}")
    done = run("forget", study)
    assert done.status == 0
    assert "1 derived file removed" in done.out
    assert [path.name for path in drafts.iterdir()] == [f"{'0' * 32}.json"]
    assert study.exists()
    assert "1 derived file removed" in run("forget", "0" * 32).out
    assert run("forget", study.with_name("nowhere.nii")).status == 2
