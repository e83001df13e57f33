"""Findings of a report: what is there, what is denied, what is open, and where."""

from __future__ import annotations

import pytest

from napari_colipri.text.extract import Mention, extract, plain_findings, report_labels, sentence_mentions
from napari_colipri.text.findings import FINDING_NAMES
from tests.text.findings_wording import ABSENT, PHRASES, PRESENT, UNCERTAIN, sentence

WORDS = [(name, phrase) for name, phrases in PHRASES.items() for phrase in phrases]


def about(text: str, finding: str) -> Mention:
    """The one mention of ``finding`` in ``text``."""
    (mention,) = (each for each in sentence_mentions(text) if each.finding == finding)
    return mention


def test_wording_covers_all_findings() -> None:
    assert tuple(PHRASES) == FINDING_NAMES


@pytest.mark.parametrize("form", PRESENT)
def test_present_forms(form: str) -> None:
    said = {phrase: about(sentence(form, phrase), name).polarity for name, phrase in WORDS}
    assert {phrase for phrase, polarity in said.items() if polarity != "present"} == set()


@pytest.mark.parametrize("form", ABSENT)
def test_absent_forms(form: str) -> None:
    said = {phrase: about(sentence(form, phrase), name).polarity for name, phrase in WORDS}
    assert {phrase for phrase, polarity in said.items() if polarity != "absent"} == set()


@pytest.mark.parametrize("form", UNCERTAIN)
def test_uncertain_forms(form: str) -> None:
    said = {phrase: about(sentence(form, phrase), name).polarity for name, phrase in WORDS}
    assert {phrase for phrase, polarity in said.items() if polarity != "uncertain"} == set()


def test_side_place_size_number_and_degree() -> None:
    nodule = about("Two nodules of up to 1.2 x 0.8 cm lie in the right upper lobe.", "Lung nodule")
    assert (nodule.sides, nodule.places, nodule.size_mm, nodule.count, nodule.several) == (
        {"right"},
        ("right upper lobe",),
        12.0,
        2,
        True,
    )
    effusion = about("There is a small left pleural effusion.", "Pleural effusion")
    assert (effusion.sides, effusion.severity, effusion.count, effusion.size_mm) == ({"left"}, "mild", 1, None)
    assert about("A 4 mm nodule is seen.", "Lung nodule").count == 1
    assert about("Bilateral consolidation.", "Consolidation").sides == {"left", "right"}
    assert about("No nodule larger than 4 mm.", "Lung nodule").size_mm is None


def test_a_clause_has_its_own_side() -> None:
    text = "Emphysema is seen in the right lung; consolidation is seen in the left lung."
    assert about(text, "Emphysema").sides == {"right"}
    assert about(text, "Consolidation").sides == {"left"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Pleural effusion on the right and atelectasis on the left.",
            {"Pleural effusion": ({"right"}, None), "Atelectasis": ({"left"}, None)},
        ),
        (
            "A 4 mm nodule in the left lung and consolidation of 3 cm in the right lung are seen.",
            {"Lung nodule": ({"left"}, 4.0), "Consolidation": ({"right"}, 30.0)},
        ),
        (
            "Nodules up to 4 mm, the largest on the right, with opacities up to 14 mm.",
            {"Lung nodule": ({"right"}, 4.0), "Lung opacity": ({"right"}, 14.0)},
        ),
        (
            "Consolidation and atelectasis in the left lower lobe.",
            {"Consolidation": ({"left"}, None), "Atelectasis": ({"left"}, None)},
        ),
        (
            "Bilateral pleural effusions, 2 cm on the right and 3 cm on the left.",
            {"Pleural effusion": ({"left", "right"}, 30.0)},
        ),
    ],
)
def test_sides_and_sizes_go_to_the_nearest_finding(
    text: str, expected: dict[str, tuple[set[str], float | None]]
) -> None:
    assert {m.finding: (set(m.sides), m.size_mm) for m in sentence_mentions(text)} == expected


def test_spans_point_into_the_report() -> None:
    report = "FINDINGS:\nThe lungs are clear.\nThere is a hiatal\nhernia. No effusion.\n\nIMPRESSION: Hiatal hernia."
    mentions = extract(report)
    assert [m.finding for m in mentions] == ["Hiatal hernia", "Pleural effusion", "Hiatal hernia"]
    assert [report[slice(*m.span)] for m in mentions] == [
        "There is a hiatal\nhernia.",
        "No effusion.",
        "Hiatal hernia.",
    ]
    assert [m.section for m in mentions] == ["FINDINGS", "FINDINGS", "IMPRESSION"]


