"""Findings planted into a scan that the painters did not make."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from training.phantom.cli import app
from training.phantom.findings import BIT
from training.phantom.plant import PLANTABLE, plant_into, sham_edit
from training.phantom.real_scan import lung_sides


def scan(flip: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two ellipsoids of noisy lung in soft tissue, 3 mm voxels; affine towards left and back if ``flip``."""
    rng = np.random.default_rng(0)
    hu = np.full((96, 72, 80), 40, np.int16)
    x, y, z = np.meshgrid(*[np.arange(n) for n in hu.shape], indexing="ij")
    lungs = np.zeros(hu.shape, np.uint8)
    for side, at in ((1, 26), (2, 70)):
        lungs[((x - at) / 19) ** 2 + ((y - 36) / 28) ** 2 + ((z - 40) / 36) ** 2 < 1] = side
    hu[lungs > 0] = -850
    hu = (hu + rng.normal(0, 12, hu.shape)).astype(np.int16)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-150, -80, 900)
    if not flip:
        return hu, lungs, affine
    turned = np.diag([-3.0, -3.0, 3.0, 1.0])
    turned[:3, 3] = affine[:3, :3] @ (95, 71, 0) + affine[:3, 3]
    return np.ascontiguousarray(hu[::-1, ::-1]), np.ascontiguousarray(lungs[::-1, ::-1]), turned


@pytest.mark.parametrize("name", PLANTABLE)
def test_only_the_planted_place_changes(name: str) -> None:
    hu, lungs, affine = scan()
    made = plant_into(hu, affine, lungs, [name], 5)
    assert [item.name for item in made.findings] == [name]
    assert made.hu.dtype == hu.dtype
    assert np.array_equal(made.hu[~made.changed], hu[~made.changed])
    own = (made.truth >> BIT[name]) & 1
    assert own.any()
    assert not (made.changed & ~ndimage.binary_dilation(own, iterations=2)).any()
    assert not np.array_equal(made.hu, hu)


@pytest.mark.parametrize("flip", [False, True])
def test_the_side_follows_the_affine(flip: bool) -> None:
    hu, lungs, affine = scan(flip)
    for seed in range(4):
        made = plant_into(hu, affine, lungs, ["Lung nodule"], seed)
        item = made.findings[0]
        own = lungs[(made.truth > 0) & (lungs > 0)]
        assert set(np.unique(own)) == {"left": {1}, "right": {2}, "both": {1, 2}}[str(item.side)]
        index = np.rint(np.linalg.inv(affine) @ (*item.centre_mm, 1.0))[:3].astype(int)
        assert made.truth[tuple(index)] or item.size_mm < 6


def test_the_same_seed_plants_the_same_in_every_orientation() -> None:
    hu, lungs, affine = scan()
    turned, lungs_turned, affine_turned = scan(flip=True)
    one = plant_into(hu, affine, lungs, ["Consolidation"], 3)
    two = plant_into(turned, affine_turned, lungs_turned, ["Consolidation"], 3)
    assert np.array_equal(one.truth, two.truth[::-1, ::-1])
    assert one.findings == two.findings


def test_a_sham_edit_has_the_same_extent_and_no_lesion() -> None:
    hu, lungs, affine = scan()
    made = plant_into(hu, affine, lungs, ["Lung nodule", "Lung opacity"], 1)
    sham = sham_edit(hu, made, lungs, 1)
    assert np.array_equal(sham[~made.changed], hu[~made.changed])
    inside = made.changed & ndimage.binary_erosion(lungs > 0, iterations=2)
    assert abs(float(np.median(sham[inside])) - float(np.median(hu[inside]))) < 8
    assert abs(float(sham[inside].std()) / float(hu[inside].std()) - 1) < 0.35


def test_sides_of_a_mask_without_sides() -> None:
    for flip in (False, True):
        _, lungs, affine = scan(flip)
        assert np.array_equal(lung_sides(lungs > 0, affine), lungs)
    with pytest.raises(ValueError, match="holds no lung"):
        lung_sides(np.zeros((4, 4, 4), bool), np.eye(4))


def test_the_command_writes_four_volumes_of_one_geometry(tmp_path: Path) -> None:
    hu, lungs, affine = scan()
    nibabel.save(nibabel.Nifti1Image(hu, affine), tmp_path / "ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image((lungs > 0).astype(np.uint8), affine), tmp_path / "lungs.nii.gz")
    arguments = ["plant", str(tmp_path / "ct.nii.gz"), str(tmp_path / "lungs.nii.gz"), str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--finding", "Lung nodule"])
    assert done.exit_code == 0, done.output
    read = {
        name: np.asarray(nibabel.load(tmp_path / "out" / f"{name}.nii.gz").dataobj)
        for name in ("unplanted", "planted", "sham", "truth")
    }
    assert np.array_equal(read["unplanted"], hu)
    assert (read["planted"] != hu).any()
    assert (read["sham"] != hu).any()
    assert set(np.unique(read["truth"])) == {0, 1 << BIT["Lung nodule"]}
    assert CliRunner().invoke(app, [*arguments, "--finding", "Cardiomegaly"]).exit_code == 2


def test_what_cannot_be_planted_is_named() -> None:
    hu, lungs, affine = scan()
    with pytest.raises(ValueError, match="Cannot be planted into a real scan: Cardiomegaly"):
        plant_into(hu, affine, lungs, ["Cardiomegaly"], 0)
    with pytest.raises(ValueError, match="holds no lung"):
        plant_into(hu, affine, np.zeros_like(lungs), ["Lung nodule"], 0)
    with pytest.raises(ValueError, match="differ in shape"):
        plant_into(hu, affine, lungs[1:], ["Lung nodule"], 0)
