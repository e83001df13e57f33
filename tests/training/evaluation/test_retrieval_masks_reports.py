"""Retrieval beside chance and oracle, masks against MONAI and by hand, reports by what they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_colipri.text.side_and_size import sizes_mm
from training.evaluation.facts import Fact, fact_key, facts_from_json, without_sizes
from training.evaluation.masks import compare_case, mask_table
from training.evaluation.reports import ReportPair, Said, evaluate_reports, facts_said, read_reports
from training.evaluation.retrieval import distinct_items, expected_hits, label_overlap, retrieve
from training.evaluation.scores import EvaluationError
from training.evaluation.tables import mask_markdown, report_table, retrieval_table

RNG = np.random.default_rng(1)


def test_the_same_facts_are_the_same_item() -> None:
    small, large = Fact("Lung nodule", "left", 8.2), Fact("Lung nodule", "left", 21.0)
    assert fact_key([small]) != fact_key([large])
    assert fact_key([small], sizes=False) == fact_key([large], sizes=False)
    assert fact_key([small]) == fact_key([Fact("Lung nodule", "left", 8.4)])
    assert distinct_items([fact_key([small]), fact_key([]), fact_key([small]), fact_key([])]).tolist() == [0, 1]
    assert facts_from_json([{"name": "Emphysema", "side": "both", "size_mm": None}]) == (Fact("Emphysema", "both"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("There is a nodule of 12 mm in the left lung.", "There is a nodule in the left lung."),
        ("Nodule (measuring 1.2 x 0.8 cm).", "Nodule."),
        ("Effusion, up to 20 mm deep. Heart normal.", "Effusion, deep. Heart normal."),
        ("No size at all.", "No size at all."),
    ],
)
def test_sizes_leave_a_report_without_a_trace(text: str, said: str) -> None:
    assert without_sizes(text) == said
    assert sizes_mm(without_sizes(text)) == ()


def test_facts_are_read_from_a_report() -> None:
    report = "There is a nodule of 12 mm in the left upper lobe. No pleural effusion. The heart is enlarged."
    assert set(facts_said(report)) == {Fact("Lung nodule", "left", 12.0), Fact("Cardiomegaly")}


def test_ties_are_the_expectation_over_random_orders() -> None:
    flat = np.zeros((20, 20))
    np.testing.assert_allclose(expected_hits(flat, (1, 5)), [[1 / 20, 5 / 20]] * 20)
    worst = 1 - np.eye(20)
    assert expected_hits(worst, (10,)).max() == 0
    assert expected_hits(np.eye(20), (1,)).min() == 1


def test_overlap_is_the_jaccard_index() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    got = label_overlap(labels)
    assert got[0, 1] == 0.5
    assert got[0, 2] == 0
    assert got[2, 3] == 1


def test_perfect_and_random_embeddings_beside_chance_and_oracle() -> None:
    n = 100
    labels = RNG.random((n, 6)) < 0.3
    keys = [tuple(row) for row in labels.tolist()]
    patients = [str(i) for i in range(n)]
    image = RNG.normal(size=(n, 16))
    perfect = retrieve(image, image, keys, labels, patients, cuts=(1, 10), resamples=20)
    assert perfect.items == len(set(keys))
    assert perfect.dropped == n - perfect.items
    assert perfect.image_to_report[1].value == perfect.report_to_image[1].value == 1
    assert perfect.oracle[1] == 1.0  # label sets that all differ: the oracle knows each
    assert perfect.resolved[1][0] == perfect.items
    noise = retrieve(image, RNG.normal(size=(n, 16)), keys, labels, patients, cuts=(1, 10), resamples=20)
    assert abs(noise.image_to_report[10].value - noise.chance[10]) < 0.2
    assert "| chance |" in retrieval_table(noise)


def test_the_oracle_is_uncertain_where_only_sizes_differ() -> None:
    labels = np.zeros((12, 2), bool)
    labels[:, 0] = True
    got = retrieve(RNG.normal(size=(12, 4)), RNG.normal(size=(12, 4)), range(12), labels, [str(i) for i in range(12)])
    assert got.oracle[1] == pytest.approx(1 / 12)
    assert got.resolved[10][0] == 0
    assert np.isnan(got.resolved[10][1].value)
    assert got.oracle[50] == got.chance[50] == 1


def test_dice_and_surface_distance_of_shifted_boxes() -> None:
    reference = np.zeros((20, 20, 20), np.uint8)
    reference[5:15, 5:15, 5:15] = 1
    predicted = np.roll(reference, 2, axis=0)
    predicted[0, 0, 0] = 2
    names = {"heart": 1, "liver": 2}
    got = compare_case(predicted, reference, names, (1.0, 2.0, 2.0), case="a", patient="p", tolerance_mm=2.0)
    assert got.dice["heart"] == pytest.approx(0.8)
    assert got.nsd["heart"] == pytest.approx(1.0)  # two voxels of 1 mm lie within 2 mm
    tight = compare_case(predicted, reference, names, (1.0, 2.0, 2.0), case="b", patient="q", tolerance_mm=0.5)
    assert tight.nsd["heart"] < 0.8
    assert np.isnan(got.dice["liver"])
    assert got.invented_ml["liver"] == pytest.approx(0.004)
    table = mask_table([got, tight], tolerance_mm=2.0, resamples=20)
    assert table.classes["heart"][0] == 2
    assert table.classes["liver"][0] == 0
    assert table.macro[0].value == pytest.approx(0.8)
    assert "liver 0.0 ml (n = 2)" in mask_markdown(table)


def test_unknown_voxels_count_for_nobody_and_a_missed_class_is_zero() -> None:
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[:4] = 1
    reference[4:] = 255
    same = np.ones((8, 8, 8), np.uint8)
    assert compare_case(same, reference, {"heart": 1}, (1, 1, 1), case="a", patient="a").dice["heart"] == 1
    none = compare_case(np.zeros_like(same), reference, {"heart": 1}, (1, 1, 1), case="a", patient="a")
    assert (none.dice["heart"], none.nsd["heart"]) == (0, 0)
    with pytest.raises(ValueError, match="different grids"):
        compare_case(same[:4], reference, {"heart": 1}, (1, 1, 1), case="a", patient="a")


WORDS = {"heart": "Cardiomegaly", "nodule": "Lung nodule"}


def read(report: str) -> dict[str, Said]:
    """A reader of tiny reports: 'nodule left 8'."""
    out = {}
    for sentence in report.lower().split("."):
        for word, name in WORDS.items():
            if word in sentence and "no " not in sentence:
                sides = frozenset(side for side in ("left", "right") if side in sentence)
                out[name] = Said(sides, tuple(float(w) for w in sentence.split() if w.isdigit()))
    return out


def test_reports_are_scored_by_findings_sides_sizes_and_comparisons() -> None:
    nodule = (Fact("Lung nodule", "left", 8.0),)
    pairs = [
        ReportPair("a", "a", "Nodule left 9.", "Nodule left 8.", nodule),
        ReportPair("b", "b", "Nodule right 30. Heart enlarged.", "Nodule left 8.", nodule),
        ReportPair("c", "c", "No nodule. Unchanged from prior.", "Heart enlarged.", None),
    ]
    got = evaluate_reports(pairs, read, ("Cardiomegaly", "Lung nodule"), resamples=20)
    assert got.findings["Lung nodule"][:2] == (2, 2)
    assert got.findings["Lung nodule"][2].value == 1
    assert got.findings["Cardiomegaly"][2].value == 0
    assert got.macro.value == 0.5
    assert got.micro.value == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert (got.sided, got.wrong_side) == (2, 1)
    assert (got.sized, got.wrong_size) == (2, 1)
    assert (got.sentences, got.comparing) == (5, 1)
    assert "| wrong side | 1 of 2 (50.0 %) |" in report_table(got)


def test_a_copy_has_full_marks_in_words() -> None:
    pairs = [
        ReportPair("a", "a", text, text) for text in ("The heart is enlarged and round.", "There is a nodule here.")
    ]
    got = evaluate_reports(pairs, read, ("Cardiomegaly",), resamples=20)
    assert got.bleu == pytest.approx(100)
    assert got.rouge_l.value == 1
    assert got.macro.value == 1


def test_a_wrong_report_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_text('{"study": "a", "patient": "a", "generated": "x", "reference": "y", "facts": [{"side": "left"}]}\n')
    with pytest.raises(EvaluationError, match=r"reports.jsonl line 1: a fact without a finding"):
        read_reports(path)
