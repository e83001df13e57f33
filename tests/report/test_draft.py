"""A draft says what the numbers say, where they come from, and nothing more."""

from __future__ import annotations

import json

import pytest

from napari_colipri import RESEARCH_USE_ONLY
from napari_colipri.ct.passport import Passport, reason
from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.types import Findings, HeatMap, Segmentation
from napari_colipri.library import SimilarCases
from napari_colipri.report import Draft, draft, edited, to_markdown
from napari_colipri.report.checks import answer_check
from napari_colipri.text.side_and_size import comparison_words, sides_in
from tests.report.conftest import HASH, chest_volume, masks_of, unoriented


@pytest.fixture
def made(
    findings: Findings, segmentation: Segmentation, hits: SimilarCases, volume: CTVolume, heat_map: HeatMap
) -> Draft:
    return draft(findings, segmentation, hits, volume, heat_maps=[heat_map])


def texts(made: Draft, section: str) -> list[str]:
    found = made.section(section)
    assert found is not None
    return [sentence.text for sentence in found.sentences]


def test_sections_in_reading_order(made: Draft) -> None:
    assert [section.name for section in made.sections] == [
        "Technique",
        "Findings: lungs",
        "Findings: airways",
        "Findings: pleura",
        "Findings: heart",
        "Findings: vessels",
        "Findings: mediastinum",
        "Findings: devices",
        "The reader's questions",
        "Measurements",
        "Similar cases",
        "Impression",
        "Generated text",
        "About this draft",
    ]


def test_a_suggested_finding_states_its_number_its_place_and_that_it_is_uncalibrated(made: Draft) -> None:
    sentence = made.section("Findings: lungs").sentences[0]  # type: ignore[union-attr]
    assert sentence.text == (
        "Lung nodule: suggested, strongest response in the right lung; model probability 0.83 (uncalibrated)."
    )
    assert sentence.origin == "findings"
    assert sentence.evidence[0] == {
        "kind": "finding",
        "name": "Lung nodule",
        "probability": 0.83,
        "threshold": 0.5,
        "calibration": None,
    }
    assert sentence.evidence[1]["peak_ras_mm"] == [75.0, 5.0, 25.0]
    assert {check.code: check.result for check in sentence.checks} == {
        "geometry": "ok",
        "no_prior": "ok",
        "laterality": "ok",
    }


def test_absent_findings_are_summed_up_and_unassessed_ones_named(made: Draft) -> None:
    lungs = texts(made, "Findings: lungs")
    assert lungs[1].startswith("The model does not suggest emphysema, atelectasis, a lung opacity")
    assert "0.07 to 0.17 (uncalibrated)" in lungs[1]
    assert texts(made, "Findings: airways")[-1] == "Not assessed: bronchiectasis (this bundle cannot detect it)."


def test_the_readers_questions_are_answered_apart(made: Draft) -> None:
    assert texts(made, "The reader's questions") == [
        "“rib fracture”: not suggested; model probability 0.40 (uncalibrated).",
        "Not assessed: zxqv (this model does not know these words).",
    ]
    assert not any("fracture" in text for text in texts(made, "Impression"))


def test_measurements_carry_units_and_say_when_a_structure_may_be_cut(made: Draft) -> None:
    left, right, missing = made.section("Measurements").sentences  # type: ignore[union-attr]
    assert left.text.startswith("Left lung: ")
    assert left.text.endswith(" ml, mean -850 HU.")
    assert right.text.startswith("Right lung: at least ")
    assert {c.code: c.result for c in right.checks}["border"] == "warn"
    assert missing.text == "Not found by the segmentation: liver."
    assert left.evidence[0]["volume_ml"] > 1000


def test_similar_cases_are_named_and_their_words_are_not_borrowed(made: Draft) -> None:
    first, labels, note = texts(made, "Similar cases")
    assert "phantom-03 (0.81) and phantom-11 (0.42)" in first
    assert labels == "Labels among these 2 cases: lung nodule (2) and cardiomegaly (1)."
    assert "left out" in note
    assert made.section("Similar cases").sentences[0].evidence[0]["case_ids"] == ["phantom-03", "phantom-11"]  # type: ignore[union-attr]


