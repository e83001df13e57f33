"""Calibration on synthetic studies whose true probabilities are known, and its file as the product reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from napari_colipri.ct.open import open_volume
from napari_colipri.ct.volume import fingerprint_of
from napari_colipri.engine.calibration import Method, calibrated, read_calibration
from napari_colipri.engine.domain import domain_of
from napari_colipri.engine.types import Finding
from napari_colipri.errors import BundleError
from training.adapters.calibration import METHODS, calibrate, fit, write_calibration
from training.evaluation.scores import EvaluationError, Scores


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def studies(count: int, seed: int, *, temperature: float = 4.0, shift: float = 0.0, name: str = "s") -> Scores:
    """Scores whose logits are ``temperature`` times too far out and shifted."""
    rng = np.random.default_rng(seed)
    true = rng.normal(-1.0, 1.2, (count, 1))
    labels = (rng.random((count, 1)) < sigmoid(true)).astype(float)
    keys = tuple(f"{name}{i}" for i in range(count))
    return Scores(("Emphysema",), sigmoid(temperature * true + shift), labels, keys, keys)


def test_the_temperature_is_found() -> None:
    scores = studies(6000, 0)
    got = fit(scores.scores[:, 0], scores.labels[:, 0] > 0, scores.patient, "temperature")
    assert got.temperature == pytest.approx(4.0, rel=0.06)
    assert got.apply([0.5])[0] == 0.5


def test_a_shift_needs_more_than_a_temperature() -> None:
    scores = studies(6000, 1, temperature=2.0, shift=2.0)
    p, y = scores.scores[:, 0], scores.labels[:, 0] > 0
    assert fit(p, y, scores.patient).method != "temperature"
    logistic = fit(p, y, scores.patient, "logistic")
    assert logistic.slope == pytest.approx(0.5, rel=0.1)
    assert logistic.intercept == pytest.approx(-1.0, abs=0.1)


def test_isotonic_is_scikit_learns_and_rises() -> None:
    scores = studies(500, 2)
    p, y = scores.scores[:, 0], scores.labels[:, 0] > 0
    got = fit(p, y, scores.patient, "isotonic").apply(p)
    peer = IsotonicRegression(out_of_bounds="clip").fit(p, y).predict(p)
    np.testing.assert_allclose(got, np.clip(peer, 1 / 1000, 1 - 1 / 1000), atol=1e-6)
    assert (np.diff(got[np.argsort(p)]) >= 0).all()


@pytest.mark.parametrize("method", [*METHODS, None])
def test_calibrated_numbers_mean_what_they_say_on_other_studies(method: Method | None) -> None:
    fitting, judging = studies(3000, 3, name="f"), studies(3000, 4, name="j")
    made, figures, left_out = calibrate(
        fitting, judging, domain="phantom", name="2026 phantoms", method=method, resamples=50
    )
    assert left_out == {}
    (entry,) = made.entries
    assert entry.ece.value < 0.05 < np.mean(np.abs(judging.scores - sigmoid(-1.0 * np.ones(1))))
    assert entry.brier_skill.low > 0
    assert (entry.n, entry.fitted_on) == (3000, 3000)
    assert figures["Emphysema"].prevalence == entry.prevalence


def test_what_cannot_be_calibrated_is_left_out_with_the_reason() -> None:
    rng = np.random.default_rng(5)
    keys = tuple(f"f{i}" for i in range(400))
    noise = Scores(("A", "B"), rng.random((400, 2)), (rng.random((400, 2)) < [0.3, 0.01]).astype(float), keys, keys)
    other = Scores(noise.findings, rng.random((400, 2)), noise.labels[::-1], *[tuple(f"j{i}" for i in range(400))] * 2)
    made, _, left_out = calibrate(noise, other, domain="phantom", name="noise", method="isotonic", resamples=20)
    assert made.entries == ()
    assert "no skill over the prevalence" in left_out["A"]
    assert "10 positives" in left_out["B"]
    with pytest.raises(EvaluationError, match="400 patients"):
        calibrate(noise, noise, domain="phantom", name="noise")


def test_a_phantoms_calibration_is_never_shown_on_a_real_scan(tmp_path: Path) -> None:
    fitting, judging = studies(2000, 6, name="f"), studies(2000, 7, name="j")
    made, _, _ = calibrate(fitting, judging, domain="phantom", name="2026 phantoms", resamples=20)
    write_calibration([made], tmp_path / "calibration.json")
    held = read_calibration(tmp_path / "calibration.json")
    assert held == made
    items = (Finding("Emphysema", 0.9, (), ()), Finding("Lung nodule", 0.4, (), ()), Finding("x", None, (), ()))
    assert calibrated(items, held, "real") == items
    assert calibrated(items, None, "phantom") == items
    got = calibrated(items, held, "phantom")
    assert got[1:] == items[1:]
    said = got[0].calibration
    assert said is not None
    assert got[0].probability == pytest.approx(float(held.entries[0].apply(0.9)))
    assert said.keys() >= {"method", "set", "n", "prevalence", "domain", "ece"}
    assert (said["domain"], said["set"], said["uncalibrated"]) == ("phantom", "2026 phantoms", 0.9)


def test_the_shipped_phantoms_are_known_and_nothing_else_is() -> None:
    assert domain_of("0" * 32) == "real"
    studies = sorted((Path(__file__).parents[3] / "sample_data" / "studies").glob("*/ct.nii.gz"))
    assert studies
    for path in studies:
        volume = open_volume(path)
        assert domain_of(volume.fingerprint) == "phantom"
        shifted = volume.affine.copy()
        shifted[0, 3] += 1
        assert domain_of(fingerprint_of(volume.hu, shifted)) == "real"  # a phantom that somebody changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"domain": "moon"}, "domain"),
        ({"x": [0.5, 0.5], "y": [0.1, 0.2], "method": "isotonic"}, "must be equally long and rise"),
        ({"temperature": None}, "temperature is missing"),
        ({"ece": {"value": 1e400, "low": 0, "high": 0}}, "ece"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    entry: dict[str, object] = {
        "finding": "Emphysema",
        "method": "temperature",
        "temperature": 2.0,
        "fitted_on": 100,
        "n": 100,
        "prevalence": 0.1,
        "ece": {"value": 0.1, "low": 0.0, "high": 0.2},
        "brier_skill": {"value": 0.1, "low": 0.0, "high": 0.2},
    }
    values: dict[str, object] = {"format": 1, "domain": "phantom", "set": "x"}
    if "domain" in change:
        values |= change
    else:
        entry |= change
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(values | {"entries": [entry]}))
    with pytest.raises(BundleError, match=r"calibration\.json is wrong") as caught:
        read_calibration(path)
    assert said in caught.value.message
    path.write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        read_calibration(path)
