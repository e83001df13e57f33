"""Choosing a model, a device and a precision in the dock: nothing of two models is ever shown as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_colipri.desktop.drafts import draft_path, load_draft
from napari_colipri.desktop.metadata import derived_metadata
from napari_colipri.desktop.panels.model import offered
from napari_colipri.desktop.preferences import Preferences, load_preferences, preferences_path, save_preferences
from napari_colipri.errors import BundleError
from tests.desktop.conftest import PATIENCE, analyse
from tests.desktop.fakes import FINDINGS, Engine

# ------------------------------------------------------------------------------------------------------ preferences


def test_preferences_come_back_from_disk() -> None:
    wanted = Preferences("official", "cuda", "bfloat16")
    save_preferences(wanted)
    assert load_preferences() == wanted
    assert preferences_path().stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"format": 9, "model": "x"}',
        '{"format": 1, "model": 5, "device": "abacus", "precision": []}',
    ],
)
def test_a_damaged_file_of_preferences_is_as_none(text: str) -> None:
    preferences_path().write_text(text, encoding="utf-8")
    assert load_preferences() == Preferences()


def test_only_devices_of_this_machine_are_offered_and_the_one_in_use() -> None:
    assert offered((), "auto") == ["auto", "cpu"]
    assert offered(("cuda", "cpu"), "auto") == ["auto", "cuda", "cpu"]
    assert offered(("cpu",), "cuda") == ["auto", "cuda", "cpu"]


# ------------------------------------------------------------------------------------------------------------- page


def models(dock: Any) -> list[tuple[str, bool]]:
    """Title of each model in the list, and whether it can be chosen."""
    chooser = dock.panels.models.models
    return [(chooser.itemText(row), bool(chooser.model().item(row).isEnabled())) for row in range(chooser.count())]


def pick(chooser: Any, value: str) -> None:
    """Choose as a user does."""
    row = chooser.findData(value)
    assert row >= 0
    chooser.setCurrentIndex(row)
    chooser.activated.emit(row)


def open_page(dock: Any, qtbot: Any) -> Any:
    dock.status.model_button.click()
    qtbot.waitUntil(lambda: dock.panels.models.models.count() > 0, timeout=PATIENCE)
    return dock.panels.models


def choose(dock: Any, name: str, qtbot: Any) -> None:
    page = open_page(dock, qtbot)
    pick(page.models, name)
    qtbot.waitUntil(lambda: not dock.model.checking, timeout=PATIENCE)
    page.done_button.click()


def test_the_page_lists_every_model_and_takes_the_place_of_the_study_s_pages(dock: Any, qtbot: Any) -> None:
    page = open_page(dock, qtbot)
    assert page.isVisibleTo(dock)
    assert not dock.tabs.isVisibleTo(dock)
    assert models(dock) == [("COLIPRI demo", True), ("Another model", True), ("old", False)]
    assert "demonstration only" in page.about.text()
    assert "config.json is missing" in page.about.text()
    assert page.models.currentData() == ""
    page.done_button.click()
    assert dock.tabs.isVisibleTo(dock)
    assert dock.view.isVisibleTo(dock)


def test_another_model_restarts_the_session_and_is_remembered(dock: Any, engine: Engine, qtbot: Any) -> None:
    engine.client.load()
    qtbot.waitUntil(lambda: "running on" in dock.status.model_line.text(), timeout=PATIENCE)
    started = engine.client.started
    choose(dock, "other", qtbot)
    assert engine.client.started == started + 1
    assert engine.client.chosen == ("Another model", "auto", "auto")
    assert dock.status.model_line.text() == "Another model · not loaded yet"
    assert load_preferences() == Preferences("other")
    engine.client.load("NVIDIA, bfloat16")
    qtbot.waitUntil(lambda: "running on NVIDIA" in dock.status.model_line.text(), timeout=PATIENCE)


def test_device_and_precision_go_to_the_engine(dock: Any, engine: Engine, qtbot: Any) -> None:
    engine.client.load()
    page = open_page(dock, qtbot)
    qtbot.waitUntil(lambda: page.devices.findData("cuda") >= 0, timeout=PATIENCE)
    pick(page.devices, "cpu")
    pick(page.precisions, "bfloat16")
    assert engine.client.chosen == ("COLIPRI demo", "cpu", "bfloat16")
    assert load_preferences() == Preferences(None, "cpu", "bfloat16")


def test_a_device_that_is_gone_is_said_and_can_be_changed(dock: Any, engine: Engine, qtbot: Any) -> None:
    engine.client.refuse_to_load(BundleError("This machine has no CUDA device that torch can use.", code="no_device"))
    qtbot.waitUntil(lambda: "no CUDA device" in dock.status.model_note.text(), timeout=PATIENCE)
    assert dock.status.model_note.isVisibleTo(dock)
    page = open_page(dock, qtbot)
    pick(page.devices, "cpu")
    assert not dock.status.model_note.isVisibleTo(dock)
    assert engine.client.chosen[1] == "cpu"


def test_a_model_that_was_removed_since_is_named_and_the_shipped_one_stands_in(
    make_dock: Callable[..., Any], engine: Engine
) -> None:
    save_preferences(Preferences("gone", "cpu"))
    dock = make_dock()
    assert dock.model.bundle.title == "COLIPRI demo"
    assert "“gone” cannot be used" in dock.status.model_note.text()
    assert dock.model.preferences == Preferences(None, "cpu")
    assert load_preferences() == Preferences("gone", "cpu")  # it may only be on a drive that is not plugged in


def test_a_damaged_model_leaves_the_one_in_use(dock: Any, engine: Engine, qtbot: Any) -> None:
    del engine.models["other"]
    page = open_page(dock, qtbot)
    page.models.addItem("Another model", "other")
    pick(page.models, "other")
    qtbot.waitUntil(lambda: "Not changed" in dock.status.model_note.text(), timeout=PATIENCE)
    assert dock.model.bundle.title == "COLIPRI demo"
    assert load_preferences() == Preferences()


# -------------------------------------------------------------------------------------------------------- adding one


def test_a_folder_is_added_and_used(dock: Any, engine: Engine, qtbot: Any) -> None:
    open_page(dock, qtbot)
    dock.model_desk.add("/somewhere/new")
    qtbot.waitUntil(lambda: dock.model.bundle.title == "New model", timeout=PATIENCE)
    qtbot.waitUntil(lambda: ("New model", True) in models(dock), timeout=PATIENCE)
    assert load_preferences() == Preferences("new")


def test_adding_shows_progress_and_can_be_cancelled(dock: Any, engine: Engine, qtbot: Any) -> None:
    engine.slow_adding = True
    page = open_page(dock, qtbot)
    dock.model_desk.add("/somewhere/new")
    qtbot.waitUntil(lambda: page.doing.text() == "Copying the model · 25 %", timeout=PATIENCE)
    assert page.cancel_button.isVisibleTo(page)
    assert not page.models.isEnabled()
    page.cancel_button.click()
    assert not page.cancel_button.isVisibleTo(page)
    assert page.models.isEnabled()
    assert dock.model.bundle.title == "COLIPRI demo"


def test_a_folder_that_is_no_model_is_refused_in_one_sentence(dock: Any, engine: Engine, qtbot: Any) -> None:
    engine.add_error = BundleError("vocab.txt is missing: it belongs to CXR-BERT.", code="missing_vocab")
    page = open_page(dock, qtbot)
    dock.model_desk.add("/somewhere/new")
    qtbot.waitUntil(lambda: "vocab.txt is missing" in page.note.text(), timeout=PATIENCE)
    assert page.add_button.isEnabled()


# ------------------------------------------------------------------------------------------- never two models as one


def test_answers_of_the_former_model_are_marked_and_nothing_new_is_asked(
    analysed: Any, engine: Engine, qtbot: Any
) -> None:
    choose(analysed, "other", qtbot)
    assert analysed.status.heading.text() == "Analysed by another model"
    assert "made by “COLIPRI demo”" in analysed.status.sentence.text()
    assert "another model" in analysed.tabs.findings.foreign.text()
    assert analysed.tabs.findings.model.rowCount() == len(FINDINGS)
    assert not analysed.tabs.findings.field.isEnabled()
    analysed.answers.show_finding("Emphysema")  # no heat map of it yet: the new model must not draw it
    assert {kind for kind, _ in engine.client.asked.values()} == {"load"}
    choose(analysed, "", qtbot)  # back to the one that made them
    assert analysed.status.heading.text() == "Analysed"
    assert not analysed.tabs.findings.foreign.text()
    assert analysed.tabs.findings.field.isEnabled()


def test_the_same_model_on_another_device_is_another_maker(analysed: Any, engine: Engine, qtbot: Any) -> None:
    page = open_page(analysed, qtbot)
    pick(page.precisions, "bfloat16")
    assert "precision auto" in analysed.status.sentence.text()
    assert "precision bfloat16" in analysed.status.sentence.text()


def test_a_new_model_s_analysis_takes_the_former_s_answers_off(analysed: Any, engine: Engine, qtbot: Any) -> None:
    analysed.answers.show_finding("Cardiomegaly")
    qtbot.waitUntil(lambda: "Cardiomegaly" in analysed.screen.heats, timeout=PATIENCE)
    former = analysed.screen.masks
    choose(analysed, "other", qtbot)
    analysed.analyse()
    assert analysed.tabs.findings.model.rowCount() == 0
    assert analysed.tabs.masks.rows() == []
    assert analysed.screen.heats == {}
    assert (former.name, former.visible) == ("Masks by demo", False)
    analysed.status.cancel_button.click()
    assert not analysed.state.analysed  # nothing is on screen that could be exported
    analyse(analysed, engine, qtbot)
    assert analysed.run.results.findings.bundle == "other"
    assert derived_metadata(analysed.screen.masks)["bundle"] == "other"
    assert analysed.desk.current().bundle == "other"


def test_an_edited_draft_stays_with_its_model(analysed: Any, engine: Engine, qtbot: Any) -> None:
    fingerprint = analysed.study.volume.fingerprint
    analysed.tabs.report.editor.insertPlainText("Words about the first model's draft.\n")
    choose(analysed, "other", qtbot)
    analyse(analysed, engine, qtbot)
    report = analysed.tabs.report
    assert "first model's" not in report.text()
    report.editor.insertPlainText("Words about the second.\n")
    analysed.desk.save()
    assert "second" in load_draft(fingerprint).text
    assert "first model's" in load_draft(fingerprint, "0" * 64).text
    choose(analysed, "", qtbot)
    analyse(analysed, engine, qtbot)
    assert "first model's" in report.text()
    assert "Words about the second" not in report.text()
    assert draft_path(fingerprint).exists()


def test_a_change_during_an_analysis_gives_it_up(dock: Any, engine: Engine, qtbot: Any) -> None:
    dock.analyse()
    choose(dock, "other", qtbot)
    assert dock.state.phase == "ready"
    assert "analyse" not in [kind for kind, _ in engine.client.asked.values()]


def test_analyse_waits_for_a_model_that_is_still_being_checked(
    make_napari_viewer: Any, engine: Engine, study: Path, qtbot: Any
) -> None:
    from napari_colipri.desktop.widget import ColipriWidget

    viewer = make_napari_viewer()
    dock = ColipriWidget(viewer, engine.services())
    viewer.window.add_dock_widget(dock, name="COLIPRI")
    dock.open_study(study, then=dock.analyse)
    dock.model.verify()  # a large model takes its time
    qtbot.waitUntil(lambda: dock.state.phase == "busy", timeout=PATIENCE)
    qtbot.waitUntil(lambda: "analyse" in [kind for kind, _ in engine.client.asked.values()], timeout=PATIENCE)
    kinds = [kind for _, (kind, _) in sorted(engine.client.asked.items())]
    assert kinds == ["load", "analyse"]  # never an analysis without a model
