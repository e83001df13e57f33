"""A folder with several series: the user is asked, the command line takes the largest and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_colipri.ct.open import open_volume
from napari_colipri.desktop.loading import load_study
from napari_colipri.desktop.panels.study import facts
from napari_colipri.desktop.series import SeveralSeries
from napari_colipri.progress import CancelToken, report_nothing
from tests.desktop.conftest import PATIENCE
from tests.dicom_files import stored_chest, write_series

ROOT = "1.2.826.0.1.3680043.8.498."


def named(description: str, kernel: str = "", image_type: str = "AXIAL") -> Callable[[Any, int], None]:
    """Return an edit that gives every image of a series these values."""

    def edit(image: Any, _number: int) -> None:
        image.SeriesDescription = description
        image.ConvolutionKernel = kernel
        image.ImageType = ["ORIGINAL", "PRIMARY", image_type]

    return edit


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Two volumes, a test slice and a localizer."""
    folder = tmp_path / "study"
    write_series(folder, stored_chest(6), spacing_mm=20.0, series=ROOT + "31", edit=named("Soft 20 mm", "B30f"))
    write_series(folder, stored_chest(12), series=ROOT + "32", edit=named("Lung 10 mm", "B70f"))
    write_series(folder, stored_chest(1), series=ROOT + "33", edit=named("Test slice"))
    write_series(folder, stored_chest(1), series=ROOT + "34", edit=named("Scout", image_type="LOCALIZER"))
    return folder


def test_the_list_says_what_tells_series_apart(several: Path) -> None:
    with pytest.raises(SeveralSeries) as asked:
        load_study(several, report_nothing, CancelToken(), ask=True)
    assert [(choice.title, choice.detail) for choice in asked.value.choices] == [
        ("Lung 10 mm", "12 slices, 10 mm apart, pixels of 8.00 × 7.00 mm, axial, kernel B70f"),
        ("Soft 20 mm", "6 slices, 20 mm apart, pixels of 8.00 × 7.00 mm, axial, kernel B30f"),
    ]
    assert asked.value.left_out == "Left out: 1 CT image in a series too short for a volume, 1 localizer."
    assert "Lung" not in repr(asked.value.choices)  # free text: for the screen, not for a log


def test_without_anybody_to_ask_the_largest_is_read_and_the_passport_says_so(several: Path) -> None:
    volume = open_volume(several)
    assert volume.hu.shape[2] == 12
    assert "other_series" in {item.code for item in volume.passport.reasons}


def test_one_series_is_opened_without_a_question(make_dock: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_series(folder)
    write_series(folder, stored_chest(1), series=ROOT + "34", edit=named("Scout", image_type="LOCALIZER"))
    assert make_dock(folder).state.phase == "ready"


def test_the_dock_asks_and_opens_what_was_chosen(make_dock: Callable[..., Any], several: Path, qtbot: Any) -> None:
    dock = make_dock(several)
    panel = dock.panels.series
    assert dock.state.phase == "choosing"
    assert panel.isVisibleTo(dock)
    assert not dock.tabs.isVisibleTo(dock)
    assert panel.list.currentRow() == 0
    assert panel.texts()[0].startswith("Lung 10 mm\n12 slices")
    panel.list.setCurrentRow(1)
    panel.open_button.click()
    qtbot.waitUntil(lambda: dock.state.phase == "ready", timeout=PATIENCE)
    assert dock.study.volume.hu.shape[2] == 6
    assert dock.study.volume.source.kernel == "B30f"
    assert dock.tabs.isVisibleTo(dock)
    assert ("Kernel", "B30f") in facts(dock.study.volume.passport)


def test_the_question_can_be_left(make_dock: Callable[..., Any], study: Path, several: Path, qtbot: Any) -> None:
    dock = make_dock(study)
    dock.open_study(several, then=dock.analyse)
    qtbot.waitUntil(lambda: dock.state.phase == "choosing", timeout=PATIENCE)
    dock.status.cancel_button.click()
    assert dock.state.phase == "ready"
    assert dock.state.study == "chest-01"
    assert dock.tabs.isVisibleTo(dock)
    dock.panels.series.chosen.emit(ROOT + "31")  # too late
    assert dock.state.phase == "ready"


def test_what_should_follow_opening_follows_the_choice(
    make_dock: Callable[..., Any], several: Path, qtbot: Any
) -> None:
    dock = make_dock()
    dock.open_study(several, then=dock.analyse)
    qtbot.waitUntil(lambda: dock.state.phase == "choosing", timeout=PATIENCE)
    dock.panels.series.open_button.click()
    qtbot.waitUntil(lambda: dock.state.phase == "busy", timeout=PATIENCE)
