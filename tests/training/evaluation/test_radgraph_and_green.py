"""RadGraph F1 by hand, and answers of a judge: what is read, what is refused, what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.evaluation.green import PROMPT, Judgement, fill_prompt, green_table, parse_answer, read_prompt
from training.evaluation.local_models import LocalModel
from training.evaluation.radgraph import Entity, graph_table, read_graphs, reward
from training.evaluation.reports import ReportPair
from training.evaluation.scores import EvaluationError
from training.evaluation.tables import graph_markdown, green_markdown

SEEN, ABSENT, PLACE = "Observation::definitely present", "Observation::definitely absent", "Anatomy::definitely present"
PAIRS = [ReportPair(study, study, "generated", "reference") for study in ("s1", "s2")]
JUDGE = LocalModel(Path("judge"), "0" * 64)


def annotated(*entities: tuple[Any, ...]) -> dict[str, Any]:
    """An annotation as the tool writes it: (tokens, label, relation and key …)."""
    rows = {
        str(n): {
            "tokens": tokens,
            "label": label,
            "start_ix": n,
            "end_ix": n,
            "relations": [list(r) for r in relations],
        }
        for n, (tokens, label, *relations) in enumerate(entities, start=1)
    }
    return {"text": "", "entities": rows, "data_source": None, "data_split": "inference"}


GENERATED = annotated(("effusion", SEEN, ("located_at", "2")), ("left", PLACE), ("cardiomegaly", ABSENT))
REFERENCE = annotated(
    ("Effusion", SEEN), ("effusion", SEEN, ("located_at", "3")), ("right", PLACE), ("cardiomegaly", ABSENT)
)


def write(path: Path, values: object) -> Path:
    path.write_text(json.dumps(values))
    return path


def graphs(tmp_path: Path, values: object, studies: tuple[str, ...] = ("s1", "s2")) -> Any:
    return read_graphs(write(tmp_path / "made.json", values), studies)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # {effusion, left, cardiomegaly} and {Effusion, effusion, right, cardiomegaly} share two
        ("simple", (4 / 7, 2 / 3, 2 / 4)),
        # both effusions have a relation: they still agree
        ("partial", (4 / 7, 2 / 3, 2 / 4)),
        # (effusion, located_at, left) is not (effusion, located_at, right)
        ("complete", (2 / 7, 1 / 3, 1 / 4)),
    ],
)
def test_the_three_rewards_by_hand(tmp_path: Path, kind: str, expected: tuple[float, float, float]) -> None:
    ours, theirs = graphs(tmp_path, {"s1": GENERATED, "s2": REFERENCE})
    assert reward(ours, theirs, kind) == pytest.approx(expected)


def test_a_relation_on_one_side_only_matters_from_partial_on() -> None:
    bare = {"1": Entity("nodule", SEEN), "2": Entity("lobe", PLACE)}
    related = {"1": Entity("nodule", SEEN, (("located_at", "2"),)), "2": Entity("lobe", PLACE)}
    assert [reward(bare, related, kind)[0] for kind in ("simple", "partial", "complete")] == [1.0, 0.5, 0.5]


def test_words_repeated_count_once_and_nothing_scores_nothing() -> None:
    once = {"1": Entity("nodule", SEEN)}
    assert reward({**once, "2": Entity("nodule", SEEN)}, once, "simple") == (1.0, 1.0, 1.0)
    assert reward({}, {}, "simple") == reward({}, once, "complete") == (0.0, 0.0, 0.0)


def test_a_table_of_annotations_names_its_files(tmp_path: Path) -> None:
    made = write(tmp_path / "made.json", {"s2": annotated(), "s1": GENERATED})  # any order
    true = write(tmp_path / "true.json", {"0": REFERENCE, "1": REFERENCE})  # as the tool numbers a list
    table = graph_table(PAIRS, made, true, resamples=20)
    assert table.rewards["simple"][0].value == pytest.approx((4 / 7 + 0) / 2)
    assert table.rewards["complete"][2].value == pytest.approx((1 / 4 + 0) / 2)
    assert table.empty == 1
    assert table.to_json()["files"]["generated"]["name"] == "made.json"
    assert table.files[0][1][:12] in graph_markdown(table)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"s1": GENERATED}, "no annotation of study s2"),
        ({"s1": GENERATED, "s2": GENERATED, "s9": GENERATED}, "annotates study s9"),
        ({"s1": GENERATED, "s2": {"text": ""}}, "study s2: has no object of entities"),
        ({"s1": GENERATED, "s2": annotated(("a", SEEN, ("located_at", "7")))}, "study s2: entity 1 has a relation"),
        ({"s1": GENERATED, "s2": {"entities": {"1": {"tokens": "a"}}}}, "study s2: entity 1 needs"),
        ([GENERATED], "not a JSON object"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, values: object, said: str) -> None:
    with pytest.raises(EvaluationError, match=rf"made\.json.*{said}"):
        graphs(tmp_path, values)


def test_a_study_with_two_reports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="Study s1 has two reports"):
        graphs(tmp_path, {"s1": GENERATED}, ("s1", "s1"))


ANSWER = """\
[Explanation]:
The candidate misses an effusion [Matched below].

