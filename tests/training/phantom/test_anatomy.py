"""The normal patient: sides, densities, sizes, and the same result each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.phantom import CLASSES, SHORT_CLASSES, Phantom, make_phantom, merge_labels
from training.phantom.classes import LABEL

SEEDS = (3, 8)


@pytest.fixture(scope="module", params=SEEDS)
def normal(request: pytest.FixtureRequest) -> Phantom:
    return make_phantom(request.param, wanted=(), quiet=True, phase="none")


def centre(phantom: Phantom, *names: str) -> np.ndarray:
    """Mean place of the voxels of some classes, RAS mm."""
    where = np.argwhere(np.isin(phantom.labels, [LABEL[name] for name in names]))
    assert len(where)
    return phantom.affine[:3, :3] @ where.mean(axis=0) + phantom.affine[:3, 3]


def median_hu(phantom: Phantom, name: str) -> float:
    return float(np.median(phantom.hu[phantom.labels == LABEL[name]]))


def test_every_class_of_the_chest_is_there(normal: Phantom) -> None:
    missing = {CLASSES[n] for n in range(1, len(CLASSES))} - {CLASSES[n] for n in np.unique(normal.labels)}
    assert missing <= {"pleural_effusion", "pericardial_effusion", "thyroid_gland", "colon", "humerus"}


def test_right_is_where_x_is_large(normal: Phantom) -> None:
    right = centre(normal, "lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right")
    left = centre(normal, "lung_upper_lobe_left", "lung_lower_lobe_left")
    middle = centre(normal, "vertebrae")[0]
    assert left[0] < middle < right[0]
    assert centre(normal, "liver")[0] > middle > centre(normal, "spleen")[0]
    assert centre(normal, "heart_ventricle_left")[0] < middle
    assert centre(normal, "superior_vena_cava")[0] > middle
    assert centre(normal, "stomach")[0] < middle


def test_front_and_head_are_where_y_and_z_are_large(normal: Phantom) -> None:
    assert centre(normal, "sternum")[1] > centre(normal, "heart_ventricle_right")[1] > centre(normal, "vertebrae")[1]
    assert centre(normal, "clavicula")[2] > centre(normal, "aorta")[2] > centre(normal, "liver")[2]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("lung_upper_lobe_left", -960, -650),
        ("lung_lower_lobe_right", -960, -620),
        ("trachea", -1010, -850),
        ("liver", 0, 75),
        ("spleen", 25, 65),
        ("aorta", 25, 60),
        ("heart_ventricle_left", 25, 60),
        ("vertebrae", 60, 600),
    ],
)
def test_tissues_have_their_density(normal: Phantom, name: str, low: float, high: float) -> None:
    assert low <= median_hu(normal, name) <= high


def test_the_body_holds_fat_and_muscle_in_plausible_shares(normal: Phantom) -> None:
    fat = ((normal.hu > -130) & (normal.hu < -60)).sum()
    soft = ((normal.hu > 0) & (normal.hu < 90)).sum()
    assert 0.05 < fat / soft < 3.0


def test_a_normal_heart_takes_less_than_half_of_the_chest(normal: Phantom) -> None:
    heart = np.isin(normal.labels, [n for n, name in enumerate(CLASSES) if name.startswith("heart")])
    lungs = np.isin(normal.labels, [n for n, name in enumerate(CLASSES) if name.startswith("lung")])
    wide = np.ptp(np.argwhere(heart)[:, 0]) + 1
    inner = np.ptp(np.argwhere(lungs)[:, 0]) + 1
    assert wide / inner < 0.52


def test_contrast_makes_the_aorta_bright() -> None:
    plain = make_phantom(5, wanted=(), quiet=True, phase="none")
    bright = make_phantom(5, wanted=(), quiet=True, phase="arterial")
    assert median_hu(bright, "aorta") > median_hu(plain, "aorta") + 150
    assert np.array_equal(bright.labels, plain.labels)


def test_the_same_seed_gives_the_same_phantom_on_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = make_phantom(12)
        torch.set_num_threads(2)
        two = make_phantom(12)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(one.hu, two.hu)
    assert np.array_equal(one.labels, two.labels)
    assert np.array_equal(one.truth, two.truth)
    assert one.findings == two.findings


def test_another_seed_gives_another_patient() -> None:
    assert not np.array_equal(make_phantom(1).hu, make_phantom(2).hu)


def test_a_finer_grid_shows_the_same_anatomy() -> None:
    coarse = make_phantom(6, wanted=("Lung nodule",), quiet=True)
    fine = make_phantom(6, shape=(96, 96, 96), spacing_mm=(3.75, 3.75, 3.75), wanted=("Lung nodule",), quiet=True)
    for name in ("liver", "aorta", "heart_ventricle_left", "trachea"):
        assert np.linalg.norm(centre(coarse, name) - centre(fine, name)) < 4.0
    first, second = coarse.findings[0], fine.findings[0]
    assert (first.size_mm, first.place, first.centre_mm) == (second.size_mm, second.place, second.centre_mm)


def test_the_short_list_of_classes_merges_what_belongs_together(normal: Phantom) -> None:
    short = merge_labels(normal.labels)
    heart = short == SHORT_CLASSES.index("heart")
    assert set(np.unique(normal.labels[heart])) == {n for n, name in enumerate(CLASSES) if name.startswith("heart_")}
    assert short.max() == len(SHORT_CLASSES) - 1 or "pleural_effusion" in SHORT_CLASSES


def test_random_densities_keep_the_labels() -> None:
    plain = make_phantom(9, coverage="chest")
    other = make_phantom(9, coverage="chest", randomised=True)
    assert np.array_equal(plain.labels, other.labels)
    liver = plain.labels == LABEL["liver"]
    assert abs(float(np.median(plain.hu[liver])) - float(np.median(other.hu[liver]))) > 5


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ValueError, match="Not a CT-RATE finding: Dragon"):
        make_phantom(1, wanted=("Dragon",))
    with pytest.raises(ValueError, match="Unknown regime"):
        make_phantom(1, regime="moon")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Unknown coverage"):
        make_phantom(1, coverage="knee")