def test_the_impression_lists_suggestions_by_probability(made: Draft) -> None:
    assert texts(made, "Impression") == [
        "Lung nodule suggested by the model (0.83, uncalibrated); to be confirmed on the images.",
        "Cardiomegaly suggested by the model (0.61, uncalibrated); to be confirmed on the images.",
    ]


def test_nothing_suggested_is_not_called_normal(findings: Findings, volume: CTVolume) -> None:
    low = tuple(item for item in findings.items if item.probability is not None and item.probability < 0.3)
    made = draft(Findings("demo", HASH, low), None, None, volume)
    assert texts(made, "Impression") == [
        "No assessed finding reaches the threshold of 0.50; this does not exclude disease."
    ]


def test_no_sentence_compares_with_a_prior(made: Draft) -> None:
    spoken = [sentence for sentence in made if sentence.origin not in ("template", "passport")]
    assert spoken
    for sentence in spoken:
        assert comparison_words(sentence.text) == ()
        assert ("no_prior", "ok") in [(c.code, c.result) for c in sentence.checks]
    assert "No earlier study was given: nothing here compares with one." in texts(made, "Technique")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("No lung nodule is seen.", "warn"),
        ("There is a nodule of 8 mm in the right lung.", "ok"),
        ("A small pleural effusion is present.", "warn"),
        ("No pleural effusion.", "ok"),
        ("Possible pleural effusion.", None),
        ("Bronchiectasis is seen.", None),  # not assessed
        ("The trachea is midline.", None),
    ],
)
def test_a_sentence_that_says_the_opposite_of_an_answer_is_marked(made: Draft, text: str, result: str | None) -> None:
    changed = edited(made, "findings-lungs-1", text)
    sentence = next(each for each in changed if each.id == "findings-lungs-1")
    found = [check for check in sentence.checks if check.code == "answer"]
    assert [check.result for check in found] == ([result] if result else [])
    if result == "warn":
        assert "while the model answers" in found[0].message
    again = next(each for each in edited(changed, "findings-lungs-1", "Clear.") if each.id == "findings-lungs-1")
    assert "answer" not in {check.code for check in again.checks}


def test_no_sentence_of_the_draft_says_the_opposite_of_its_own_answers(made: Draft) -> None:
    spoken = [sentence for sentence in made if sentence.origin == "findings"]
    checks = [answer_check(sentence.text, sentence.evidence) for sentence in spoken]
    assert {check.result for check in checks if check} == {"ok"}


def test_what_the_bundle_cannot_do_is_said(findings: Findings, volume: CTVolume) -> None:
    made = draft(findings, None, None, volume)
    assert texts(made, "Measurements") == ["This bundle has no segmentation decoder: no masks and no volumes."]
    assert texts(made, "Similar cases") == ["No case library fits this bundle: similar cases were not looked for."]
    assert texts(made, "Generated text") == ["This bundle has no report decoder: no text was generated from the image."]


def test_research_use_and_bundle_always_stand_there(made: Draft) -> None:
    about = texts(made, "About this draft")
    assert about[0] == RESEARCH_USE_ONLY
    assert about[1] == "Demonstration model trained on phantoms: not for patients."
    assert "bundle demo (hash 0123456789ab)" in about[2]
    markdown = to_markdown(made)
    assert RESEARCH_USE_ONLY in markdown
    assert "Model: demo (hash 0123456789ab)" in markdown


def test_no_side_is_named_where_the_file_states_none(
    findings: Findings, segmentation: Segmentation, volume: CTVolume, heat_map: HeatMap
) -> None:
    made = draft(findings, segmentation, None, unoriented(volume), heat_maps=[heat_map])
    for sentence in made:
        assert not sides_in(sentence.text), sentence.text
    assert "strongest response in a lung;" in texts(made, "Findings: lungs")[0]
    assert texts(made, "Measurements")[0].startswith("Lung, total of both: at least ")


