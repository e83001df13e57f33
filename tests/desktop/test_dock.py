"""What a person does in the dock, with a scripted engine behind it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPoint, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_colipri import RESEARCH_USE_ONLY
from napari_colipri.desktop.metadata import derived_metadata, study_metadata
from napari_colipri.desktop.windows import WINDOWS
from napari_colipri.engine import events
from napari_colipri.errors import OutOfResources
from tests.desktop.conftest import PATIENCE, analyse, write_chest
from tests.desktop.fakes import CLASSES, FINDINGS, Engine, heat_map

# ------------------------------------------------------------------------------------------------------------- open


def test_an_empty_dock_says_what_to_do(make_dock: Callable[..., Any]) -> None:
    dock = make_dock()
    assert dock.state.phase == "empty"
    assert dock.status.heading.text() == "Open a chest CT"
    assert not dock.status.analyse_button.isVisibleTo(dock)
    assert not dock.view.isVisibleTo(dock)
    assert dock.status.banner.text() == RESEARCH_USE_ONLY


def test_a_study_opens_the_right_way_round(dock: Any) -> None:
    layer = dock.screen.study
    metadata = study_metadata(layer)
    assert metadata is not None
    assert metadata["volume"].geometry.axis_codes == ("L", "P", "S")
    assert dock.state.phase == "ready"
    assert layer.name == "chest-01"
    assert tuple(str(unit) for unit in layer.units) == ("millimeter",) * 3
    assert layer.data.shape == (56, 48, 64)
    assert tuple(layer.contrast_limits) == (-1350, 150)
    assert layer.contrast_limits_range[1] >= 3000
    # the liver, patient's right and low, lies in the left half of the axial image
    low_slice = np.asarray(layer.data)[46]
    liver = low_slice == 60
    assert liver[:, :32].sum() > 10 * liver[:, 32:].sum() > -1
    assert dock.screen.canvas_texts() == {
        "left": "R",
        "right": "L",
        "top": "A",
        "bottom": "P",
        "window": "Lung\nWW 1500\nWL −600 HU",
    }


def test_opening_can_be_cancelled(make_dock: Callable[..., Any], study: Path) -> None:
    dock = make_dock()
    dock.open_study(study)
    assert dock.state.phase == "opening"
    assert dock.status.cancel_button.isVisibleTo(dock)
    dock.status.cancel_button.click()
    assert dock.state.phase == "empty"
    assert dock.jobs.running == 0
    assert not dock._viewer.layers


def test_a_refused_study_says_so_in_its_reasons_words(make_dock: Callable[..., Any], tmp_path: Path) -> None:
    bad = tmp_path / "letter.nii.gz"
    bad.write_bytes(b"Dear colleague")
    dock = make_dock(bad)
    assert dock.state.phase == "refused"
    assert not dock.state.shown
    assert dock.status.heading.text() == "This study cannot be shown"
    assert dock.state.message
    assert dock.state.advice
    assert dock.status.badge.text() == "Refused"
    assert not dock._viewer.layers


def test_a_refused_study_leaves_the_one_on_screen(dock: Any, tmp_path: Path, qtbot: Any) -> None:
    bad = tmp_path / "letter.nii.gz"
    bad.write_bytes(b"Dear colleague")
    dock.open_study(bad)
    qtbot.waitUntil(lambda: dock.state.phase == "refused", timeout=PATIENCE)
    assert dock.screen.study in dock._viewer.layers
    assert dock.state.can_analyse


def test_a_single_slice_is_shown_but_not_analysed(make_dock: Callable[..., Any], tmp_path: Path) -> None:
    dock = make_dock(write_chest(tmp_path / "slice.nii.gz", shape=(64, 48, 1)))
    assert dock.state.phase == "refused"
    assert dock.state.shown
    assert not dock.status.analyse_button.isVisibleTo(dock)
    assert dock.status.heading.text() == "Shown, but not analysed"


def test_without_a_stored_orientation_no_side_is_claimed(make_dock: Callable[..., Any], tmp_path: Path) -> None:
    dock = make_dock(write_chest(tmp_path / "unknown.nii.gz", sform=0))
    texts = dock.screen.canvas_texts()
    assert not {"left", "right", "top", "bottom"} & set(texts)
    assert "unknown" in texts["note"]
    assert dock.state.passport.verdict == "warn"
    assert dock.status.badge.text() == "Check"


def test_a_study_dropped_on_the_dock_opens(make_dock: Callable[..., Any], study: Path, qtbot: Any) -> None:
    dock = make_dock()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(study))])
    drop = QDropEvent(
        QPoint(5, 5).toPointF(),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    dock.dropEvent(drop)
    qtbot.waitUntil(lambda: dock.state.phase == "ready", timeout=PATIENCE)
    assert dock.state.study == "chest-01"


def test_a_study_that_napari_opened_is_taken_over(make_dock: Callable[..., Any], study: Path) -> None:
    from napari_colipri.desktop.reader import read_study

    dock = make_dock()
    data, attributes, _ = read_study(study)[0]
    layer = dock._viewer.add_image(data, **attributes)
    assert dock.screen.study is layer
    assert dock.state.phase == "ready"
    dock._viewer.layers.remove(layer)
    assert dock.state.phase == "empty"
    assert dock.study is None
    assert not dock.screen.canvas_texts()


def test_another_study_takes_the_place_of_the_first(analysed: Any, tmp_path: Path, qtbot: Any) -> None:
    analysed.viewer.dims.set_point(range(3), [1e4] * 3)  # the last slice of the first study
    analysed.viewer.scene.camera.zoom = 50
    analysed.open_study(write_chest(tmp_path / "second.nii.gz", shape=(40, 40, 40)))
    qtbot.waitUntil(lambda: analysed.state.phase == "ready", timeout=PATIENCE)
    assert [layer.name for layer in analysed._viewer.layers] == ["second"]
    steps = np.asarray(analysed.screen.study.world_to_data(analysed.viewer.dims.point))
    assert np.allclose(steps, 20, atol=0.51)  # the middle of the second, whole in view
    assert analysed.viewer.scene.camera.zoom < 10
    assert analysed.tabs.findings.model.rowCount() == 0
    assert not analysed.state.analysed


# ---------------------------------------------------------------------------------------------------------- analyse


def test_analyse_fills_in_every_page(analysed: Any, engine: Engine) -> None:
    tabs = analysed.tabs
    shown = tabs.findings.model.items()
    assert [item.name for item in shown] == [name for name, _, _ in FINDINGS]  # sorted, those without a number last
    assert "uncalibrated" in tabs.findings.model.index(0).data()
    assert "cannot detect it" in tabs.findings.model.index(8).data()
    assert [line[0] for line in tabs.masks.rows()] == [name for _, _, name in CLASSES]
    assert tabs.masks.rows()[3][1].startswith("≥ ")  # the liver touches the border: a lower bound
    assert not tabs.masks.rows()[0][1].startswith("≥")
    assert [hit.case_id for hit in tabs.similar.shown] == ["phantom-007", "phantom-012", "phantom-003"]
    assert "Pleural effusion: suggested" in tabs.report.text()
    assert analysed.status.model_line.text().endswith("not loaded yet")
    engine.client.load()


def test_the_line_about_the_model_says_where_it_runs(dock: Any, engine: Engine, qtbot: Any) -> None:
    engine.client.load("CPU, float32")
    qtbot.waitUntil(lambda: "running on CPU, float32" in dock.status.model_line.text(), timeout=PATIENCE)
    assert "demonstration model trained on phantoms" in dock.status.model_line.text()


def test_progress_is_shown_and_cancel_gives_up(dock: Any, engine: Engine, qtbot: Any) -> None:
    dock.analyse()
    engine.client.progress(0.5, "Encoding")
    qtbot.waitUntil(lambda: dock.status.bar.value() == 450, timeout=PATIENCE)
    assert dock.status.heading.text() == "Encoding · 45 %"
    asked = engine.client.last("analyse")
    dock.status.cancel_button.click()
    assert dock.state.phase == "ready"
    assert engine.client.cancelled == [asked]
    engine.client._emit  # noqa: B018 - what arrives now is of a run that nobody waits for
    assert dock.tabs.findings.model.rowCount() == 0


def test_masks_are_a_new_named_layer_on_the_same_frame(analysed: Any) -> None:
    study, masks = analysed.screen.study, analysed.screen.masks
    assert masks.data.dtype == np.uint8
    assert masks.data.shape == study.data.shape
    for name in ("scale", "translate"):
        assert np.allclose(getattr(masks, name), getattr(study, name))
    assert masks.units == study.units
    assert masks.axis_labels == study.axis_labels
    assert list(masks.features["name"])[1:] == [name for _, _, name in CLASSES]
    metadata = derived_metadata(masks)
    assert metadata is not None
    assert metadata["kind"] == "mask"
    # left lung of the engine, on the source grid, is the left lung on the screen: image right
    assert np.argwhere(np.asarray(masks.data) == 1)[:, 2].mean() > 32


def test_a_class_can_be_hidden(analysed: Any) -> None:
    masks = analysed.screen.masks
    assert masks.colormap.map(np.array([3]))[0][3] == 1.0
    analysed.tabs.masks.table.item(2, 0).setCheckState(Qt.CheckState.Unchecked)
    assert masks.colormap.map(np.array([3]))[0][3] == 0.0
    assert masks.colormap.map(np.array([1]))[0][3] == 1.0
    analysed.tabs.masks.all_button.click()
    assert masks.colormap.map(np.array([3]))[0][3] == 1.0


def test_a_click_on_a_finding_goes_to_its_peak(analysed: Any, engine: Engine, qtbot: Any) -> None:
    panel, viewer = analysed.tabs.findings, analysed._viewer
    panel.list.clicked.emit(panel.model.index(0))
    qtbot.waitUntil(lambda: len(analysed.screen.heats) == 1, timeout=PATIENCE)
    expected = heat_map(analysed.study.volume, "Pleural effusion").peak_mm
    world = analysed.study.display.ras_to_world(expected)
    assert np.abs(np.array(viewer.dims.point) - world).max() <= 3.0  # half a slice
    assert "not a segmentation" in panel.where.text()
    heat = analysed.screen.heats["Pleural effusion"]
    assert np.isfinite(heat.image.data).any()
    assert heat.image.metadata["napari_colipri"]["kind"] == "heat_map"
    peak_world = heat.peak.data_to_world(heat.peak.data[0])
    assert np.abs(np.asarray(peak_world) - world).max() <= 3.0


def test_one_heat_map_is_shown_at_a_time_and_kept_for_the_next_click(analysed: Any, engine: Engine, qtbot: Any) -> None:
    for name in ("Pleural effusion", "Cardiomegaly"):
        analysed.answers.show_finding(name)
        qtbot.waitUntil(lambda name=name: name in analysed.screen.heats, timeout=PATIENCE)
    first, second = (analysed.screen.heats[name].image for name in ("Pleural effusion", "Cardiomegaly"))
    assert (first.visible, second.visible) == (False, True)
    analysed.answers.show_finding("Pleural effusion")
    assert (first.visible, second.visible) == (True, False)
    analysed._viewer.layers.remove(first)
    assert "Pleural effusion" not in analysed.screen.heats


def test_a_question_in_own_words_becomes_a_row(analysed: Any, engine: Engine, qtbot: Any) -> None:
    panel = analysed.tabs.findings
    panel.field.setText("  tree-in-bud   pattern ")
    qtbot.keyClick(panel.field, Qt.Key.Key_Return)
    assert engine.client.asked[engine.client.last("findings")][1]["prompts"] == ("tree-in-bud pattern",)
    engine.client.answer_findings()
    qtbot.waitUntil(lambda: panel.model.rowCount() == len(FINDINGS) + 1, timeout=PATIENCE)
    assert "tree-in-bud pattern" in [item.name for item in panel.model.items()]


def test_an_asked_question_is_answered_where_it_was_asked(analysed: Any, engine: Engine, qtbot: Any) -> None:
    panel = analysed.tabs.findings
    for text, answer in (
        ("tree-in-bud", "“tree-in-bud”: 0.55, uncalibrated"),
        ("zyzzyva", "does not know these words"),
    ):
        panel.field.setText(text)
        qtbot.keyClick(panel.field, Qt.Key.Key_Return)
        assert panel.where.text() == f"Asking about “{text}”…"
        engine.client.answer_findings()
        qtbot.waitUntil(lambda answer=answer: answer in panel.where.text(), timeout=PATIENCE)
        assert panel.list.currentIndex().data().startswith(text)
        assert not panel.stop_button.isVisibleTo(panel)
    panel.list.clicked.emit(panel.list.currentIndex())  # there is no heat map for unknown words, and that is said
    assert "zyzzyva" in panel.where.text()
    assert "localise" not in [kind for kind, _ in engine.client.asked.values()]
    panel.field.setText("cardiomegaly")  # a finding that stands in the list: it is shown, not asked a second time
    qtbot.keyClick(panel.field, Qt.Key.Key_Return)
    assert "“Cardiomegaly”: 0.72" in panel.where.text()
    assert {kind for kind, _ in engine.client.asked.values()} == {"load"}


def test_a_long_question_shows_progress_and_can_be_given_up(analysed: Any, engine: Engine, qtbot: Any) -> None:
    panel = analysed.tabs.findings
    panel.field.setText("tree-in-bud")
    qtbot.keyClick(panel.field, Qt.Key.Key_Return)
    number = engine.client.last("findings")
    engine.client._emit(events.Progressed(number, 0.4, "Encoding"))
    qtbot.waitUntil(lambda: panel.where.text() == "Asking about “tree-in-bud” · encoding, 40 %", timeout=PATIENCE)
    panel.stop_button.click()
    assert engine.client.cancelled == [number]
    assert panel.where.text() == "Stopped."
    panel.field.setText("air crescent")
    qtbot.keyClick(panel.field, Qt.Key.Key_Return)
    assert engine.client.asked[engine.client.last("findings")][1]["prompts"] == ("air crescent",)


def test_only_the_finding_clicked_last_is_looked_for(analysed: Any, engine: Engine) -> None:
    for name in ("Emphysema", "Atelectasis"):
        analysed.answers.show_finding(name)
    assert [values["text"] for kind, values in engine.client.asked.values() if kind == "localise"] == ["Atelectasis"]


def test_a_bundle_without_decoder_says_so_in_the_masks_place(
    make_dock: Callable[..., Any], study: Path, engine: Engine, qtbot: Any
) -> None:
    engine.decoder = False
    dock = make_dock(study)
    analyse(dock, engine, qtbot)
    assert dock.screen.masks is None
    assert "no mask decoder" in dock.tabs.masks.note.text()
    assert "no report decoder" in dock.tabs.report.generated.text()


def test_a_failure_says_what_to_do_and_the_study_stays(dock: Any, engine: Engine, qtbot: Any) -> None:
    dock.analyse()
    engine.client.fail(OutOfResources("The engine ran out of memory.", code="out_of_memory"))
    qtbot.waitUntil(lambda: dock.state.phase == "failed", timeout=PATIENCE)
    assert "Close other programs" in dock.status.sentence.text()
    assert dock.screen.study in dock._viewer.layers
    assert dock.state.can_analyse


def test_without_a_model_analyse_says_why(make_dock: Callable[..., Any], study: Path, engine: Engine) -> None:
    from napari_colipri.errors import BundleError

    engine.bundle_error = BundleError("The file model.safetensors was changed.", code="changed")
    dock = make_dock(study)
    dock.status.analyse_button.click()
    assert dock.state.phase == "failed"
    assert dock.state.message == "The file model.safetensors was changed."
    assert "model.safetensors" in dock.status.model_note.text()


def test_a_second_analysis_keeps_what_was_painted_on_the_first(analysed: Any, engine: Engine, qtbot: Any) -> None:
    first = analysed.screen.masks
    first.data_setitem((np.array([3]), np.array([4]), np.array([5])), 4)
    analyse(analysed, engine, qtbot)
    assert analysed.screen.masks is not first
    assert first in analysed._viewer.layers
    assert not first.visible
    assert first.data[3, 4, 5] == 4


# ------------------------------------------------------------------------------------------------------ engine's end


def test_a_killed_engine_costs_one_sentence_and_a_click(analysed: Any, engine: Engine, qtbot: Any) -> None:
    analysed.tabs.report.editor.insertPlainText("My own words. ")
    analysed.analyse()
    engine.client.die()
    qtbot.waitUntil(lambda: analysed.state.phase == "failed", timeout=PATIENCE)
    assert analysed.state.restartable
    assert "starts again" in analysed.status.sentence.text()
    assert analysed.status.restart_button.isVisibleTo(analysed)
    started = engine.client.started
    analysed.status.restart_button.click()
    assert engine.client.started == started + 1
    assert analysed.state.phase == "done"
    assert "My own words." in analysed.tabs.report.text()
    assert analysed.screen.study in analysed._viewer.layers


# ----------------------------------------------------------------------------------------------------- look and feel


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.name)
def test_each_window_lies_on_its_key_and_on_its_button(make_dock: Callable[..., Any], study: Path, window: Any) -> None:
    dock = make_dock(study)
    viewer = dock._viewer
    viewer.keymap[next(key for key in viewer.keymap if str(key) == window.key)](viewer)
    assert tuple(dock.screen.study.contrast_limits) == window.limits
    assert dock.view.windows[window.name].isChecked()
    assert f"WW {window.width:.0f}" in dock.view.limits.text()
    assert dock.screen.canvas_texts()["window"].startswith(window.name)


def test_own_contrast_is_told_as_such(dock: Any) -> None:
    dock.screen.study.contrast_limits = (-200, 200)
    assert dock.view.limits.text() == "WW 400 · WL 0 HU (own setting)"
    assert not any(item.isChecked() for item in dock.view.windows.values())


def test_planes_and_their_letters(dock: Any) -> None:
    dock.view.planes["Coronal"].click()
    texts = dock.screen.canvas_texts()
    assert (texts["left"], texts["right"], texts["top"], texts["bottom"]) == ("R", "L", "S", "I")
    dock.view.planes["Sagittal"].click()
    texts = dock.screen.canvas_texts()
    assert (texts["left"], texts["right"], texts["top"], texts["bottom"]) == ("A", "P", "S", "I")
    dock.view.planes["3D"].click()
    assert not {"left", "right", "top", "bottom"} & set(dock.screen.canvas_texts())
    dock.view.planes["Axial"].click()
    assert dock.screen.canvas_texts()["left"] == "R"
    dock._viewer.scene.camera.orientation2d = ("down", "left")
    assert dock.screen.canvas_texts()["left"] == "L"


def test_3d_is_never_a_mirror_image_and_shows_more_than_white(dock: Any) -> None:
    viewer, study = dock._viewer, dock.screen.study
    dock.view.planes["Coronal"].click()
    viewer.dims.ndisplay = 3  # napari's own button
    assert np.linalg.det(np.eye(3)[list(viewer.dims.order)]) == pytest.approx(1.0)
    assert dock.view.windows["Bone"].isChecked()
    dock.view.planes["3D"].click()
    assert np.allclose(viewer.scene.camera.view_direction, (0, 1, 0), atol=1e-6)  # from the front to the back
    assert np.allclose(viewer.scene.camera.up_direction, (-1, 0, 0), atol=1e-6)  # the head is up
    dock.view.planes["Axial"].click()
    assert dock.view.windows["Lung"].isChecked()
    study.contrast_limits = (-200, 200)
    dock.view.planes["3D"].click()
    assert tuple(study.contrast_limits) == (-200, 200)


def test_the_status_bar_tells_millimetres_hu_and_class(analysed: Any) -> None:
    display = analysed.study.display
    heart = np.argwhere(np.asarray(analysed.screen.masks.data) == 3)[0]
    analysed._viewer.cursor.position = tuple(np.asarray(display.translate) + heart * np.asarray(display.scale))
    text = analysed.readout.text()
    assert text.endswith("HU · Heart")
    assert "mm" in text


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_dock_takes_the_colours_of_the_theme(dock: Any, theme: str) -> None:
    from napari_colipri.desktop.theme import palette_of

    dock._viewer.theme = theme
    assert palette_of(theme).text in dock.styleSheet()
    assert palette_of("dark").background != palette_of("light").background


# ------------------------------------------------------------------------------------------------------------ export


def test_the_report_is_exported_as_edited(analysed: Any, tmp_path: Path, qtbot: Any) -> None:
    editor = analysed.tabs.report.editor
    editor.setPlainText(analysed.tabs.report.text().replace("Cardiomegaly: suggested", "Cardiomegaly: not confirmed"))
    for name in ("report.md", "report.json"):
        analysed.exporter.write_report_to(tmp_path / name)
        qtbot.waitUntil(lambda name=name: (tmp_path / name).exists(), timeout=PATIENCE)
    assert "not confirmed" in (tmp_path / "report.md").read_text(encoding="utf-8")
    sentences = [
        sentence
        for section in json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["sections"]
        for sentence in section["sentences"]
    ]
    changed = [sentence for sentence in sentences if sentence["status"] == "edited"]
    assert [sentence["origin"] for sentence in changed] == ["findings"]


def test_all_results_are_exported_with_painted_masks(analysed: Any, tmp_path: Path, qtbot: Any) -> None:
    import nibabel as nib

    masks = analysed.screen.masks
    masks.data_setitem((np.array([0]), np.array([0]), np.array([0])), 4)
    folder = tmp_path / "out"
    analysed.exporter.write_all_to(folder)
    qtbot.waitUntil(lambda: "Writing" not in analysed.tabs.report.saved.text(), timeout=PATIENCE)
    assert sorted(os.listdir(folder)) == sorted(
        "passport.json findings.json segmentation.nii.gz segmentation.json similar.json report.json report.md run.json".split()  # noqa: E501, SIM905
    )
    written = nib.load(folder / "segmentation.nii.gz")
    volume = analysed.study.volume
    assert np.allclose(written.affine, volume.affine)
    # the display's first voxel is superior, anterior and right: the last slice of an LPS file
    assert np.asarray(written.dataobj)[0, 0, -1] == 4
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["input"]["fingerprint"] == volume.fingerprint
    assert str(tmp_path) not in json.dumps(run)


def test_an_export_can_be_stopped(analysed: Any, tmp_path: Path) -> None:
    panel = analysed.tabs.report
    analysed.exporter.write_all_to(tmp_path / "out")
    assert panel.stop_button.isVisibleTo(panel)
    panel.stop_button.click()
    assert panel.saved.text() == "Export stopped"
    assert not panel.stop_button.isVisibleTo(panel)
    assert analysed.jobs.running == 0


def test_a_heat_map_leaves_the_masks_their_edges_only(analysed: Any, qtbot: Any) -> None:
    assert analysed.screen.masks.contour == 0
    analysed.answers.show_finding("Cardiomegaly")
    qtbot.waitUntil(lambda: "Cardiomegaly" in analysed.screen.heats, timeout=PATIENCE)
    assert analysed.screen.masks.contour == 1
    analysed.view.planes["3D"].click()  # where napari would warn about contours
    assert analysed.screen.masks.contour == 0
    analysed._viewer.dims.ndisplay = 2
    assert analysed.screen.masks.contour == 1
    analysed.tabs.masks.outline_button.click()
    assert analysed.screen.masks.contour == 0
