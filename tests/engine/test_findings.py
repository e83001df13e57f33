"""Probabilities follow the contract's formula, and no number stands where a model knows nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_colipri.engine import Bundle, open_bundle
from napari_colipri.engine.findings import UNRESOLVED, UNTRAINED, Question, answer, ensemble, probability, questions
from napari_colipri.engine.text import UNKNOWN_WORDS, question_for
from napari_colipri.engine.tokenizer import TextTokenizer, load_tokenizer
from napari_colipri.text.findings import FINDING_NAMES
from tests.bundles import write_tiny_bundle

Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(write_tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def tokenizer(bundle: Bundle) -> TextTokenizer:
    return load_tokenizer(bundle.path, max_length=bundle.config.text.max_length)


def _unit(*values: float) -> Vectors:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def test_an_ensemble_is_the_normalised_mean_of_normalised_vectors() -> None:
    vectors = np.array([[2.0, 0.0], [0.0, 0.5]], np.float32)
    np.testing.assert_allclose(ensemble(vectors), [0.5**0.5, 0.5**0.5], rtol=1e-6)


def test_probability_is_the_softmax_of_cosines_over_temperature() -> None:
    pooled, present, absent = _unit(1, 2, 3), _unit(1, 1, 1), _unit(3, -1, 0)
    logits = np.array([pooled @ present, pooled @ absent], np.float64) / 0.07
    expected = np.exp(logits - logits.max())
    assert probability(pooled, present, absent, 0.07) == pytest.approx(expected[0] / expected.sum(), abs=1e-6)


@given(st.floats(1e-6, 100.0))
def test_the_two_sides_always_add_up_to_one(temperature: float) -> None:
    pooled, present, absent = _unit(1, 2, 3), _unit(1, 1, 1), _unit(3, -1, 0)
    one, other = (probability(pooled, *pair, temperature) for pair in ((present, absent), (absent, present)))
    assert one + other == pytest.approx(1.0)
    assert 0.0 <= one <= 1.0


def test_findings_come_in_canonical_order_with_the_unseen_ones_noted(bundle: Bundle) -> None:
    asked = questions(bundle.config)
    names = [question.name for question in asked]
    assert names == [name for name in FINDING_NAMES if name in names]
    notes = {question.name: question.note for question in asked}
    assert notes == {
        "Cardiomegaly": None,
        "Lung nodule": None,
        "Pleural effusion": None,
        "Mosaic attenuation pattern": UNTRAINED,
        "Bronchiectasis": UNTRAINED,
    }


def test_a_model_that_is_no_demonstration_says_so_in_other_words(bundle: Bundle) -> None:
    config = bundle.config.model_copy(update={"demonstration": False})
    assert {question.note for question in questions(config)} == {None, UNRESOLVED}


def test_a_question_with_a_note_is_never_embedded() -> None:
    def embed(texts: list[str]) -> Vectors:
        raise AssertionError(texts)

    found = answer(_unit(1, 0), [Question("x", ("a",), ("b",), "because")], embed, 1.0)
    assert found[0].probability is None
    assert found[0].to_json()["note"] == "because"


def test_the_name_of_a_finding_gets_its_own_prompts(bundle: Bundle, tokenizer: TextTokenizer) -> None:
    own = bundle.config.findings[0]
    question = question_for("  CARDIOMEGALY ", bundle.config, tokenizer)
    assert (question.name, question.present, question.absent) == ("Cardiomegaly", own.present, own.absent)


def test_asking_for_an_absence_swaps_the_sides(bundle: Bundle, tokenizer: TextTokenizer) -> None:
    own = bundle.config.findings[0]
    question = question_for("no cardiomegaly", bundle.config, tokenizer)
    assert (question.present, question.absent) == (own.absent, own.present)
    assert question.name == "no cardiomegaly"


def test_any_prompt_gets_a_negated_other_side(bundle: Bundle, tokenizer: TextTokenizer) -> None:
    question = question_for("enlarged heart", bundle.config, tokenizer)
    assert question.note is None
    assert all("enlarged heart" in prompt.lower() for prompt in (*question.present, *question.absent))
    assert all(" no " in f" {prompt.lower()}" or " not " in prompt for prompt in question.absent)
    assert not any(" no " in f" {prompt.lower()}" or " not " in prompt for prompt in question.present)


def test_a_statement_is_asked_as_it_stands(bundle: Bundle, tokenizer: TextTokenizer) -> None:
    question = question_for("the heart is enlarged", bundle.config, tokenizer)
    assert question.note is None
    assert (question.present, question.absent) == (("The heart is enlarged.",), ("The heart is not enlarged.",))
    question = question_for("The heart is not enlarged.", bundle.config, tokenizer)
    assert question.present == ("The heart is not enlarged.",)


def test_sentence_frames_that_the_model_does_not_know_are_left_out(bundle: Bundle, tokenizer: TextTokenizer) -> None:
    question = question_for("liver", bundle.config, tokenizer)
    for prompt in (*question.present, *question.absent):
        assert not tokenizer.unknown_words(prompt)


@pytest.mark.parametrize("text", ["zzyzx", "enlarged zzyzx", "no zzyzx", "肺"])
def test_unknown_words_get_a_sentence(bundle: Bundle, tokenizer: TextTokenizer, text: str) -> None:
    question = question_for(text, bundle.config, tokenizer)
    assert question.note is not None
    assert question.note.startswith(UNKNOWN_WORDS)


@pytest.mark.parametrize("text", ["", "  ", "...", "no"])
def test_a_prompt_without_words_gets_a_sentence(bundle: Bundle, tokenizer: TextTokenizer, text: str) -> None:
    assert question_for(text, bundle.config, tokenizer).note is not None


def test_a_prompt_that_would_be_cut_off_gets_a_sentence(bundle: Bundle, tokenizer: TextTokenizer) -> None:
    note = question_for("lung " * 200, bundle.config, tokenizer).note
    assert note is not None
    assert "longer" in note


@pytest.mark.parametrize(
    "text",
    [
        "bronchiectasis",
        "there is bronchiectasis",
        "no mosaic attenuation pattern",
        "bronchiectasis of the right lung",
        "bronchiectasis is in the right lung",
    ],
)
def test_a_finding_that_was_not_trained_stays_without_a_number(
    bundle: Bundle, tokenizer: TextTokenizer, text: str
) -> None:
    assert question_for(text, bundle.config, tokenizer).note == UNTRAINED


def test_all_prompts_of_the_embedded_bundle_are_known_words() -> None:
    embedded = open_bundle()
    tokenizer = load_tokenizer(embedded.path, max_length=embedded.config.text.max_length)
    for finding in embedded.config.findings:
        if finding.trained:
            for prompt in (*finding.present, *finding.absent):
                assert not tokenizer.unknown_words(prompt), prompt
