"""Each finding lies where its truth says, on its side and in its size."""

from __future__ import annotations

import numpy as np
import pytest

from napari_colipri.text.findings import FINDING_NAMES
from training.phantom import Finding, Phantom, make_phantom
from training.phantom.classes import LABEL
from training.phantom.findings import BIT
from training.phantom.findings.plan import PAINTERS
from training.phantom.lungs import LOBES
from training.phantom.resolvable import never_resolvable, resolvable

SEEDS = (0, 1)
MM = 4.0


def planted(seed: int, name: str, spacing: float = MM) -> tuple[Phantom, Finding]:
    shape = (int(384 / spacing),) * 3
    phantom = make_phantom(seed, shape=shape, spacing_mm=(spacing,) * 3, wanted=(name,), quiet=True)
    assert [item.name for item in phantom.findings] == [name]
    return phantom, phantom.findings[0]


def voxels(phantom: Phantom, name: str) -> np.ndarray:
    return np.asarray((phantom.truth >> BIT[name]) & 1, bool)


def places(phantom: Phantom, name: str) -> np.ndarray:
    """World RAS mm of a finding's voxels, [n, 3]."""
    return np.argwhere(voxels(phantom, name)) @ phantom.affine[:3, :3].T + phantom.affine[:3, 3]


def test_every_finding_has_a_painter() -> None:
    assert set(PAINTERS) | {"Atelectasis"} == set(FINDING_NAMES)


@pytest.mark.parametrize("name", FINDING_NAMES)
def test_a_wanted_finding_is_planted_and_marked_and_nothing_else(name: str) -> None:
    # a small nodule can fall between voxels of 6 mm
    phantom, item = planted(4, name, 3.0 if name == "Lung nodule" else 6.0)
    assert voxels(phantom, name).any()
    assert int(np.bitwise_or.reduce(phantom.truth.ravel())) == 1 << BIT[name]
    assert item.volume_ml > 0
    assert item.severity in ("mild", "moderate", "severe")
    assert phantom.present[BIT[name]] == 1
    assert phantom.present.sum() == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["Lung nodule", "Consolidation", "Pleural effusion", "Lung opacity", "Atelectasis"])
def test_a_finding_of_one_side_lies_on_it(name: str, seed: int) -> None:
    phantom, item = planted(seed, name, 6.0)
    vertebrae = np.argwhere(phantom.labels == LABEL["vertebrae"]).mean(axis=0)
    middle = phantom.affine[0, 0] * vertebrae[0] + phantom.affine[0, 3]
    x = places(phantom, name)[:, 0]
    if item.side == "right":
        assert (x > middle - 10).all()
    elif item.side == "left":
        assert (x < middle + 10).all()
    else:
        assert (x > middle).any()
        assert (x < middle).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_nodule_has_its_diameter_and_its_lobe(seed: int) -> None:
    phantom, item = planted(seed, "Lung nodule", 3.0)
    at = np.asarray(item.centre_mm)
    own = places(phantom, "Lung nodule")
    own = own[np.linalg.norm(own - at, axis=1) < 0.5 * item.size_mm + 4.0]
    assert len(own)
    assert abs(np.ptp(own[:, 0]) + 3.0 - item.size_mm) <= 3.75
    index = tuple(np.rint((at - phantom.affine[:3, 3]) / 3.0).astype(int))
    assert LOBES[int(phantom.labels[index])] == item.place


@pytest.mark.parametrize("seed", SEEDS)
def test_an_effusion_is_as_deep_as_stated(seed: int) -> None:
    phantom, item = planted(seed, "Pleural effusion")
    inside = voxels(phantom, "Pleural effusion")
    x = phantom.affine[0, 3] + phantom.affine[0, 0] * np.arange(inside.shape[0])
    half = inside & ((x > item.centre_mm[0] - 60) & (x < item.centre_mm[0] + 60))[:, None, None]
    y = np.argwhere(half)[:, 1]
    assert abs((np.ptp(y) + 1) * MM - item.size_mm) <= 3 * MM + 0.1 * item.size_mm


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hernia_is_as_long_as_stated(seed: int) -> None:
    phantom, item = planted(seed, "Hiatal hernia")
    high = np.ptp(places(phantom, "Hiatal hernia")[:, 2]) + MM
    assert abs(high - item.size_mm) <= 2 * MM + 0.12 * item.size_mm


