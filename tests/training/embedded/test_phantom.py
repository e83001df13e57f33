"""Phantoms: the same seed gives the same patient, truth and report agree, sides are the patient's."""

from __future__ import annotations

import numpy as np
import pytest

from training.embedded.phantom import Grid, make_phantom
from training.embedded.phantom.anatomy import CLASSES
from training.embedded.phantom.findings import PLANTED
from training.embedded.phantom.report import (
    absent_sentences,
    check_disjoint,
    present_sentences,
    prompts,
    report_of,
    vocabulary,
)
from training.embedded.text import encode, make_tokenizer

COARSE = Grid((48, 48, 48), (7.5, 7.5, 7.5))


def centre(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of mass in RAS mm."""
    index = np.append(np.mean(np.argwhere(mask), axis=0), 1.0)
    return np.asarray((affine @ index)[:3])


def test_a_seed_is_a_patient() -> None:
    first, second, other = make_phantom(5), make_phantom(5), make_phantom(6)
    assert np.array_equal(first.hu, second.hu)
    assert np.array_equal(first.truth, second.truth)
    assert first.findings == second.findings
    assert not np.array_equal(first.hu, other.hu)


def test_organs_lie_on_their_side_of_the_patient() -> None:
    phantom = make_phantom(3, grid=COARSE, wanted=frozenset(), quiet=True)
    at = {name: centre(phantom.labels == k, phantom.affine) for k, name in enumerate(CLASSES) if k}
    assert at["lung_right"][0] > 40  # RAS: x grows to the patient's right
    assert at["lung_left"][0] < -40
    assert at["liver"][0] > 0
    assert at["heart"][0] < 0
    assert at["liver"][2] < at["heart"][2] < at["trachea"][2]
    assert at["aorta"][1] < at["heart"][1] + 20


def test_tissue_has_its_hounsfield_units() -> None:
    phantom = make_phantom(3, grid=COARSE, wanted=frozenset(), quiet=True)
    mean = {name: float(phantom.hu[phantom.labels == k].mean()) for k, name in enumerate(CLASSES) if k}
    assert -930 < mean["lung_left"] < -700
    assert 20 < mean["liver"] < 180
    assert mean["bones"] > 130
    assert mean["trachea"] < -700


@pytest.mark.parametrize("name", PLANTED)
def test_each_finding_is_planted_where_its_truth_says(name: str) -> None:
    bit = PLANTED.index(name)
    for seed in range(100, 104):
        with_it = make_phantom(seed, grid=COARSE, wanted=frozenset({name}))
        if with_it.findings:
            break
    assert [item.name for item in with_it.findings] == [name]
    assert with_it.findings[0].size_mm > 3
    assert ((with_it.truth >> bit) & 1).any()
    assert not (with_it.truth & ~np.uint16(1 << bit)).any()


def test_the_report_speaks_of_what_is_there() -> None:
    phantom = make_phantom(1, wanted=frozenset({"Pleural effusion"}))
    side = phantom.findings[0].side
    texts = [report_of(phantom, np.random.default_rng(n)) for n in range(12)]
    detailed = [text for text in texts if "leural effusion" in text or "pleural" in text]
    assert detailed
    wrong = {"left": "Right pleural", "right": "Left pleural", "both": "Right pleural"}[str(side)]
    assert not any(wrong in text for text in texts)


def test_no_prompt_of_the_bundle_stands_in_training_text() -> None:
    check_disjoint()
    for name in PLANTED:
        assert not set(present_sentences(name)) & set(absent_sentences(name))


def test_every_word_of_every_sentence_is_known() -> None:
    tokenizer = make_tokenizer(vocabulary())
    unknown = vocabulary().index("[UNK]")
    lines = [line for name in PLANTED for side in prompts(name) for line in side]
    lines += [line for name in PLANTED for line in present_sentences(name) + absent_sentences(name)]
    lines += [report_of(make_phantom(seed, grid=COARSE), np.random.default_rng(seed)) for seed in range(6)]
    ids, _ = encode(tokenizer, lines, 256)
    assert not (ids == unknown).any()
