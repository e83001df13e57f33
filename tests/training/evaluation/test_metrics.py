"""Metrics agree with scikit-learn and with cases worked out by hand; intervals cover what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from training.evaluation.bootstrap import bootstrap, patient_weights
from training.evaluation.classification import RAD_CHESTCT_CLASSES, classify, thresholds_of, to_rad_chestct
from training.evaluation.planted import Planted, paired_differences
from training.evaluation.ranking import auroc, average_precision, balanced_accuracy, best_threshold, f1, roc_curve
from training.evaluation.reliability import adaptive_ece, brier_skill, reliability
from training.evaluation.scores import EvaluationError, Scores, read_scores, rows_of, write_scores
from training.evaluation.tables import classification_table, planted_table

RNG = np.random.default_rng(0)


def case(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.random(n) < 0.3
    scores = np.round(RNG.normal(labels * 0.8, 1.0), 1)  # rounded: ties
    return scores, labels


@pytest.mark.parametrize("seed", range(5))
def test_weighted_metrics_are_scikit_learns(seed: int) -> None:
    scores, labels = case()
    weights = patient_weights([str(i) for i in range(80)], 7, seed)
    peers = (roc_auc_score, average_precision_score)
    for ours, peer in zip((auroc, average_precision), peers, strict=True):
        theirs = [peer(labels, scores, sample_weight=w) for w in weights]
        np.testing.assert_allclose(ours(scores, labels, weights), theirs, atol=1e-12)
    for ours, peer in ((f1, f1_score), (balanced_accuracy, balanced_accuracy_score)):
        theirs = [peer(labels, scores >= 0.4, sample_weight=w) for w in weights]
        np.testing.assert_allclose(ours(scores, labels, weights, 0.4), theirs, atol=1e-12)


def test_a_draw_equals_the_metric_of_the_repeated_studies() -> None:
    scores, labels = case()
    weights = patient_weights([str(i // 2) for i in range(80)], 3)
    assert (weights[:, ::2] == weights[:, 1::2]).all()  # both studies of a patient come along
    for w in weights:
        again = np.repeat(np.arange(80), w.astype(int))
        assert auroc(scores, labels, w[None])[0] == pytest.approx(roc_auc_score(labels[again], scores[again]))


def test_what_is_not_defined_is_no_number() -> None:
    one = np.ones((1, 4))
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    for labels in (np.zeros(4, bool), np.ones(4, bool)):
        assert np.isnan(auroc(scores, labels, one)[0])
        assert np.isnan(balanced_accuracy(scores, labels, one, 0.2)[0])
    assert np.isnan(average_precision(scores, np.zeros(4, bool), one)[0])
    assert np.isnan(f1(scores, np.zeros(4, bool), one, 0.2)[0])


def test_the_best_threshold_is_the_best_of_all() -> None:
    for _ in range(20):
        scores, labels = case(30)
        if labels.any():
            got = f1_score(labels, scores >= best_threshold(scores, labels))
            assert got == max(f1_score(labels, scores >= t) for t in scores)
    assert best_threshold(np.array([1.0, 2.0]), np.zeros(2, bool)) == np.inf
    assert best_threshold(np.array([1.0, 2.0, 4.0]), np.array([False, False, True])) == 3.0


def test_the_roc_curve_runs_from_corner_to_corner_and_holds_the_area() -> None:
    scores, labels = case()
    false, true = roc_curve(scores, labels)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(roc_auc_score(labels, scores))


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(1.0, 2.0, 60)
        (got,) = bootstrap(lambda w, v=values: w @ v / w.sum(1), [str(i) for i in range(60)], resamples=200, seed=seed)
        covered += got.low <= 1.0 <= got.high
    assert 180 <= covered <= 200


def test_studies_of_one_patient_widen_the_interval() -> None:
    values = np.repeat(RNG.normal(size=20), 10)

    def mean(weights: np.ndarray) -> np.ndarray:
        return weights @ values / weights.sum(1)

    (apart,) = bootstrap(mean, [str(i) for i in range(200)])
    (together,) = bootstrap(mean, [str(i // 10) for i in range(200)])
    assert together.value == apart.value
    assert together.high - together.low > 2 * (apart.high - apart.low)


def table() -> Scores:
    labels = (RNG.random((120, 3)) < 0.4).astype(float)
    scores = 1 / (1 + np.exp(-RNG.normal(2 * labels - 1, 1)))
    labels[:5, 0] = np.nan
    scores[:, 2] = np.nan
    keys = tuple(f"s{i}" for i in range(120))
    return Scores(("Cardiomegaly", "Lung nodule", "Consolidation"), scores, labels, keys, keys)


def test_a_table_of_findings_counts_what_is_known_and_names_what_is_silent() -> None:
    scores = table()
    thresholds = thresholds_of(scores)
    got = classify(scores, thresholds, resamples=50)
    assert [row.finding for row in got.rows] == ["Cardiomegaly", "Lung nodule"]
    assert got.rows[0].studies == 115
    assert got.silent == ("Consolidation",)
    known = np.isfinite(scores.labels[:, 0])
    peer = roc_auc_score(scores.labels[known, 0], scores.scores[known, 0])
    assert got.rows[0].metrics["auroc"].value == pytest.approx(peer)
    mean = np.mean([row.metrics["f1"].value for row in got.rows])
    assert got.macro["f1"].value == pytest.approx(mean)
    text = classification_table(got)
    assert "| **macro** |" in text
    assert "No number from this model for: Consolidation." in text


def test_rad_chestct_has_sixteen_classes_and_the_higher_calcification() -> None:
    scores = rows_of(
        [
            ("a", "a", {"Arterial wall calcification": 0.2, "Coronary artery wall calcification": 0.7}, {}),
            ("b", "b", {"Arterial wall calcification": 0.4}, {"Arterial wall calcification": 1}),
            ("c", "c", {"Mosaic attenuation pattern": 0.9}, {"Calcification": 0, "Mosaic attenuation pattern": 1}),
        ]
    )
    got = to_rad_chestct(scores)
    assert len(RAD_CHESTCT_CLASSES) == 16
    place = got.findings.index("Calcification")
    assert got.scores[:2, place].tolist() == [0.7, 0.4]
    assert np.isnan(got.scores[2, place])
    assert got.labels[1:, place].tolist() == [1, 0]
    assert "Mosaic attenuation pattern" not in got.findings


def test_scores_survive_their_file(tmp_path: Path) -> None:
    scores = table()
    write_scores(scores, tmp_path / "scores.jsonl")
    again = read_scores(tmp_path / "scores.jsonl")
    np.testing.assert_array_equal(again.select(scores.findings[:2]).scores, scores.scores[:, :2])
    np.testing.assert_array_equal(again.select(scores.findings).labels, scores.labels)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 is not JSON"),
        ('{"study": "b"}', "line 2: 'patient' is missing"),
        ('{"study": "a", "patient": "a"}', "line 2: this study stands at line 1 already"),
        ('{"study": "b", "patient": "b", "labels": {"x": 2}}', "line 2, labels: 'x' is 2, not 0, 1 or null"),
        ('{"study": "b", "patient": "b", "scores": {"x": "high"}}', "line 2, scores: 'x' is 'high'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text('{"study": "a", "patient": "a", "scores": {"x": 0.5}}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"scores\.jsonl") as caught:
        read_scores(path)
    assert said in caught.value.message


def test_calibration_error_by_hand() -> None:
    p = np.array([0.1, 0.1, 0.9, 0.9])
    y = np.array([False, True, True, True])
    one = np.ones((1, 4))
    assert adaptive_ece(p, y, one, bins=2)[0] == pytest.approx((0.4 * 2 + 0.1 * 2) / 4)
    assert brier_skill(p, y, one)[0] == pytest.approx(1 - np.mean((p - y) ** 2) / (0.75 * 0.25))


def test_true_probabilities_are_reliable_and_shifted_ones_are_not() -> None:
    p = RNG.random(4000)
    y = RNG.random(4000) < p
    keys = [str(i) for i in range(4000)]
    good, bad = reliability(p, y, keys, resamples=100), reliability(np.sqrt(p), y, keys, resamples=100)
    assert good.ece.value < 0.03 < 0.1 < bad.ece.low
    assert good.brier_skill.low > bad.brier_skill.high
    assert sum(count for _, _, count in good.curve) == 4000


def test_always_saying_the_prevalence_has_no_skill_and_no_error() -> None:
    y = np.arange(1000) % 50 == 0  # a rare finding: plain bins would hide everything in the lowest
    got = reliability(np.full(1000, 0.02), y, [str(i) for i in range(1000)], resamples=20)
    assert got.brier_skill.value == pytest.approx(0.0)
    assert got.ece.value == pytest.approx(0.0)


def test_paired_differences_see_the_finding_and_not_the_edit() -> None:
    pairs = [
        Planted(f"p{i // 3}", f"v{i}", "Lung nodule", 0.2 + 0.01 * i, 0.6 + 0.01 * i, 0.25 + 0.01 * i) for i in range(9)
    ]
    (row,) = paired_differences(pairs, resamples=50)
    assert (row.pairs, row.patients) == (9, 3)
    assert row.planted.value == pytest.approx(0.4)
    assert row.sham.value == pytest.approx(0.05)
    assert row.over_sham.low == pytest.approx(0.35)
    assert row.ranked.value == 1
    assert "A description" in planted_table([row])
