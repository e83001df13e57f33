"""The 18 findings and the sentences that ask for them."""

from __future__ import annotations

import pytest

from napari_colipri.text.findings import (
    CT_RATE_FINDINGS,
    FINDING_NAMES,
    ORGAN_GROUPS,
    default_prompts,
    finding_term,
    prompts_for_text,
)


def test_canonical_order() -> None:
    assert len(FINDING_NAMES) == 18
    assert FINDING_NAMES[0] == "Medical material"
    assert FINDING_NAMES[9] == "Lung nodule"
    assert FINDING_NAMES[-1] == "Interlobular septal thickening"


@pytest.mark.parametrize("term", CT_RATE_FINDINGS, ids=lambda term: term.name)
def test_every_finding_has_an_organ_and_paired_prompts(term) -> None:  # type: ignore[no-untyped-def]
    assert term.organ in ORGAN_GROUPS
    assert len(term.present) == len(term.absent) >= 3
    assert not set(term.present) & set(term.absent)
    for sentence in (*term.present, *term.absent):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert term.noun in sentence.lower()


def test_names_are_found_in_any_case() -> None:
    term = finding_term("  lung NODULE ")
    assert term is not None
    assert term.phrase == "a lung nodule"
    assert default_prompts("lung nodule")[1][0] == "There is no lung nodule."
    with pytest.raises(KeyError):
        default_prompts("left-handedness")


@pytest.mark.parametrize(
    "text", ["rib fracture", "There is a rib fracture.", "Rib fracture is not present", "no rib fracture"]
)
def test_presence_and_absence_of_a_thing_are_one_question(text: str) -> None:
    present, absent = prompts_for_text(text)
    assert [p.lower() for p in present][1] == "rib fracture is present."
    assert [p.lower() for p in absent][1] == "rib fracture is not present."


def test_a_canonical_name_gets_its_own_ensemble() -> None:
    assert prompts_for_text("there is a pleural effusion") == default_prompts("Pleural effusion")


@pytest.mark.parametrize("text", ["", "  ", "?!", "the "])
def test_a_prompt_needs_a_word(text: str) -> None:
    with pytest.raises(ValueError, match="word"):
        prompts_for_text(text)