def test_masks_on_the_wrong_side_are_flagged(findings: Findings, volume: CTVolume) -> None:
    made = draft(findings, masks_of(volume, left=2, right=1), None, volume)
    left = made.section("Measurements").sentences[0]  # type: ignore[union-attr]
    assert [c.result for c in left.checks if c.code == "laterality"] == ["warn"]
    assert (left.id, "laterality") in [(sentence.id, check.code) for sentence, check in made.warnings]


def test_the_passport_speaks_in_the_draft(findings: Findings, segmentation: Segmentation) -> None:
    volume = chest_volume()
    odd = Passport((reason("gantry_tilt", "The gantry was tilted by 12.0 degrees.", 12.0),))
    object.__setattr__(volume, "passport", odd)
    made = draft(findings, segmentation, None, volume)
    assert "The gantry was tilted by 12.0 degrees." in texts(made, "Technique")
    left = made.section("Measurements").sentences[0]  # type: ignore[union-attr]
    assert ("geometry", "warn") in [(c.code, c.result) for c in left.checks]


def test_json_of_the_contract(made: Draft) -> None:
    out = json.loads(json.dumps(made.to_json(), allow_nan=False))
    for section in out["sections"]:
        assert section.keys() == {"name", "sentences"}
        for sentence in section["sentences"]:
            assert sentence.keys() == {"id", "text", "origin", "evidence", "checks", "status"}
            assert sentence["status"] == "draft"
    ids = [sentence.id for sentence in made]
    assert len(ids) == len(set(ids))


def test_editing_keeps_evidence_and_checks_the_new_words(made: Draft) -> None:
    changed = edited(made, "findings-lungs-1", "The nodule in the right lung is  stable.")
    sentence = next(s for s in changed if s.id == "findings-lungs-1")
    assert sentence.text == "The nodule in the right lung is stable."
    assert (sentence.status, sentence.origin) == ("edited", "findings")
    assert sentence.evidence == next(s for s in made if s.id == "findings-lungs-1").evidence
    assert [c.result for c in sentence.checks if c.code == "no_prior"] == ["warn"]
    assert "*(edited)*" in to_markdown(changed)
    assert "'stable' compares with an earlier study" in to_markdown(changed)
    assert made.to_json() != changed.to_json()


def test_a_removed_sentence_leaves_the_page_but_not_the_record(made: Draft) -> None:
    changed = edited(made, "impression-2", " ")
    assert "Cardiomegaly suggested" not in to_markdown(changed)
    assert next(s for s in changed if s.id == "impression-2").status == "removed"
    with pytest.raises(KeyError):
        edited(made, "nowhere-1", "x")


def test_words_of_a_prompt_cannot_break_the_page(volume: CTVolume, findings: Findings) -> None:
    from napari_colipri.engine.types import Finding

    item = Finding("<b>a|b*_c_*", 0.2, ("a",), ("b",))
    page = to_markdown(draft(Findings("demo", HASH, (item,)), None, None, volume))
    assert "\\<b\\>a\\|b\\*\\_c\\_\\*" in page


def test_an_answer_added_later_reads_as_if_it_had_been_asked_before() -> None:
    from napari_colipri.report.draft import QUESTIONS, with_answer, with_answers_of
    from tests.desktop.fakes import findings as answers
    from tests.volumes import volume_in

    volume = volume_in("LPS")
    whole = draft(answers(("air crescent", "tree-in-bud")), None, None, volume)
    changed = draft(answers(), None, None, volume)
    for item in answers(("air crescent", "tree-in-bud")).items[-2:]:
        changed, _ = with_answer(changed, item, None, volume)
    assert changed == whole
    again, sentence = with_answer(changed, item, None, volume)
    assert again == changed  # once is enough
    assert sentence.text.startswith("“tree-in-bud”: suggested")
    fresh = draft(answers(), None, None, volume)
    assert with_answers_of(fresh, changed).section(QUESTIONS) == changed.section(QUESTIONS)
    assert with_answers_of(changed, changed) == changed
    assert len({item.id for item in changed}) == len(list(changed))
