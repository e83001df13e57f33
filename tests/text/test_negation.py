"""The opposite of a sentence says the opposite to the extractor, and reads as a sentence."""

from __future__ import annotations

import pytest

from napari_colipri.text.extract import sentence_mentions
from napari_colipri.text.findings import CT_RATE_FINDINGS
from napari_colipri.text.negation import negate, sentence_prompts
from napari_colipri.text.side_and_size import sizes_mm
from tests.text.findings_wording import ABSENT, PHRASES, PRESENT, UNCERTAIN, sentence

WORDS = [(name, phrase) for name, phrases in PHRASES.items() for phrase in phrases]


def absent(text: str, finding: str) -> bool | None:
    said = {m.polarity == "absent" for m in sentence_mentions(text) if m.finding == finding}
    return said.pop() if len(said) == 1 else None


@pytest.mark.parametrize("form", [*PRESENT, *ABSENT, *UNCERTAIN])
def test_negating_flips_what_is_said_and_twice_returns_it(form: str) -> None:
    wrong = []
    for name, phrase in WORDS:
        text = sentence(form, phrase)
        first = absent(text, name)
        opposite = negate(text)
        if absent(opposite, name) is not (not first) or absent(negate(opposite), name) is not first:
            wrong.append((text, opposite, negate(opposite)))
    assert wrong == []


@pytest.mark.parametrize("form", [*PRESENT, *ABSENT])
def test_the_words_of_the_finding_stay(form: str) -> None:
    kept = [phrase for _, phrase in WORDS if phrase in negate(sentence(form, phrase)).lower()]
    assert len(kept) == len(WORDS)


@pytest.mark.parametrize(
    ("text", "opposite"),
    [
        ("There is a 12 mm nodule in the right upper lobe.", "There is no nodule in the right upper lobe."),
        ("Multiple nodules are seen, the largest measuring 8 mm.", "No nodules are seen."),
        ("Mild cardiomegaly is present.", "No cardiomegaly is present."),
        ("The heart is enlarged.", "The heart is not enlarged."),
        ("Pleural effusion is seen.", "Pleural effusion is not seen."),
        ("The scan shows a small pericardial effusion.", "The scan shows no pericardial effusion."),
        ("In the left lung, a 5 mm nodule is seen.", "In the left lung, a nodule is not seen."),
        ("Left lower lobe: consolidation.", "Left lower lobe: no consolidation."),
        ("Consolidation cannot be excluded.", "Consolidation is not present."),
        ("Emphysema and cardiomegaly.", "No emphysema or cardiomegaly."),
        ("There is emphysema and a nodule is seen.", "There is no emphysema and no nodule is seen."),
        ("A nodule is seen, but no effusion.", "No nodule is seen, but an effusion."),
        ("The left lower lobe is consolidated over 3 cm.", "The left lower lobe is not consolidated."),
        ("The left lower lobe holds a solid nodule, 8 mm in diameter.", "The left lower lobe holds no solid nodule."),
        ("Seven enlarged lymph nodes, the largest on the left with a short axis of 2 cm.", "No enlarged lymph nodes."),
        ("Several nodules in both lungs; the largest measures 9 mm.", "No nodules in both lungs."),
        ("Emphysema, severe, in the upper lobes.", "No emphysema in the upper lobes."),
        ("The heart is enlarged, 15 cm across.", "The heart is not enlarged."),
        ("The coronary arteries show severe calcification.", "The coronary arteries show no calcification."),
        (
            "Pleural effusion on the left, up to 4 cm deep, and atelectasis.",
            "No pleural effusion on the left or atelectasis.",
        ),
        ("No lung nodule.", "A lung nodule."),
        ("There is no pleural effusion.", "There is a pleural effusion."),
        ("The scan does not show bronchiectasis.", "The scan shows bronchiectasis."),
        ("The lungs are free of consolidation.", "The lungs have consolidation."),
        ("Lung nodule is not present.", "Lung nodule is present."),
        ("No evidence of hiatal hernia was found.", "Evidence of hiatal hernia was found."),
        ("Rib fracture is present.", "Rib fracture is not present."),
        ("The trachea is midline", "The trachea is not midline"),
    ],
)
def test_sentences_stay_grammatical(text: str, opposite: str) -> None:
    assert negate(text) == opposite


def test_prompts_are_each_others_opposites() -> None:
    for term in CT_RATE_FINDINGS:
        for present, denied in zip(term.present, term.absent, strict=True):
            assert negate(present) == denied
            assert absent(negate(denied), term.name) is False


@pytest.mark.parametrize(
    "size", ["12 mm nodule", "nodule of 12 x 8 mm", "nodule (1.2 cm)", "nodule measuring up to 12 mm in diameter"]
)
def test_what_is_absent_has_no_size(size: str) -> None:
    assert sizes_mm(negate(f"A {size} is seen in the left lung.")) == ()


@pytest.mark.parametrize(
    ("text", "asked", "against"),
    [
        ("the heart is enlarged", "The heart is enlarged.", "The heart is not enlarged."),
        ("The heart is not enlarged.", "The heart is not enlarged.", "The heart is enlarged."),
        ("the left lung shows emphysema", "The left lung shows emphysema.", "The left lung shows no emphysema."),
        ("lungs are free of nodules?", "Lungs are free of nodules.", "Lungs have nodules."),
    ],
)
def test_a_statement_is_asked_against_its_opposite(text: str, asked: str, against: str) -> None:
    assert sentence_prompts(text) == (asked, against)


@pytest.mark.parametrize(
    "text", ["rib fracture", "there is a rib fracture", "Rib fracture is not present.", "no nodule", ""]
)
def test_a_phrase_is_no_statement(text: str) -> None:
    assert sentence_prompts(text) is None


def test_a_sentence_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one word"):
        negate(" . ")
