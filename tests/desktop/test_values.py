"""Windows, places, colours and the line under the cursor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_colipri.ct.display import to_display
from napari_colipri.desktop.heat import heat_on_display
from napari_colipri.desktop.layers import frame
from napari_colipri.desktop.loading import study_name
from napari_colipri.desktop.palette import COLOURS, class_colour
from napari_colipri.desktop.panels.findings import second_answer
from napari_colipri.desktop.readout import readout
from napari_colipri.desktop.windows import WINDOWS, describe_limits, matching_window, window_named
from napari_colipri.engine.types import Finding
from tests.desktop.fakes import heat_map
from tests.volumes import affine_for, make_volume, tilted_volume, volume_in


def test_the_five_windows_are_those_of_every_reading_room() -> None:
    assert {(w.name, w.level, w.width) for w in WINDOWS} == {
        ("Lung", -600, 1500),
        ("Mediastinum", 40, 400),
        ("Bone", 400, 1800),
        ("Liver", 60, 160),
        ("Brain", 40, 80),
    }
    assert len({window.key for window in WINDOWS}) == len(WINDOWS)


def test_their_keys_are_free_in_napari() -> None:
    from napari.utils.shortcuts import default_shortcuts

    taken = {str(key) for keys in default_shortcuts.values() for key in keys}
    assert not taken & {window.key for window in WINDOWS}


def test_contrast_limits_are_told_in_a_radiologists_words() -> None:
    limits = window_named("Lung").limits
    assert limits == (-1350, 150)
    assert describe_limits(limits) == "WW 1500 · WL −600 HU"
    assert matching_window(limits) == WINDOWS[0]
    assert matching_window((-1349, 150)) is None


@pytest.mark.parametrize("codes", [("L", "P", "S"), ("R", "A", "S"), ("P", "S", "R"), ("I", "L", "A")])
def test_the_line_under_the_cursor_is_the_same_in_every_orientation(codes: tuple[str, str, str]) -> None:
    volume = volume_in(codes)
    display = to_display(volume)
    world = display.ras_to_world((4.0, -3.0, 3.0))  # a voxel's centre in each of them
    line = readout(display, world, None, {})
    assert line == "R 4.0  P 3.0  S 3.0 mm · 38 HU"  # 3·4 − 5·3 + 7·3 + 20


def test_the_line_names_the_class_and_claims_no_side_it_does_not_know() -> None:
    shape = (6, 6, 6)
    volume = make_volume(affine_for("LPS", (2, 2, 2), shape), shape, orientation_known=False)
    display = to_display(volume)
    labels = np.full(shape, 3, np.uint8)
    line = readout(display, display.translate, labels, {3: "Heart"})
    assert line.endswith("HU · Heart")
    assert not any(letter in line.split("mm")[0] for letter in "RLAPSI")
    assert readout(display, (1e4, 0, 0), labels, {}) == ""


@pytest.mark.parametrize(
    "volume", [volume_in("LPS"), volume_in("RAS"), tilted_volume(12.0)], ids=["LPS", "RAS", "tilted"]
)
def test_a_heat_map_lies_on_axes_and_peaks_where_the_engine_says(volume: object) -> None:
    display = to_display(volume)  # type: ignore[arg-type]
    middle = display.world_to_ras(
        np.asarray(display.translate) + np.asarray(display.scale) * (np.asarray(display.data.shape) - 1) / 2
    )
    heat = heat_map(display.source, "nodule", tuple(float(x) for x in middle))
    drawn = heat_on_display(heat, display)
    where = np.unravel_index(np.nanargmax(drawn.values), drawn.values.shape)
    world = np.asarray(drawn.translate) + np.asarray(drawn.scale) * where
    assert np.abs(display.world_to_ras(world) - middle).max() <= 20.0  # one token of the fake engine
    low = np.asarray(drawn.translate) - np.asarray(drawn.scale) / 2
    assert low == pytest.approx(np.asarray(display.translate) - np.asarray(display.scale) / 2)
    assert drawn.limits[0] < drawn.limits[1]


def test_outside_the_image_a_heat_map_is_nothing() -> None:
    volume = volume_in("LPS")
    heat = heat_map(volume, "x")
    heat.values[0] = np.nan
    drawn = heat_on_display(heat, to_display(volume))
    assert np.isnan(drawn.values).any()
    assert np.isfinite(drawn.values).any()


def test_every_layer_gets_the_same_frame() -> None:
    display = to_display(volume_in("RAS"))
    kwargs = frame(display)
    assert kwargs["units"] == ("mm",) * 3
    assert kwargs["axis_labels"] == ("S→I", "A→P", "R→L")
    assert kwargs["scale"] == display.scale
    assert frame(display, scale=(4, 4, 4))["scale"] == (4.0, 4.0, 4.0)


def test_class_colours_differ_and_repeat_only_after_all_are_used() -> None:
    assert len(set(COLOURS)) == len(COLOURS) >= 16
    assert class_colour(1).tolist() != class_colour(2).tolist()
    assert class_colour(1).tolist() == class_colour(1 + len(COLOURS)).tolist()


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/chest.nii.gz", "chest"), ("/a/case7/dicom", "case7"), ("/a/x.nrrd", "x"), ("/a/IM0001", "IM0001")],
)
def test_a_study_is_called_after_its_file_or_folder(path: str, name: str) -> None:
    assert study_name(path) == name


def test_a_probe_is_named_as_a_second_answer() -> None:
    plain = Finding("Emphysema", 0.4, ("a",), ("b",))
    assert second_answer(plain) == ""
    told = {"probability": 0.73, "threshold": 0.4, "called": True, "calibration": None}
    assert (
        second_answer(replace(plain, probe=told)) == "Probe, a second answer: 0.73, uncalibrated; above its threshold"
    )
    told |= {"called": False, "calibration": {"set": "2026 phantoms"}}
    assert "calibrated on 2026 phantoms; below" in second_answer(replace(plain, probe=told))
