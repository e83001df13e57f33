"""Opening fast and closing clean: nothing heavy is imported, nothing survives the window."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.desktop.fakes import Engine

HEAVY = (
    "torch",
    "monai",
    "transformers",
    "colipri",
    "torchio",
    "SimpleITK",
    "nibabel",
    "pydicom",
    "faiss",
    "napari_colipri.training",
)


def test_the_dock_opens_without_anything_heavy() -> None:
    script = (
        "import sys; import napari_colipri.desktop.widget, napari_colipri.desktop.services; "
        "import napari_colipri.engine.client, napari_colipri.engine.bundle, napari_colipri.desktop.launch; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.desktop
def test_after_an_analysis_the_networks_are_still_not_in_this_process(study: Path) -> None:
    script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from qtpy.QtWidgets import QApplication
from tests.desktop.fakes import Engine
from napari_colipri.desktop.launch import open_viewer
engine = Engine()
viewer, dock = open_viewer({str(study)!r}, analyse=True, services=engine.services())
end = time.monotonic() + 60
while dock.state.phase != "done" and time.monotonic() < end:
    QApplication.processEvents()
    kinds = {{kind for kind, _ in engine.client.asked.values()}}
    if "analyse" in kinds:
        engine.client.answer_analysis()
    engine.client.answer_places()
print(dock.state.phase, [n for n in ("torch", "monai", "transformers", "colipri", "torchio") if n in sys.modules])
viewer.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip().endswith("done []"), done.stdout + done.stderr


def survivors(dock: Any) -> dict[str, weakref.ref[Any]]:
    """Weak references to everything that must not outlive the window."""
    out = {
        "dock": weakref.ref(dock),
        "screen": weakref.ref(dock.screen),
        "run": weakref.ref(dock.run),
        "bridge": weakref.ref(dock.bridge),
    }
    if dock.study is not None:
        out["volume"] = weakref.ref(dock.study.volume)
        out["voxels"] = weakref.ref(dock.study.volume.hu)
        out["display"] = weakref.ref(dock.study.display)
    if dock.screen.masks is not None:
        out["masks"] = weakref.ref(dock.screen.masks)
        out["results"] = weakref.ref(dock.run.results)
    return out


def still_alive(references: dict[str, weakref.ref[Any]]) -> dict[str, list[str]]:
    """Names of what is alive, each with the types of what holds it."""
    gc.collect()
    alive = [(name, reference()) for name, reference in references.items() if reference() is not None]
    return {name: [str(type(holder))[:60] for holder in gc.get_referrers(thing)] for name, thing in alive}


def close_window(viewer: Any, qtbot: Any) -> None:
    viewer.close()
    delete_now()


def delete_now() -> None:
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    for _ in range(3):
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        QApplication.processEvents()


def fresh(engine: Engine, study: Path, qtbot: Any) -> tuple[Any, Any]:
    from napari_colipri.desktop.launch import open_viewer

    viewer, dock = open_viewer(str(study), services=engine.services())
    qtbot.waitUntil(lambda: dock.state.phase == "ready", timeout=20_000)
    return viewer, dock


def used_window(engine: Engine, study: Path, qtbot: Any) -> tuple[Any, dict[str, weakref.ref[Any]]]:
    """A window in which everything has been done once, and weak references into it."""
    from tests.desktop.conftest import analyse

    viewer, dock = fresh(engine, study, qtbot)
    analyse(dock, engine, qtbot)
    dock.answers.show_finding("Cardiomegaly")
    qtbot.waitUntil(lambda: bool(dock.screen.heats), timeout=20_000)
    return viewer, survivors(dock)


def test_nothing_survives_the_window(make_napari_viewer: Any, engine: Engine, study: Path, qtbot: Any) -> None:
    viewer, references = used_window(engine, study, qtbot)
    close_window(viewer, qtbot)
    assert engine.client.closed
    del viewer
    assert still_alive(references) == {}


def test_the_window_may_be_closed_while_busy(make_napari_viewer: Any, engine: Engine, study: Path, qtbot: Any) -> None:
    viewer, dock = fresh(engine, study, qtbot)
    dock.analyse()
    client = engine.client
    references = survivors(dock)
    late = client._emit
    close_window(viewer, qtbot)
    assert client.closed
    from napari_colipri.engine import events

    late(events.Progressed(1, 0.5, "too late"))  # the client's thread may be in the middle of telling
    del viewer, dock, late
    assert still_alive(references) == {}


def test_the_window_may_be_closed_while_opening(
    make_napari_viewer: Any, engine: Engine, study: Path, qtbot: Any
) -> None:
    from napari_colipri.desktop.launch import open_viewer

    viewer, dock = open_viewer(str(study), services=engine.services())
    assert dock.state.phase == "opening"
    references = survivors(dock)
    jobs = dock.jobs
    close_window(viewer, qtbot)
    assert jobs.running == 0
    del viewer, dock, jobs
    qtbot.waitUntil(lambda: still_alive(references) == {}, timeout=20_000)


def test_closing_the_dock_alone_leaves_the_viewer_as_it_was(
    make_dock: Any, study: Path, engine: Engine, qtbot: Any
) -> None:
    dock = make_dock(study)
    viewer = dock._viewer
    keys = {str(key) for key in viewer.keymap}
    assert "F5" in keys
    viewer.window.remove_dock_widget(dock)
    dock.close()
    dock.deleteLater()
    delete_now()
    assert engine.client.closed
    assert "F5" not in {str(key) for key in viewer.keymap}
    assert not [name for name in viewer.canvas.overlays if name.startswith("napari_colipri")]
    assert [layer.name for layer in viewer.layers] == ["chest-01"]


def test_typing_is_saved_when_the_window_closes_at_once(
    make_napari_viewer: Any, engine: Engine, study: Path, qtbot: Any
) -> None:
    from napari_colipri.desktop.drafts import load_draft
    from tests.desktop.conftest import analyse

    viewer, dock = fresh(engine, study, qtbot)
    analyse(dock, engine, qtbot)
    dock.tabs.report.editor.insertPlainText("Last words.\n")
    fingerprint = dock.study.volume.fingerprint
    close_window(viewer, qtbot)
    saved = load_draft(fingerprint)
    assert saved is not None
    assert "Last words." in saved.text
