"""Generated text in a draft: its own section, its own origin, checked, without claims about an earlier study."""

from __future__ import annotations

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.types import Findings, GeneratedReport
from napari_colipri.report.draft import draft
from napari_colipri.report.markdown import to_markdown
from napari_colipri.report.types import Draft, Section
from tests.report.conftest import HASH


def drafted(volume: CTVolume, findings: Findings, *sentences: str, finished: bool = True) -> Draft:
    return draft(findings, None, None, volume, generated=GeneratedReport(sentences, finished, "demo", HASH))


def section(made: Draft) -> Section:
    found = made.section("Generated text")
    assert found is not None
    return found


def test_sentences_carry_their_origin_and_evidence(volume: CTVolume, findings: Findings) -> None:
    made = drafted(volume, findings, "There is a nodule in the right upper lobe.")
    first, second = section(made).sentences
    assert (first.origin, second.origin) == ("template", "model")
    assert "nobody has checked it" in first.text
    assert second.evidence == ({"kind": "generated", "bundle": "demo", "bundle_hash": HASH},)
    assert {check.code: check.result for check in second.checks} == {
        "answer": "ok",
        "no_prior": "ok",
        "laterality": "ok",
    }
    assert second.text in to_markdown(made)


def test_what_compares_with_an_earlier_study_is_left_out_and_counted(volume: CTVolume, findings: Findings) -> None:
    made = drafted(volume, findings, "The nodule is unchanged.", "The heart is enlarged.", "New pleural effusion.")
    texts = [sentence.text for sentence in section(made).sentences]
    assert texts[1:] == [
        "The heart is enlarged.",
        "2 generated sentences were left out: they compare with an earlier study, and none was given.",
    ]
    nothing = drafted(volume, findings, "Stable nodule.")
    assert [sentence.origin for sentence in section(nothing).sentences] == ["template", "template"]
    assert "wrote nothing that can stand here" in section(nothing).sentences[0].text


def test_a_sentence_against_the_models_own_answer_carries_a_warning(volume: CTVolume, findings: Findings) -> None:
    made = drafted(volume, findings, "There is no lung nodule.", "There is emphysema.")
    warned = [(sentence.text, check.code) for sentence, check in made.warnings if check.code == "answer"]
    assert warned == [("There is no lung nodule.", "answer"), ("There is emphysema.", "answer")]


def test_a_text_that_was_cut_says_so(volume: CTVolume, findings: Findings) -> None:
    made = drafted(volume, findings, "The heart is enlarged.", finished=False)
    assert "was cut" in section(made).sentences[-1].text


def test_a_bundle_that_writes_nothing_says_so(volume: CTVolume, findings: Findings) -> None:
    made = draft(findings, None, None, volume)
    (only,) = section(made).sentences
    assert "no report decoder" in only.text
