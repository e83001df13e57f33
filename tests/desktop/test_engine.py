"""The dock with the real engine's process behind it, on a tiny random bundle."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_colipri.desktop.services import Services
from tests.bundles import write_tiny_bundle
from tests.desktop.fakes import FakeLibrary

#: torch is imported anew in the engine's process: seconds on a good day, more on a busy one. ms.
STARTING = 120_000


@pytest.mark.skipif(sys.platform == "win32", reason="ends a process by a POSIX signal")
def test_open_analyse_look_kill_and_go_on(
    make_napari_viewer: Callable[..., Any], study: Path, tmp_path: Path, qtbot: Any
) -> None:
    from napari_colipri.desktop.widget import ColipriWidget
    from napari_colipri.engine.bundle import open_bundle

    folder = write_tiny_bundle(tmp_path / "tiny")
    viewer = make_napari_viewer()
    dock = ColipriWidget(viewer, Services(bundle=lambda _name: open_bundle(folder), library=FakeLibrary))
    viewer.window.add_dock_widget(dock, name="COLIPRI")
    dock.open_study(study, then=dock.analyse)
    qtbot.waitUntil(lambda: dock.state.phase in ("done", "failed", "refused"), timeout=STARTING)
    assert dock.state.phase == "done", dock.state

    assert "Tiny random model" in dock.status.model_line.text()
    assert "running on CPU" in dock.status.model_line.text()
    assert dock.tabs.findings.model.rowCount() > 0
    assert [line[0] for line in dock.tabs.masks.rows()] == ["Left lung", "Right lung", "Heart"]
    shown = np.asarray(dock.study.display.source_labels_to_display(dock.run.results.segmentation.labels))
    assert np.array_equal(dock.screen.masks.data, shown)

    name = dock.tabs.findings.model.items()[0].name
    dock.answers.show_finding(name)
    qtbot.waitUntil(lambda: name in dock.screen.heats, timeout=STARTING)
    peak = dock.study.display.ras_to_world(dock.screen.heats[name].value.peak_mm)
    assert np.abs(np.asarray(viewer.dims.point) - peak).max() <= 3.0

    dock.tabs.report.editor.insertPlainText("Mine. ")
    os.kill(dock.bridge._client.pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: dock.state.phase == "failed", timeout=STARTING)
    assert dock.state.restartable
    dock.restart_engine()
    qtbot.waitUntil(lambda: "running on" in dock.status.model_line.text(), timeout=STARTING)
    assert dock.state.phase == "done"
    assert dock.tabs.report.text().startswith("Mine. ")
