"""The model grid equals the public processor's, lies where its affine says, and costs no copy of the volume."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.config import InputSpec
from napari_colipri.engine.preprocess import PREPROCESS_VERSION, reorient, to_model_grid
from napari_colipri.engine.types import ModelGrid
from tests.volumes import (
    ORIENTATIONS,
    affine_for,
    chest,
    make_volume,
    ramp,
    sheared_volume,
    tilted_volume,
    uneven_volume,
    volume_in,
)

Public = Callable[[CTVolume, InputSpec], tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]]

SMALL = InputSpec("RAS", (5.0, 5.0, 5.0), (16, 16, 16))
OFFICIAL = InputSpec("RAS", (2.0, 2.0, 2.0), (192, 192, 192), preset="colipri-0.1.3")


@pytest.fixture(scope="session")
def public() -> Public:
    """The processor of the public package, asked for any grid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies' own
        import torch
        from colipri.processor import get_processor, tio

    def process(volume: CTVolume, spec: InputSpec) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            processor = get_processor(
                image_only=True, orientation=spec.axis_order, spacing=spec.spacing_mm[0], input_size=spec.size[0]
            )
            tensor = torch.from_numpy(np.ascontiguousarray(volume.hu))[None]
            image = processor.process_images(tio.ScalarImage(tensor=tensor, affine=volume.affine))[0]
        return image.data[0].numpy(), image.affine

    return process


def _textured(volume: CTVolume, *, low: int = -1400, high: int = 1400, seed: int = 0) -> CTVolume:
    """The same grid, filled with noise that reaches beyond the window."""
    values = np.random.default_rng(seed).integers(low, high, volume.hu.shape).astype(volume.hu.dtype)
    return replace(volume, hu=np.asfortranarray(values))


def _assert_equal(grid: ModelGrid, expected: tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]) -> None:
    assert grid.values.dtype == np.float32
    assert grid.values.shape == expected[0].shape
    assert float(np.abs(grid.values - expected[0]).max()) <= 1e-5
    np.testing.assert_allclose(grid.affine, expected[1], atol=1e-9)


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_equals_the_public_processor_in_every_orientation(codes: tuple[str, str, str], public: Public) -> None:
    volume = _textured(volume_in(codes, shape_ras=(37, 48, 26), spacing_ras=(2.1, 2.3, 3.2)))
    _assert_equal(to_model_grid(volume, SMALL), public(volume, SMALL))


def test_equals_the_public_processor_in_the_other_axis_order(public: Public) -> None:
    spec = replace(SMALL, axis_order="SAR")
    volume = _textured(volume_in(("L", "P", "S"), shape_ras=(37, 48, 26), spacing_ras=(2.1, 2.3, 3.2)))
    _assert_equal(to_model_grid(volume, spec), public(volume, spec))


@pytest.mark.parametrize(("degrees", "axis"), [(12.0, (1, 0, 0)), (38.0, (0, 0, 1)), (25.0, (1, 2, 3))])
def test_rotated_volumes_are_sampled_along_their_own_axes(
    degrees: float, axis: tuple[int, int, int], public: Public
) -> None:
    volume = _textured(tilted_volume(degrees, axis, shape=(30, 40, 25)))
    _assert_equal(to_model_grid(volume, SMALL), public(volume, SMALL))


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 9.0), (5.0, 5.0, 5.0), (4.0, 6.0, 0.3)])
def test_thick_equal_and_thin_slices(spacing: tuple[float, float, float], public: Public) -> None:
    shape = (50, 33, 20)
    volume = _textured(make_volume(affine_for("LPS", spacing, shape, (3.0, -20.0, 110.0)), shape))
    _assert_equal(to_model_grid(volume, SMALL), public(volume, SMALL))