@pytest.mark.parametrize("seed", SEEDS)
def test_an_enlarged_heart_takes_more_than_half_of_the_chest(seed: int) -> None:
    phantom, item = planted(seed, "Cardiomegaly")
    heart = places(phantom, "Cardiomegaly")[:, 0]
    assert phantom.patient.ctr > 0.5
    assert abs(np.ptp(heart) + MM - item.size_mm) <= 0.1 * item.size_mm


def test_what_is_painted_has_the_density_of_its_kind() -> None:
    for name, low, high in (
        ("Consolidation", -250, 90),
        ("Pleural effusion", -30, 60),
        ("Medical material", 200, 3071),
        ("Emphysema", -1024, -850),
        ("Lung opacity", -750, -150),
    ):
        phantom, _ = planted(10, name)
        assert low <= float(np.median(phantom.hu[voxels(phantom, name)])) <= high, name


@pytest.mark.parametrize("name", ["Coronary artery wall calcification", "Arterial wall calcification"])
def test_calcium_is_denser_than_130_hu_somewhere(name: str) -> None:
    # 130 HU is the threshold of the Agatston score
    phantom, _ = planted(10, name)
    assert phantom.hu[voxels(phantom, name)].max() > 130


def test_findings_out_of_the_picture_are_not_claimed() -> None:
    low = ("Hiatal hernia", "Pericardial effusion")
    missed = 0
    for seed in range(4):
        phantom = make_phantom(seed, shape=(48, 48, 48), spacing_mm=(7.5,) * 3, wanted=low, coverage="upper")
        claimed = {item.name: item for item in phantom.findings}
        for name in low:
            assert voxels(phantom, name).any() == (name in claimed)
            missed += name not in claimed
        if "Hiatal hernia" in claimed:
            assert claimed["Hiatal hernia"].centre_mm[2] > phantom.protocol.low_mm
    assert missed


def test_a_heart_out_of_the_picture_is_neither_enlarged_nor_normal() -> None:
    phantom = make_phantom(2, wanted=(), coverage="upper")
    assert "Cardiomegaly" in phantom.undecided or phantom.protocol.low_mm < phantom.patient.heart_z
    assert np.isnan(phantom.present[BIT["Cardiomegaly"]]) == ("Cardiomegaly" in phantom.undecided)


def test_what_a_grid_can_show_follows_a_rule_in_voxels() -> None:
    nodule = Finding("Lung nodule", "left", "left upper lobe", 8.0, 0.3)
    assert resolvable(nodule, 4.0)
    assert not resolvable(nodule, 5.0)
    assert not resolvable(Finding("Bronchiectasis", "left", "left lower lobe", 12.0, 5.0, kind="cylindrical"), 5.0)
    assert resolvable(Finding("Bronchiectasis", "left", "left lower lobe", 26.0, 9.0, kind="cystic"), 5.0)
    assert "Interlobular septal thickening" in never_resolvable(5.0)
    assert "Pleural effusion" not in never_resolvable(5.0)
    with pytest.raises(ValueError, match="above 0"):
        resolvable(nodule, 0.0)


def test_a_drawn_phantom_has_a_few_findings_and_some_have_none() -> None:
    from training.phantom.findings import draw_plan

    counts = [len(draw_plan(seed, None).wanted) for seed in range(400)]
    assert 2.5 < np.mean(counts) < 4.5
    assert 0.08 < np.mean(np.array(counts) == 0) < 0.3
