"""A bundle says when a study lies outside of what it was trained on."""

from __future__ import annotations

from dataclasses import replace

from napari_colipri.ct.passport import Passport, reason
from napari_colipri.engine.config import TrainedOn
from napari_colipri.report.training_range import training_range_reasons
from tests.report.conftest import chest_volume
from tests.volumes import uneven_volume

#: The schematic chest covers 360 mm at 10 mm.
SEEN = TrainedOn(body="chest", spacing_mm=(0.5, 12.0), extent_mm=(90.0, 500.0))


def codes(volume, trained_on: TrainedOn) -> list[str]:  # type: ignore[no-untyped-def]
    return [item.code for item in training_range_reasons(volume, trained_on)]


def test_inside_the_range_there_is_nothing_to_say() -> None:
    assert codes(chest_volume(), SEEN) == []


def test_spacing_and_extent_are_compared_in_mm() -> None:
    thick = training_range_reasons(chest_volume(), SEEN.model_copy(update={"spacing_mm": (0.5, 8.0)}))
    assert [(item.code, item.value) for item in thick] == [("outside_training_range", 10.0)]
    assert "10.0 mm" in thick[0].message
    short = training_range_reasons(chest_volume(), SEEN.model_copy(update={"extent_mm": (400.0, 500.0)}))
    assert [item.value for item in short] == [360.0]
    assert all(item.analyse == "warn" and item.display == "ok" for item in (*thick, *short))


def test_uneven_slices_count_by_their_true_positions() -> None:
    volume = uneven_volume((3.0, 3.0, 3.0, 50.0, 3.0))
    found = training_range_reasons(volume, SEEN.model_copy(update={"extent_mm": (90.0, 500.0)}))
    assert [item.value for item in found] == [62.0]


def test_another_body_part_is_outside() -> None:
    odd = Passport((reason("wrong_body_part", "This is not a chest."),))
    assert codes(replace(chest_volume(), passport=odd), SEEN) == ["outside_training_range"]
