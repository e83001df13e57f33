"""Phantoms and planted scans as studies: labels that the grid can show, pairs that differ in the edit alone."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_colipri.engine.bundle import open_bundle
from napari_colipri.engine.session import Session
from tests.bundles import write_tiny_bundle
from tests.training.toy_studies import toy_study
from training.__main__ import app
from training.evaluation.phantoms import phantom_studies, planted_scores
from training.evaluation.scores import EvaluationError
from training.evaluation.studies import studies_of
from training.phantom.generate import make_phantom
from training.phantom.resolvable import resolvable


def test_a_phantom_brings_truth_report_and_mask() -> None:
    (study,) = studies_of("phantom-held-out:77000001:1:9")
    phantom = make_phantom(77_000_001, shape=(40,) * 3, spacing_mm=(9.0,) * 3, regime="held_out")
    np.testing.assert_array_equal(study.volume.hu, phantom.hu)
    assert study.mask is not None
    assert study.mask.shape == study.volume.hu.shape
    assert len({study.report, *study.other_reports}) > 1  # the same facts in several wordings
    assert study.facts is not None
    assert [fact.finding for fact in study.facts] == [item.name for item in phantom.findings]
    assert set(study.labels.values()) <= {0, 1}


def test_what_a_grid_cannot_show_has_no_label() -> None:
    seen = 0
    for study in phantom_studies(range(77_000_010, 77_000_014), spacing_mm=9.0):
        seed = int(study.study.rpartition("-")[2])
        phantom = make_phantom(seed, shape=(40,) * 3, spacing_mm=(9.0,) * 3)
        for item in phantom.findings:
            assert study.labels.get(item.name) == (1 if resolvable(item, 9.0) else None)
            seen += 1
    assert seen


def test_words_that_name_no_studies_are_refused() -> None:
    with pytest.raises(EvaluationError, match="not KIND:START:COUNT"):
        studies_of("phantom:many")


def test_planted_and_sham_differ_from_the_plain_scan_in_the_edit_alone(tmp_path: Path) -> None:
    session = Session(open_bundle(write_tiny_bundle(tmp_path / "bundle")), device="cpu", cache_bytes=0)
    study = toy_study(3)
    pairs = planted_scores(session, [study], findings=("Lung nodule", "Emphysema"), seeds=(0, 1))
    assert {pair.finding for pair in pairs} == {"Lung nodule"}  # the bundle gives no number for the other
    assert {pair.volume for pair in pairs} == {f"{study.study}:0", f"{study.study}:1"}
    for one, other in itertools.pairwise(pairs):
        assert one.unplanted == other.unplanted
    assert any(pair.planted != pair.unplanted for pair in pairs)
    assert any(pair.sham != pair.planted for pair in pairs)


def test_the_command_writes_pairs_and_a_description(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "bundle")
    study = toy_study(3)
    for name, array in (("ct", study.volume.hu), ("lungs", study.mask)):
        image = nib.Nifti1Image(np.asarray(array), study.volume.affine)
        image.set_qform(study.volume.affine, 1)
        image.set_sform(study.volume.affine, 1)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    record = {
        "image": "ct.nii.gz",
        "masks": "lungs.nii.gz",
        "patient": "p",
        "study": "s",
        "split": "test",
        "source": "t",
    }
    (tmp_path / "manifest.jsonl").write_text(json.dumps(record) + "\n")
    words = ["evaluate", "plant", tmp_path / "bundle", tmp_path / "manifest.jsonl", "--out", tmp_path / "out"]
    done = CliRunner().invoke(app, [*map(str, words), "--resamples", "10"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "A description of these patients" in done.output
    assert (tmp_path / "out" / "pairs.jsonl").read_text().count("\n") >= 1