def test_padding_is_the_minimum_of_what_was_cropped_too(public: Public) -> None:
    volume = _textured(
        volume_in(("R", "A", "S"), shape_ras=(60, 20, 20), spacing_ras=(5.0, 2.0, 2.0)), low=100, high=900
    )
    hu = volume.hu.copy()
    hu[:10] -= 700  # the lowest values lie where the crop removes them
    volume = replace(volume, hu=hu)
    grid = to_model_grid(volume, SMALL)
    inside = grid.values[tuple(slice(*pair) for pair in grid.inside)]
    assert grid.values.min() < inside.min()
    _assert_equal(grid, public(volume, SMALL))


def test_integer_hu_reproduces_the_truncation_of_the_public_chain(public: Public) -> None:
    volume = _textured(
        volume_in(("L", "P", "S"), shape_ras=(37, 48, 26), spacing_ras=(2.1, 2.3, 3.2), dtype=np.int16),
        low=-900,
        high=900,
    )
    expected = public(volume, SMALL)[0]
    got = to_model_grid(volume, replace(SMALL, integer_hu=True)).values
    exact = to_model_grid(volume, SMALL).values * 1000.0
    near_an_integer = np.abs(exact - np.round(exact)) < 1e-3
    assert np.abs(got - expected)[~near_an_integer].max() <= 1e-6
    assert near_an_integer.mean() < 0.05
    assert np.abs(to_model_grid(volume, SMALL).values - expected).max() > 5e-4, "without it the two differ"


def test_integer_hu_leaves_float_volumes_alone() -> None:
    volume = _textured(volume_in(("L", "P", "S"), shape_ras=(20, 20, 20)))
    spec = replace(SMALL, integer_hu=True)
    np.testing.assert_array_equal(to_model_grid(volume, spec).values, to_model_grid(volume, SMALL).values)


def test_integer_hu_keeps_a_region_of_one_value() -> None:
    volume = make_volume(affine_for("LPS", (2.3, 1.7, 3.1), (40, 50, 30)), (40, 50, 30), dtype=np.int16)
    volume = replace(volume, hu=np.full_like(volume.hu, -37))
    grid = to_model_grid(volume, replace(SMALL, integer_hu=True))
    assert np.unique(np.round((grid.values + 1) * 1000 - 1000, 2)).tolist() == [-37.0]


def _ramp_hu(grid: ModelGrid) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """HU found inside the image, and those of the ramp at the points where the affine puts the voxels."""
    index = np.moveaxis(np.indices(grid.values.shape), 0, -1)
    expected = ramp(index @ grid.affine[:3, :3].T + grid.affine[:3, 3])
    found = grid.values.astype(np.float64) * 1000
    inside = tuple(slice(*pair) for pair in grid.inside)
    return found[inside], expected[inside]


FINE = InputSpec("RAS", (3.0, 3.0, 3.0), (16, 16, 16))


@pytest.mark.parametrize("order", ["RAS", "SAR", "LPI", "IPL"])
@pytest.mark.parametrize(
    "volume",
    [volume_in(("P", "I", "R")), tilted_volume(20.0, (1, 1, 0)), uneven_volume()],
    ids=["straight", "rotated", "uneven"],
)
def test_values_lie_where_the_affine_says(volume: CTVolume, order: str) -> None:
    found, expected = _ramp_hu(to_model_grid(volume, replace(FINE, axis_order=order)))
    # the outermost half voxel repeats the edge
    middle = (slice(1, -1),) * 3
    np.testing.assert_allclose(found[middle], expected[middle], atol=0.05)


@pytest.mark.parametrize("volume", [sheared_volume(18.0), uneven_volume(tilt_degrees=15.0)], ids=["even", "uneven"])
def test_sheared_volumes_are_sampled_at_their_true_points(volume: CTVolume) -> None:
    grid = to_model_grid(volume, FINE)
    found, expected = _ramp_hu(grid)
    image = found > -1000  # air surrounds what the tilted slices cover
    assert 0.2 < image.mean() < 1.0
    # a ramp stays linear, so interpolation is exact but for edges that are repeated
    assert np.median(np.abs(found - expected)[image]) < 1.0
    assert np.quantile(np.abs(found - expected)[image], 0.8) < 1.0
    assert grid.values.min() == -1.0


