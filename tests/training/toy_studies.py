"""Studies of a few thousand voxels with a bright ball, a large heart, both or neither; with report and mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napari_colipri.ct.geometry import measure
from napari_colipri.ct.volume import CTVolume, Source
from training.evaluation.facts import Fact
from training.evaluation.studies import Study

CLASSES = ("background", "lung_left", "lung_right", "heart")
REPORTS = {
    (0, 0): "no lung nodule. no cardiomegaly.",
    (1, 0): "there is lung nodule.",
    (0, 1): "cardiomegaly is present.",
    (1, 1): "there is lung nodule. cardiomegaly is present.",
}


def toy_study(seed: int, name: str = "toy") -> Study:
    """32 voxels of 8 mm along each axis, as the tiny bundle samples them."""
    rng = np.random.default_rng(seed)
    nodule, large = (int(value) for value in rng.integers(0, 2, 2))
    hu = np.full((32, 32, 32), -1000, np.int16)
    hu[3:29, 6:26] = 40
    mask = np.zeros(hu.shape, np.uint8)
    for label, box in ((1, slice(19, 27)), (2, slice(5, 13))):
        hu[box, 9:23, 4:28] = -850
        mask[box, 9:23, 4:28] = label
    half = 5 if large else 3
    heart = (slice(16 - half, 16 + half), slice(10, 20), slice(6, 6 + 2 * half))
    hu[heart], mask[heart] = 60, 3
    if nodule:
        hu[21:25, 12:18, 14:20] = 900
    hu += rng.normal(0, 10, hu.shape).astype(np.int16)
    affine = np.diag([-8.0, -8.0, 8.0, 1.0])  # LPS: index grows to the left, the model grid's to the right
    affine[:3, 3] = (124.0, 124.0, -124.0)
    volume = CTVolume(hu, affine, measure(hu.shape, affine), Source("nifti", f"{name}-{seed}"))
    facts = [Fact("Lung nodule", "left", 40.0)] * nodule + [Fact("Cardiomegaly")] * large
    key = f"{name}-{seed}"
    labels = {"Lung nodule": nodule, "Cardiomegaly": large}
    report = REPORTS[nodule, large]
    return Study(key, key, volume, labels, report, tuple(facts), mask, CLASSES, (report.upper(),))


def toy_studies(start: int, count: int, name: str = "toy") -> Iterator[Study]:
    """Studies of consecutive seeds."""
    return (toy_study(seed, name) for seed in range(start, start + count))
