"""What voxels show: HU or not, a chest or not, and how much of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_colipri.ct.checks import voxel_reasons
from napari_colipri.ct.geometry import measure
from napari_colipri.ct.volume import CTVolume, Source
from tests.volumes import ORIENTATIONS, affine_for, chest, volume_in

SHAPE = (72, 56, 72)


def whole(hu: np.ndarray, spacing_mm: tuple[float, float, float] = (5.0, 5.0, 5.0)) -> CTVolume:
    affine = affine_for("LPS", spacing_mm, hu.shape)
    return CTVolume(hu, affine, measure(hu.shape, affine), Source("nifti", "a.nii"))


def chest_hu() -> np.ndarray:
    volume = volume_in("LPS", shape_ras=SHAPE, spacing_ras=(5.0, 5.0, 5.0), anatomy=chest)
    noise = np.random.default_rng(0).normal(0, 15, SHAPE)
    return np.clip(volume.hu + noise, -1024, 3000).astype(np.int16)


def codes(hu: np.ndarray, spacing_mm: tuple[float, float, float] = (5.0, 5.0, 5.0)) -> list[str]:
    return [item.code for item in voxel_reasons(whole(hu, spacing_mm))]


def test_a_chest_gives_no_reason() -> None:
    assert codes(chest_hu()) == []


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_the_answer_does_not_depend_on_how_the_axes_are_stored(orientation: tuple[str, str, str]) -> None:
    volume = volume_in(orientation, shape_ras=SHAPE, spacing_ras=(5.0, 5.0, 5.0), anatomy=chest)
    assert voxel_reasons(volume) == []


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("8-bit picture", lambda hu: np.clip((hu + 1000) / 1400 * 255, 0, 255).astype(np.int16)),
        ("slope and intercept", lambda hu: (hu + 1024).astype(np.int16)),
        ("span only", lambda hu: (np.clip(hu, -1000, 1000) / 1000).astype(np.float32)),
        ("display window", lambda hu: np.clip(hu, -160, 240).astype(np.int16)),
        (
            "intercept was probably applied twice",
            lambda hu: np.maximum(hu.astype(np.int32) - 1024, -1024).astype(np.int16),
        ),
        ("mask", lambda hu: (hu > 300).astype(np.int16) * 117),
        ("air peaks at", lambda hu: (hu - 300).astype(np.int16)),
    ],
)
def test_values_that_are_not_hu_are_named(name: str, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
    (found,) = voxel_reasons(whole(spoil(chest_hu())))
    assert found.code == "not_hu"
    assert name in found.message
    assert (found.display, found.analyse) == ("warn", "refuse")


def test_a_crop_inside_the_body_is_hu_although_no_air_is_in_it() -> None:
    fat_and_liver = np.random.default_rng(0).normal(-20, 50, (50, 50, 50)).astype(np.int16)
    assert codes(fat_and_liver) == []


def test_a_crop_inside_a_lung_is_hu_although_no_air_peak_is_in_it() -> None:
    lung = np.random.default_rng(0).normal(-820, 60, (50, 50, 50))
    lung[20:24, 20:24] = 30
    assert codes(lung.astype(np.int16)) == []


def test_scanner_padding_far_below_air_does_not_count_as_an_air_peak() -> None:
    hu = chest_hu()
    hu[:6, :6] = -3024
    assert codes(hu) == []


def test_an_abdomen_with_the_bases_of_the_lungs_is_no_chest() -> None:
    volume = whole(chest_hu())
    low = volume.hu[:, :, :36]  # up to a quarter of the lungs, which begin at slice 18
    padded = np.concatenate([np.repeat(low[:, :, 4:5], 30, axis=2), low[:, :, 4:28]], axis=2)
    (found,) = voxel_reasons(whole(padded))
    assert found.code == "wrong_body_part"
    assert "bases" in found.message


def test_a_body_without_lung_is_no_chest() -> None:
    hu = chest_hu()
    hu[(hu < -400) & (np.abs(np.arange(SHAPE[2]) - 36) < 34) & (_inside_body())] = 40
    (found,) = voxel_reasons(whole(hu))
    assert found.code == "wrong_body_part"
    assert "No lung" in found.message


def _inside_body() -> np.ndarray:
    x, y, z = np.meshgrid(*[np.arange(size) - (size - 1) / 2 for size in SHAPE], indexing="ij")
    return (x * 5 / 150) ** 2 + (y * 5 / 100) ** 2 + (z * 5 / 160) ** 2 <= 0.98


@pytest.mark.parametrize(
    ("spacing_mm", "small"), [((5.0, 5.0, 5.0), False), ((2.0, 2.0, 5.0), True), ((5.0, 5.0, 0.5), True)]
)
def test_a_small_field_of_view_is_named_in_mm(spacing_mm: tuple[float, float, float], small: bool) -> None:
    assert ("small_field_of_view" in codes(chest_hu(), spacing_mm)) is small


@pytest.mark.parametrize(("kept", "end"), [(slice(40, 72), "lower"), (slice(24, 46), "upper and lower")])
def test_lungs_that_run_out_of_view_are_named_with_the_end(kept: slice, end: str) -> None:
    hu = chest_hu()[:, :, kept]
    (found,) = voxel_reasons(whole(hu, (5.0, 5.0, 5.0)))
    assert found.code == "small_field_of_view"
    assert "Only a part of the lungs" in found.message
    assert f"cut at the {end} end" in found.message


def test_a_single_slice_is_not_judged_for_its_extent() -> None:
    assert codes(chest_hu()[:, :, 36:37]) == []
