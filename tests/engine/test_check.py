"""A wrong axis order is told from a right one, and random weights from both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine import Bundle, Encoding, Finding, Findings, HeatMap, check, open_bundle
from napari_colipri.engine.check import check_axis_order, read_labels, with_axis_order
from napari_colipri.engine.check_scores import auroc, auroc_p_values, macro_auroc, relation_p_values
from napari_colipri.engine.findings import questions
from napari_colipri.errors import BundleError
from tests.bundles import write_tiny_bundle
from tests.volumes import affine_for, chest, make_volume

COUNT = 8


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    for number in range(COUNT):
        shape = (60 + number, 44, 66)
        volume = make_volume(affine_for("RAS", (5, 5, 5), shape), shape, chest, dtype=np.int16)
        nib.save(nib.Nifti1Image(volume.hu, volume.affine), folder / f"study{number}.nii.gz")
    (folder / "README.md").write_text("not a study")
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    table = tmp_path / "labels.csv"
    rows = [f"study{number}.nii.gz,{number % 2},{int(number < 3)}," for number in range(COUNT)]
    table.write_text("study,Cardiomegaly,Pleural effusion,Lung nodule\n" + "\n".join(rows) + "\n")
    return table


def test_random_weights_are_inconclusive_by_anatomy(bundle: Bundle, studies: Path) -> None:
    report = check_axis_order(bundle, studies, device="cpu")
    assert report.answer == "inconclusive"
    assert report.method == "anatomy"
    assert report.studies == COUNT
    assert "inconclusive" in report.sentence().lower()
    json.dumps(report.to_json(), allow_nan=False)


def test_random_weights_are_inconclusive_by_labels(bundle: Bundle, studies: Path, labels: Path) -> None:
    report = check_axis_order(bundle, studies, labels, device="cpu")
    assert report.answer == "inconclusive"
    assert report.method == "labels"
    assert set(report.scores) == {"RAS", "SAR"}


_PLACES = {
    "right lung": (80, 0, 20),
    "left lung": (-80, 0, 20),
    "lung": (0, 0, 20),
    "liver": (70, 10, -120),
    "heart": (-25, 25, -20),
    "spine": (0, -75, 0),
    "sternum": (0, 90, 0),
    "trachea": (0, 0, 90),
}


@dataclass
class _Trained:
    """Answers as a model would whose weights were trained in RAS: true in RAS, mirrored nonsense in SAR."""

    bundle: Bundle

    def __init__(self, bundle: Bundle, **_: Any) -> None:
        self.bundle = bundle
        self.right = bundle.config.input.axis_order == "RAS"

    def encode(self, volume: CTVolume, **_: Any) -> Encoding:
        pooled = np.array([volume.hu.shape[0] - 60], np.float32)
        return Encoding(
            np.zeros((1, 1, 1, 1), np.float16), pooled, np.eye(4), np.ones((1, 1, 1), np.bool_), "", "", "", ""
        )

    def localise(self, _encoding: Encoding, text: str) -> HeatMap:
        place = np.array(_PLACES[text], np.float64)
        affine = np.diag([20.0, 20.0, 20.0, 1.0])
        affine[:3, 3] = -150
        grid = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"), axis=-1) * 20.0 - 150
        values = -np.linalg.norm(grid - (place if self.right else place[::-1]), axis=-1)
        return HeatMap(values.astype(np.float32), affine, (0, 0, 0), 0.0, text, "")

    def findings(self, encoding: Encoding, _prompts: Sequence[str] = ()) -> Findings:
        number = int(encoding.pooled[0])
        noise = float(np.random.default_rng(number).random())
        truth = {"Cardiomegaly": number % 2, "Pleural effusion": int(number < 3)}
        values = {name: 0.8 * known + 0.1 * noise if self.right else noise for name, known in truth.items()}
        asked = [question.name for question in questions(self.bundle.config)]
        return Findings("", "", tuple(Finding(name, values.get(name, noise), (), ()) for name in asked))

    def unload(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize("by", ["anatomy", "labels"])
@pytest.mark.parametrize(("configured", "answer"), [("RAS", "right"), ("SAR", "wrong")])
def test_a_model_that_was_trained_in_one_order_is_told(
    bundle: Bundle, studies: Path, labels: Path, monkeypatch: pytest.MonkeyPatch, configured: str, answer: str, by: str
) -> None:
    monkeypatch.setattr(check, "Session", _Trained)
    report = check_axis_order(with_axis_order(bundle, configured), studies, labels if by == "labels" else None)
    assert report.answer == answer
    assert report.axis_order == configured
    assert report.p_value < 0.05
    assert (report.scores["RAS"] or 0) > (report.scores["SAR"] or 0)


def test_few_studies_never_decide(
    bundle: Bundle, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "Session", _Trained)
    for number in range(3):
        shutil.copy(studies / f"study{number}.nii.gz", tmp_path)
    assert check_axis_order(bundle, tmp_path).answer == "inconclusive"


def test_studies_that_cannot_be_used_are_counted_and_not_named(
    bundle: Bundle, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "Session", _Trained)
    shutil.copy(studies / "study0.nii.gz", tmp_path)
    (tmp_path / "John-Doe.nii.gz").write_bytes(b"nothing")
    report = check_axis_order(bundle, tmp_path)
    assert report.studies == 1
    assert len(report.skipped) == 1
    assert "John" not in report.skipped[0]


def test_no_study_at_all_is_an_error(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="None of the studies"):
        check_axis_order(bundle, tmp_path)
    with pytest.raises(BundleError, match="does not exist"):
        check_axis_order(bundle, tmp_path / "nowhere")


def test_the_other_order_is_another_bundle_with_the_same_files(bundle: Bundle) -> None:
    other = with_axis_order(bundle, "SAR")
    assert other.input_spec.axis_order == "SAR"
    assert other.path == bundle.path
    assert other.hash != bundle.hash


@pytest.mark.parametrize("text", ["name,A\nx,1\n", "study,A\nx,2\n", "study,A\nx,yes\n", "study,A\nx,1,1\n"])
def test_labels_are_read_strictly(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(BundleError) as caught:
        read_labels(tmp_path / "labels.csv")
    assert caught.value.code == "bad_labels"


def test_an_empty_cell_is_unknown(labels: Path) -> None:
    assert read_labels(labels)["study1.nii.gz"] == {"Cardiomegaly": 1.0, "Pleural effusion": 1.0}


def test_auroc_counts_ties_half() -> None:
    assert auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True])) == 0.875
    assert np.isnan(auroc(np.array([0.1, 0.2]), np.array([True, True])))


def test_macro_auroc_leaves_out_what_cannot_be_scored() -> None:
    scores = np.array([[0.1, 0.5, np.nan], [0.9, 0.5, np.nan]])
    truth = np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    assert macro_auroc(scores, truth) == 1.0


def test_random_scores_seldom_decide() -> None:
    random = np.random.default_rng(1)
    decided = 0
    for _ in range(20):
        labels = (random.random((12, 6)) > 0.5).astype(np.float64)
        best, second = random.random((2, 12, 6))
        decided += max(auroc_p_values(best, second, labels, resamples=100)) < 0.05
    assert decided <= 2


def test_a_random_network_that_answers_alike_for_every_study_does_not_decide() -> None:
    shown = np.tile([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0], (20, 1))  # 7 of 9, always the same
    assert max(relation_p_values(shown, 1 - shown)) > 0.05