def test_sections_that_show_nothing_are_passed_over() -> None:
    report = "INDICATION: Pleural effusion? COMPARISON: Consolidation last year. FINDINGS: Emphysema is seen."
    assert [m.finding for m in extract(report)] == ["Emphysema"]
    assert sentence_mentions("Patient with a history of emphysema.") == ()


@pytest.mark.parametrize(
    "text",
    [
        "A nodule is seen in the thyroid gland.",
        "There is a hypodense nodule in the liver.",
        "Adrenal nodule.",
        "THYROID: A nodule of 8 mm.",
        "The left kidney is normal. There is a nodule of 8 mm.",
    ],
)
def test_nodules_elsewhere_are_not_lung_nodules(text: str) -> None:
    assert "Lung nodule" not in {m.finding for m in extract(text)}


def test_pleural_and_pericardial_effusions_are_told_apart() -> None:
    assert {m.finding for m in sentence_mentions("Pericardial effusion is seen.")} == {"Pericardial effusion"}
    assert {m.finding for m in sentence_mentions("Effusion is seen in the left hemithorax.")} == {"Pleural effusion"}
    both = sentence_mentions("Pleural effusion is seen, and pericardial effusion is not seen.")
    assert {m.finding: m.polarity for m in both} == {"Pleural effusion": "present", "Pericardial effusion": "absent"}


def test_coronary_plaque_is_not_aortic_plaque() -> None:
    assert {m.finding for m in sentence_mentions("Calcified plaques in the coronary arteries.") if m.counted} == {
        "Coronary artery wall calcification"
    }
    both = {m.finding for m in sentence_mentions("Calcified plaques in the aorta and the coronary arteries.")}
    assert both == {"Arterial wall calcification", "Coronary artery wall calcification"}


def test_a_visible_lymph_node_is_open_and_counts_while_a_thick_wall_does_not() -> None:
    node = extract("A lymph node of 7 mm is seen in the mediastinum.")
    assert [m.polarity for m in node] == ["uncertain"]
    assert report_labels(node)["Lymphadenopathy"] == 1
    wall = extract("The bronchial walls are thickened.")
    assert [(m.polarity, m.counted) for m in wall] == [("uncertain", False)]
    assert report_labels(wall)["Peribronchial thickening"] == 0


def test_labels_of_a_report_in_canonical_order() -> None:
    report = "No consolidation. Possible bronchiectasis. Cardiomegaly. Emphysema is not seen. Bullae in both lungs."
    labels = report_labels(extract(report))
    assert tuple(labels) == FINDING_NAMES
    assert {name for name, value in labels.items() if value} == {"Bronchiectasis", "Cardiomegaly", "Emphysema"}


def test_plain_findings_leave_doubt_out() -> None:
    report = (
        "No consolidation. Possible bronchiectasis. Cardiomegaly. No emphysema on the left. Emphysema on the right."
    )
    assert plain_findings(report) == {"Consolidation": False, "Cardiomegaly": True, "Emphysema": True}


def test_comparisons_travel_with_the_mention() -> None:
    assert about("Unchanged nodule in the left lung.", "Lung nodule").compares == ("unchanged",)
    assert about("Nodule in the left lung.", "Lung nodule").compares == ()


def test_a_mention_as_json() -> None:
    found = about("Bilateral pleural effusions.", "Pleural effusion").to_json()
    assert (found["sides"], found["several"], found["polarity"]) == (["left", "right"], True, "present")


def test_endless_text_is_read_in_pieces() -> None:
    mentions = extract("pleural effusion, " * 2000)
    assert mentions
    assert max(len(m.sentence) for m in mentions) <= 1500


def test_nothing_in_nothing_out() -> None:
    assert extract("") == ()
    assert extract("The trachea is midline.") == ()
    assert not any(report_labels(()).values())


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("Heart without enlargement.", "Cardiomegaly"),
        ("The aorta is free of calcification.", "Arterial wall calcification"),
        ("The pericardium shows no effusion.", "Pericardial effusion"),
        ("The pleural spaces contain no fluid.", "Pleural effusion"),
        ("Interlobular septa of normal thickness.", "Interlobular septal thickening"),
    ],
)
def test_a_negation_between_organ_and_finding_denies_it(text: str, finding: str) -> None:
    assert {(item.finding, item.polarity) for item in extract(text)} == {(finding, "absent")}


def test_a_form_is_read_line_by_line() -> None:
    text = "Pleural effusion: none\nEmphysema: yes\nLung nodule: not seen.\nAbsent: consolidation, bronchiectasis."
    assert {item.finding: item.polarity for item in extract(text)} == {
        "Pleural effusion": "absent",
        "Emphysema": "present",
        "Lung nodule": "absent",
        "Consolidation": "absent",
        "Bronchiectasis": "absent",
    }
