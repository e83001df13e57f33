"""A draft as text and back, and edits that survive a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_colipri.desktop.drafts import SavedDraft, draft_path, forget_draft, load_draft, save_draft
from napari_colipri.desktop.reporting import (
    draft_from_json,
    draft_text,
    evidence_words,
    fixed_words,
    sentence_of,
    with_line,
    with_text,
)
from napari_colipri.report.draft import draft
from napari_colipri.report.types import Draft
from tests.desktop.conftest import PATIENCE, analyse
from tests.desktop.fakes import Engine, findings, heat_map
from tests.volumes import volume_in


def made() -> Draft:
    volume = volume_in("LPS")
    return draft(findings(), None, None, volume, heat_maps=(heat_map(volume, "Cardiomegaly"),))


def texts(value: Draft, status: str) -> list[str]:
    return [sentence.text for sentence in value if sentence.status == status]


def test_text_and_back_changes_nothing() -> None:
    value = made()
    assert with_text(value, draft_text(value)) == value


def test_a_changed_line_keeps_its_evidence() -> None:
    value = made()
    old = next(sentence for sentence in value if sentence.text.startswith("Pleural effusion: suggested"))
    text = draft_text(value).replace(old.text, old.text.replace("suggested", "small, on the left"))
    new = next(sentence for sentence in with_text(value, text) if sentence.id == old.id)
    assert new.status == "edited"
    assert new.evidence == old.evidence
    assert "small, on the left" in new.text


def test_a_removed_line_stays_in_the_record() -> None:
    value = made()
    old = next(sentence for sentence in value if sentence.text.startswith("Lung nodule: suggested"))
    after = with_text(value, draft_text(value).replace(old.text + "\n", ""))
    assert texts(after, "removed") == [old.text]


def test_a_new_line_is_the_readers_own() -> None:
    value = made()
    text = draft_text(value).replace("# Impression\n", "# Impression\nGranuloma, calcified.\n")
    own = [sentence for sentence in with_text(value, text) if sentence.origin == "reader"]
    assert [sentence.text for sentence in own] == ["Granuloma, calcified."]
    assert own[0].evidence == ()


def test_what_is_not_the_readers_to_change_stands_apart() -> None:
    value = made()
    assert "About this draft" not in draft_text(value)
    assert "no report decoder" in fixed_words(value)
    assert any("Research use only" in text for text in texts(with_text(value, ""), "draft"))


def test_a_line_says_what_it_rests_on() -> None:
    value = made()
    line = next(text for text in texts(value, "draft") if text.startswith("Cardiomegaly: suggested"))
    sentence = sentence_of(value, line + " Seen.")
    assert sentence is not None
    words, heat = evidence_words(sentence)
    assert "Cardiomegaly 0.72" in words
    assert heat == "Cardiomegaly"
    assert sentence_of(value, "# Impression") is None
    assert sentence_of(value, "Something else entirely here") is None


def test_a_draft_survives_the_disk() -> None:
    value = made()
    assert draft_from_json(value.to_json()) == value
    save_draft("a" * 32, SavedDraft(value, "# Impression\nMine.\n"))
    assert load_draft("a" * 32) == SavedDraft(value, "# Impression\nMine.\n")
    assert draft_path("a" * 32).stat().st_mode & 0o077 == 0
    forget_draft("a" * 32)
    assert load_draft("a" * 32) is None


def test_a_damaged_draft_is_no_draft() -> None:
    save_draft("b" * 32, SavedDraft(made(), "text"))
    draft_path("b" * 32).write_text("{", encoding="utf-8")
    assert load_draft("b" * 32) is None


def test_an_edit_is_on_disk_after_a_pause_and_back_after_a_crash(
    analysed: Any, make_dock: Any, study: Path, engine: Engine, qtbot: Any
) -> None:
    panel = analysed.tabs.report
    panel.editor.insertPlainText("Words that must not be lost.\n")
    fingerprint = analysed.study.volume.fingerprint
    qtbot.waitUntil(lambda: load_draft(fingerprint) is not None, timeout=PATIENCE)
    assert panel.saved.text() == "Saved"
    second = make_dock(study)  # another window, as after a crash
    assert "Words that must not be lost." in second.tabs.report.text()
    analyse(second, engine, qtbot)
    assert "Words that must not be lost." in second.tabs.report.text()
    second.tabs.report.undo.click()
    assert "Words that must not be lost." not in second.tabs.report.text()
    second.tabs.report.redo.click()
    assert "Words that must not be lost." in second.tabs.report.text()


def ask(dock: Any, engine: Engine, qtbot: Any, text: str) -> None:
    """Ask in own words and wait for the answer."""
    panel = dock.tabs.findings
    panel.field.setText(text)
    panel.ask.click()
    engine.client.answer_findings()
    qtbot.waitUntil(lambda: panel.where.text().startswith(f"“{text}”"), timeout=PATIENCE)


def test_the_answer_to_an_own_question_enters_the_draft_on_request(
    analysed: Any, engine: Engine, qtbot: Any, tmp_path: Path
) -> None:
    panel, report = analysed.tabs.findings, analysed.tabs.report
    report.editor.insertPlainText("My own first line.\n")
    ask(analysed, engine, qtbot, "tree-in-bud pattern")
    assert "tree-in-bud" not in report.text()  # not before it is asked for
    assert panel.add_button.isVisibleTo(panel)
    panel.add_button.click()
    lines = report.text().splitlines()
    line = next(line for line in lines if line.startswith("“tree-in-bud pattern”: suggested"))
    assert lines[lines.index(line) - 1] == "# The reader's questions"
    assert lines[0] == "My own first line."  # edits stay
    assert "tree-in-bud pattern 0.55" in report.evidence.text()  # the cursor is in the line
    assert not panel.add_button.isVisibleTo(panel)
    [sentence] = analysed.desk.current().section("The reader's questions").sentences
    assert (sentence.text, sentence.origin, sentence.status) == (line, "findings", "draft")
    assert sentence.evidence[0] == {
        "kind": "finding",
        "name": "tree-in-bud pattern",
        "probability": 0.55,
        "threshold": 0.5,
        "calibration": None,
    }
    report.undo.click()
    assert "tree-in-bud" not in report.text()
    report.redo.click()
    assert line in report.text()


def test_only_own_answers_with_a_number_are_offered(analysed: Any, engine: Engine, qtbot: Any) -> None:
    panel = analysed.tabs.findings
    panel.list.clicked.emit(panel.model.index(0))
    assert not panel.add_button.isVisibleTo(panel)  # it stands in the draft already
    ask(analysed, engine, qtbot, "zyzzyva")
    assert not panel.add_button.isVisibleTo(panel)


def test_a_later_analysis_reports_the_questions_that_were_added_and_no_others(
    analysed: Any, engine: Engine, qtbot: Any
) -> None:
    for text in ("tree-in-bud pattern", "air crescent"):
        ask(analysed, engine, qtbot, text)
    analysed.tabs.findings.select("tree-in-bud pattern")
    analysed.answers._offer("tree-in-bud pattern")
    analysed.tabs.findings.add_button.click()
    analyse(analysed, engine, qtbot)
    text = analysed.tabs.report.text()
    assert text.count("“tree-in-bud pattern”") == 1
    assert "air crescent" not in text
    assert "air crescent" in [item.name for item in analysed.tabs.findings.model.items()]


def test_a_line_finds_its_place_in_an_edited_text() -> None:
    value = draft(findings(("air crescent",)), None, None, volume_in("LPS"))
    section = "The reader's questions"
    text = "Mine.\n\n# Technique\nOne.\n\n# Impression\nTwo.\n"
    put = with_line(text, value, section, "New.")
    assert put == "Mine.\n\n# Technique\nOne.\n\n# The reader's questions\nNew.\n\n# Impression\nTwo.\n"
    assert with_line(put, value, section, "Newer.").splitlines()[5:8] == ["# The reader's questions", "New.", "Newer."]
    assert with_line(put, value, section, "New.") == put
    assert with_line("Mine.", value, section, "New.").endswith("# The reader's questions\nNew.\n")


def test_a_line_of_the_draft_leads_to_its_heat_map(analysed: Any, qtbot: Any) -> None:
    panel = analysed.tabs.report
    lines = panel.text().splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith("Cardiomegaly: suggested"))
    cursor = panel.editor.textCursor()
    cursor.setPosition(panel.editor.document().findBlockByNumber(number).position() + 3)
    panel.editor.setTextCursor(cursor)
    assert "Cardiomegaly 0.72" in panel.evidence.text()
    panel.evidence_button.click()
    qtbot.waitUntil(lambda: "Cardiomegaly" in analysed.screen.heats, timeout=PATIENCE)