def test_anatomy_keeps_its_side() -> None:
    shape = (80, 60, 60)
    volume = make_volume(affine_for("LPS", (4.5, 4.0, 6.0), shape), shape, chest, dtype=np.int16)
    grid = to_model_grid(volume, InputSpec("RAS", (5.0, 5.0, 5.0), (72, 72, 72)))
    nodule = np.linalg.inv(grid.affine) @ np.array([80.0, 10.0, 50.0, 1.0])
    x, y, z = np.round(nodule[:3]).astype(int)
    assert grid.values[x, y, z] > -0.2
    assert grid.values[71 - x, y, z] < -0.5, "the other lung has none there"


def test_voxels_without_a_value_become_the_low_end_of_the_window() -> None:
    volume = volume_in(("R", "A", "S"), shape_ras=(20, 20, 20))
    hu = np.full(volume.hu.shape, 50, np.float32)
    hu[10, 10, 10] = np.nan
    grid = to_model_grid(replace(volume, hu=hu), FINE)
    assert np.isfinite(grid.values).all()
    assert grid.values.min() == -1.0


def test_a_single_slice_and_an_extent_below_one_voxel_keep_one_voxel() -> None:
    grid = to_model_grid(make_volume(affine_for("LPS", (2, 2, 5), (20, 20, 1)), (20, 20, 1)), SMALL)
    assert grid.inside[2] == (8, 9)
    tiny = to_model_grid(make_volume(affine_for("LPS", (2, 2, 0.5), (20, 20, 4)), (20, 20, 4)), SMALL)
    assert tiny.inside[2] == (8, 9)
    assert np.isfinite(tiny.values).all()


def test_reorientation_is_a_view() -> None:
    volume = volume_in(("P", "I", "L"))
    view, affine = reorient(volume.hu, volume.affine, "RAS")
    assert np.shares_memory(view, volume.hu)
    assert (np.sign(np.diag(affine)[:3]) == 1).all()


def test_memory_is_that_of_the_grid_and_some_planes() -> None:
    shape = (256, 256, 160)
    volume = make_volume(affine_for("LPS", (1.0, 1.0, 1.0), (4, 4, 4)), (4, 4, 4), dtype=np.int16)
    hu = np.zeros(shape, np.int16, order="F")
    hu.setflags(write=False)
    volume = replace(volume, hu=hu, geometry=replace(volume.geometry, shape=shape))
    tracemalloc.start()
    try:
        to_model_grid(volume, InputSpec("RAS", (4.0, 4.0, 4.0), (64, 64, 64)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < hu.nbytes / 4, "21 MB of voxels must not be copied"


def test_the_version_is_part_of_the_cache_key() -> None:
    assert PREPROCESS_VERSION == 1


@pytest.mark.parametrize(
    "path",
    [
        "lungfcp-01-0001/dicom",
        "crlm-1004/crlm-1004_-1004_STANDARD_1.nii.gz",
        "lungdx/lungdx_A0001_L_0.nii.gz",
    ],
)
def test_equals_the_public_processor_on_patients(path: str, real_data: Path, public: Public) -> None:
    from napari_colipri.ct.open import open_volume

    volume = open_volume(real_data / path)
    as_float = replace(volume, hu=volume.hu.astype(np.float32))
    _assert_equal(to_model_grid(volume, OFFICIAL), public(as_float, OFFICIAL))
    truncated = public(volume, OFFICIAL)[0]
    exact = to_model_grid(volume, OFFICIAL).values * 1000.0
    away = np.abs(exact - np.round(exact)) >= 1e-3
    got = to_model_grid(volume, replace(OFFICIAL, integer_hu=True)).values
    assert np.abs(got - truncated)[away].max() <= 1e-6
