"""A dock in a real napari window, a scripted engine behind it, and a small chest on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.desktop.fakes import Engine
from tests.volumes import affine_for, chest, make_volume

#: Longest wait for something that happens in a thread, ms. Nothing waits this long unless it fails.
PATIENCE = 20_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(Path(__file__).parent)
    screen = sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    for item in items:
        if not str(item.path).startswith(here):
            continue
        if {"make_dock", "dock", "qtbot"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.desktop)
            if not screen:
                item.add_marker(pytest.mark.skip(reason="no display: run it under xvfb-run"))


@pytest.fixture
def engine() -> Engine:
    """The scripted engine that the dock talks to."""
    return Engine()


def write_chest(path: Path, *, sform: int = 1, shape: tuple[int, int, int] = (64, 48, 56)) -> Path:
    """A chest of 5 mm voxels as NIfTI; with ``sform=0`` it stores no orientation."""
    volume = make_volume(affine_for("LPS", (5.0, 5.0, 6.0), shape), shape, chest, dtype=np.int16)
    image = nib.Nifti1Image(np.asarray(volume.hu), volume.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.affine, sform)
    image.set_qform(volume.affine, 0)
    nib.save(image, path)
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A small chest on disk."""
    return write_chest(tmp_path / "chest-01.nii.gz")


@pytest.fixture
def make_dock(make_napari_viewer: Callable[..., Any], qtbot: Any, engine: Engine) -> Callable[..., Any]:
    """Make a viewer with the dock in it; with a path, the study is on screen when it returns."""
    from napari_colipri.desktop.widget import ColipriWidget

    def make(path: Path | None = None, *, show: bool = False) -> Any:
        viewer = make_napari_viewer(show=show)
        dock = ColipriWidget(viewer, engine.services())
        viewer.window.add_dock_widget(dock, name="COLIPRI", area="right")
        qtbot.waitUntil(lambda: dock.model.bundle is not None or dock.model.problem is not None, timeout=PATIENCE)
        if path is not None:
            dock.open_study(path)
            qtbot.waitUntil(lambda: dock.state.phase != "opening", timeout=PATIENCE)
        return dock

    return make


@pytest.fixture
def dock(make_dock: Callable[..., Any], study: Path) -> Any:
    """A dock with the small chest on screen."""
    return make_dock(study)


@pytest.fixture
def analysed(dock: Any, engine: Engine, qtbot: Any) -> Any:
    """A dock with every answer about the small chest."""
    analyse(dock, engine, qtbot)
    return dock


def analyse(dock: Any, engine: Engine, qtbot: Any) -> None:
    """Press Analyse and let the scripted engine answer everything."""
    dock.status.analyse_button.click()
    assert dock.state.phase == "busy"
    engine.client.answer_analysis()
    qtbot.waitUntil(lambda: "localise" in [kind for kind, _ in engine.client.asked.values()], timeout=PATIENCE)
    engine.client.answer_places()
    qtbot.waitUntil(lambda: dock.state.phase == "done", timeout=PATIENCE)
