"""Opposite sentences: own findings are true, findings of others come from organs that are free, K bounds both."""

from __future__ import annotations

import numpy as np
import pytest

from napari_colipri.text.extract import sentence_mentions
from training.text.opposites import Pool, Statements, plain, statements

OWN = statements(
    "s1",
    "p1",
    "A nodule of 9 mm is seen in the left lung. Emphysema is seen. Consolidation is visible. Stable atelectasis. "
    "Possible bronchiectasis. No pleural effusion. No consolidation on the right, but an opacity is seen.",
)
OTHERS = (
    statements("s2", "p2", "The heart is enlarged. Pleural effusion is seen. Atelectasis is seen."),
    statements("s3", "p3", "A hiatal hernia is visible. Pericardial effusion is visible. Mosaic attenuation is seen."),
    statements("s4", "p1", "Cardiomegaly is present. A pacemaker is seen."),
)
POOL = Pool([OWN, *OTHERS])


def draw(study: Statements, count: int, seed: int) -> tuple[tuple[str, str, int], ...]:
    return POOL.pairs(study, count, np.random.default_rng(seed))


def test_only_plain_positive_sentences_are_used() -> None:
    assert {each.sentence for each in OWN.positive} == {
        "A nodule of 9 mm is seen in the left lung.",
        "Emphysema is seen.",
        "Consolidation is visible.",
    }
    assert OWN.organs == {"Lungs", "Airways"}  # a doubt, too, makes an organ not free


def test_no_prompt_of_a_test_is_trained_verbatim() -> None:
    report = (
        "There is a lung nodule. There is a 12 mm lung nodule. A lung nodule of 12 mm is seen. Cardiomegaly is present."
    )
    kept = statements("s", "p", report)
    assert [each.sentence for each in kept.positive] == ["A lung nodule of 12 mm is seen."]
    assert kept.organs == {"Lungs", "Heart"}
    assert len(statements("s", "p", report, held_out=()).positive) == 4
    own = statements("s", "p", report, held_out={plain("No lung nodule is seen.")})
    assert "A lung nodule of 12 mm is seen." not in {each.sentence for each in own.positive}


def test_labels_make_an_organ_not_free() -> None:
    silent = statements(
        "s", "p", "Emphysema is seen.", {"Cardiomegaly": 1.0, "Pleural effusion": 0.0, "Atelectasis": None}
    )
    assert silent.organs == {"Lungs", "Heart"}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_own_are_true_and_others_are_false(count: int, seed: int) -> None:
    pairs = draw(OWN, count, seed)
    own = [pair for pair in pairs if pair[2] == 1]
    others = [pair for pair in pairs if pair[2] == 0]
    assert len(own) == min(-(-count // 2), 3)
    assert len(others) <= count // 2
    assert {pair[0] for pair in own} <= {each.sentence for each in OWN.positive}
    foreign = {each.sentence for other in OTHERS[:2] for each in other.positive}
    assert {pair[0] for pair in others} <= foreign  # never the same patient's other study
    named = {mention.finding for pair in others for mention in sentence_mentions(pair[0])}
    assert not named & {"Atelectasis", "Mosaic attenuation pattern"}  # lungs are not free


def test_a_large_k_finds_every_sentence_of_the_free_organs() -> None:
    others = {said for said, _, label in draw(OWN, 40, 0) if label == 0}
    assert others == {
        "The heart is enlarged.",
        "Pleural effusion is seen.",
        "A hiatal hernia is visible.",
        "Pericardial effusion is visible.",
    }


def test_every_sentence_comes_with_its_opposite() -> None:
    for said, negated, _ in draw(OWN, 40, 1):
        first = {m.finding: m.polarity for m in sentence_mentions(said)}
        second = {m.finding: m.polarity for m in sentence_mentions(negated)}
        assert first == dict.fromkeys(first, "present")
        assert second == dict.fromkeys(first, "absent")


def test_the_same_state_gives_the_same_pairs() -> None:
    assert draw(OWN, 8, 3) == draw(OWN, 8, 3)
    assert len({draw(OWN, 2, seed) for seed in range(20)}) > 3


def test_a_study_without_words_gets_those_of_others_only() -> None:
    silent = statements("s9", "p9", "")
    assert {label for *_, label in draw(silent, 8, 0)} == {0}
    assert Pool([]).pairs(silent, 8, np.random.default_rng(0)) == ()
