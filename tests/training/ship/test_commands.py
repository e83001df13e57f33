"""Every command from a manifest to a shipped bundle, whole, at toy size."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_colipri.engine.bundle import open_bundle
from napari_colipri.engine.calibration import read_calibration
from tests.bundles import write_tiny_bundle
from tests.training.toy_studies import CLASSES, toy_study
from training.__main__ import app
from training.evaluation.scores import Scores, write_scores
from training.evaluation.studies import studies_of
from training.ship.plan import read_plan
from training.ship.writing import ShipError

SPLITS = ("train",) * 12 + ("valid",) * 8 + ("test",) * 6


def ask(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, a manifest of studies with masks and reports, and the classes of the masks."""
    folder = tmp_path_factory.mktemp("commands")
    write_tiny_bundle(folder / "base", decoder=False)
    lines = []
    for seed, split in enumerate(SPLITS):
        study = toy_study(seed)
        for name, array in (("ct", study.volume.hu), ("mask", study.mask)):
            image = nib.Nifti1Image(np.asarray(array), study.volume.affine)
            image.set_qform(study.volume.affine, 1)
            image.set_sform(study.volume.affine, 1)
            nib.save(image, folder / f"{name}{seed}.nii.gz")
        record = {"image": f"ct{seed}.nii.gz", "masks": f"mask{seed}.nii.gz", "report": study.report}
        record |= {"patient": f"p{seed}", "study": f"s{seed}", "split": split, "source": "toy"}
        lines.append(json.dumps(record | {"labels": study.labels}))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "names.json").write_text(json.dumps(CLASSES))
    table = [{"label": i, "name": name, "display_name": name} for i, name in enumerate(CLASSES)][1:]
    (folder / "classes.json").write_text(json.dumps(table))
    return folder


def test_a_manifest_yields_the_studies_of_a_split(folder: Path) -> None:
    found = list(studies_of(str(folder / "manifest.jsonl"), split="test", classes=folder / "names.json"))
    assert [study.patient for study in found] == [f"toy/p{seed}" for seed in range(20, 26)]
    want = toy_study(20)
    assert found[0].labels == want.labels
    assert found[0].report == want.report
    assert found[0].mask is not None
    np.testing.assert_array_equal(found[0].mask, want.mask)


def test_from_a_manifest_to_a_shipped_bundle(folder: Path) -> None:
    base, manifest, names = folder / "base", folder / "manifest.jsonl", folder / "names.json"
    for split in ("train", "valid"):
        said = ask("adapt", "tokens", base, manifest, folder / split, "--split", split, "--classes", names, "--images")
        assert "studies in" in said
    train, valid = folder / "train", folder / "valid"
    assert "kept" in ask("adapt", "probes", train, valid, folder / "probes", "--test", valid, "--steps", 5)
    assert (folder / "probes" / "test.jsonl").is_file()
    classes = ("--classes", folder / "classes.json", "--steps", 2, "--architecture", "patch")
    assert "kept step" in ask("adapt", "segmentation", train, valid, folder / "masks", *classes)
    sizes = ("--width", 16, "--depth", 1, "--heads", 2, "--steps", 2)
    assert "kept step" in ask("adapt", "report", base, train, valid, folder / "report", *sizes)
    assert "valid_loss" in (folder / "report" / "log.jsonl").read_text()
    plan = {
        "base": "base",
        "adapters": ["probes", "masks", "report"],
        "name": "toy",
        "card": {"data": ["toys"], "supervision": "None.", "evaluation": "Toys."},
        "benchmark": {"studies": "manifest.jsonl", "classes": "names.json", "masks": 2, "reports": 2, "resamples": 10},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    assert "wrote" in ask("ship", folder / "plan.json", folder / "out" / "toy")
    bundle = open_bundle(folder / "out" / "toy")
    assert bundle.config.adapters.segmentation is not None
    assert bundle.config.adapters.segmentation.architecture == "patch"
    said = ask("ship", folder / "plan.json", folder / "out" / "toy")  # beside itself: equal, so not worse
    assert "| mean Dice |" in said
    words = (bundle.path, manifest, "--classes", names, "--out", folder / "figures", "--resamples", 10, "--masks-on", 2)
    said = ask("evaluate", "bundle", *words)
    for title in (
        "### Findings, zero-shot",
        "### Findings, probe",
        "### Masks",
        "### Retrieval, sizes removed from the text",
        "### Generated reports",
    ):
        assert title in said
    assert "clinical F1" in ask("evaluate", "reports", folder / "figures" / "reports.jsonl", "--out", folder / "again")


def test_both_answers_are_calibrated_into_one_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("fit", "judge"):
        labels = (rng.random((300, 1)) < 0.4).astype(float)
        scores = 1 / (1 + np.exp(-rng.normal(4 * labels - 2, 1)))
        keys = tuple(f"{name}{i}" for i in range(300))
        write_scores(Scores(("Emphysema",), scores, labels, keys, keys), tmp_path / f"{name}.jsonl")
    target = tmp_path / "calibration.json"
    for origin in ("zero-shot", "probe"):
        files = (tmp_path / "fit.jsonl", tmp_path / "judge.jsonl", target, "--set", "toys", "--domain", "phantom")
        ask("adapt", "calibrate", *files, "--origin", origin, "--resamples", 20)
    assert [entry.origin for entry in read_calibration(target).entries] == ["zero-shot", "probe"]
    assert (tmp_path / "calibration-probe.png").stat().st_size > 1000
    assert json.loads((tmp_path / "calibration-probe.json").read_text())["findings"]["Emphysema"]["n"] == 300


def test_a_wrong_plan_is_named(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"base": "demo", "card": {"data": []}, "bench": {}}))
    with pytest.raises(ShipError, match=r"plan\.json is wrong at"):
        read_plan(tmp_path / "plan.json")