[Clinically Significant Errors]:
(a) False report of a finding in the candidate: 1. A nodule of 2.5 cm
(b) Missing a finding present in the reference: 2. Effusion; cardiomegaly
(f) Omitting a comparison detailing a change from a prior study: 0.

[Clinically Insignificant Errors]:
(a) False report of a finding in the candidate: 7. Words

[Matched Findings]:
3. Emphysema; atelectasis; consolidation
"""
NO_ERRORS = "[Clinically Significant Errors]:\nNo errors.\n\n[Matched Findings]:\n2. a; b"


def test_counts_of_an_answer_and_their_score() -> None:
    judged = parse_answer(ANSWER)
    assert judged == Judgement(3, (1, 2, 0, 0, 0, 0))
    assert judged is not None
    assert judged.score == 3 / 6
    assert parse_answer(ANSWER.replace("(a)", "(1)").replace("(b)", "(2)").replace("(f)", "(6)")) == judged
    assert parse_answer(NO_ERRORS) == Judgement(2, (0,) * 6)
    nothing = parse_answer(NO_ERRORS.replace("2. a; b", "No matched findings."))
    assert nothing is not None
    assert (nothing.matched, nothing.score) == (0, 0.0)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The reports agree.",
        ANSWER.partition("[Matched Findings]")[0],
        ANSWER.replace("[Clinically Significant Errors]", "[Errors]"),
        ANSWER.replace("candidate: 1. A", "candidate: <count>. A"),
        ANSWER.replace("candidate: 1. A", "candidate: 1.5 A"),
        ANSWER.replace("(b) Missing", "(a) Missing"),
        ANSWER.replace("3. Emphysema", "Emphysema"),
        "[Clinically Significant Errors]:\n[Clinically Insignificant Errors]:\n(a) x: 1.\n[Matched Findings]:\n1. y",
        PROMPT,
    ],
)
def test_an_answer_in_another_form_is_not_read(answer: str) -> None:
    assert parse_answer(answer) is None


def test_what_has_no_score_is_counted_and_changes_no_mean() -> None:
    pairs = [ReportPair(str(n), str(n), "x", "y") for n in range(4)]
    table = green_table(pairs, [ANSWER, NO_ERRORS, "Fine.", None], JUDGE, resamples=20)
    assert table.score.value == pytest.approx((0.5 + 1.0) / 2)
    assert table.errors["finding left out"].value == 1.0
    assert (table.reports, table.unparsable, table.too_long) == (4, 1, 1)
    assert "Without a score: 2 of 4 reports" in green_markdown(table)
    none = green_table(pairs[:1], ["Fine."], JUDGE, resamples=5)
    assert np.isnan(none.score.value)
    assert "| GREEN | – |" in green_markdown(none)


def test_a_question_takes_both_reports_whatever_they_say(tmp_path: Path) -> None:
    words = fill_prompt(PROMPT, "Heart {candidate}.", "Lungs \\1 {reference}.")
    assert "Reference report:\nHeart {candidate}.\n" in words
    assert "Candidate report:\nLungs \\1 {reference}.\n" in words
    path = tmp_path / "question.txt"
    path.write_text("R {reference} C {candidate}")
    assert fill_prompt(read_prompt(path), "a", "b") == "R a C b"
    path.write_text("R {reference}")
    with pytest.raises(EvaluationError, match=r"question\.txt needs"):
        read_prompt(path)
