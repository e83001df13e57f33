"""Answers of an imaginary bundle about a schematic chest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.types import Finding, Findings, HeatMap, Segmentation, SegmentationClass
from napari_colipri.library import Hit, SimilarCases
from napari_colipri.text.findings import CT_RATE_FINDINGS
from tests.volumes import affine_for, chest, make_volume

HASH = "0123456789abcdef" * 4
SHAPE = (40, 30, 36)


def chest_volume(**values: object) -> CTVolume:
    """The schematic chest at 10 mm."""
    return make_volume(affine_for("LPS", (10, 10, 10), SHAPE), SHAPE, chest, dtype=np.int16, **values)  # type: ignore[arg-type]


@pytest.fixture
def volume() -> CTVolume:
    return chest_volume()


@pytest.fixture
def findings() -> Findings:
    """Two findings suggested, one not assessed, the rest not suggested; and a question of the reader's."""
    said = {"Lung nodule": 0.83, "Cardiomegaly": 0.61, "Bronchiectasis": None}
    items = []
    for n, term in enumerate(CT_RATE_FINDINGS):
        p = said.get(term.name, 0.01 * n)
        note = "this bundle cannot detect it" if p is None else None
        items.append(Finding(term.name, p, term.present, term.absent, note=note))
    items.append(Finding("rib fracture", 0.4, ("a",), ("b",)))
    items.append(Finding("zxqv", None, ("a",), ("b",), note="this model does not know these words"))
    return Findings("demo", HASH, tuple(items), ("demonstration model trained on phantoms: not for patients",))


def masks_of(volume: CTVolume, *, left: int = 1, right: int = 2) -> Segmentation:
    """Lungs by threshold, split at the midline: R > 0 is the patient's right."""
    hu = np.asarray(volume.hu)
    index = np.moveaxis(np.indices(hu.shape), 0, -1)
    r = index @ volume.affine[0, :3] + volume.affine[0, 3]
    lung = (hu > -900) & (hu < -800)
    labels = np.zeros(hu.shape, np.uint8)
    labels[lung & (r < 0)] = left
    labels[lung & (r > 0)] = right
    ml = volume.voxel_ml

    def item(label: int, name: str, display: str, *, border: bool = False) -> SegmentationClass:
        count = int((labels == label).sum())
        return SegmentationClass(label, name, display, count * ml, -850.0 if count else None, border)

    classes = (
        item(1, "lung_left", "Left lung"),
        item(2, "lung_right", "Right lung", border=True),
        item(3, "liver", "Liver"),
    )
    return Segmentation(labels, classes, "demo", HASH)


@pytest.fixture
def segmentation(volume: CTVolume) -> Segmentation:
    return masks_of(volume)


@pytest.fixture
def heat_map() -> HeatMap:
    """Peak inside the right lung."""
    return HeatMap(np.zeros((2, 2, 2), np.float32), np.eye(4), (75.0, 5.0, 25.0), 0.12, "Lung nodule", "demo")


@pytest.fixture
def hits() -> SimilarCases:
    return SimilarCases(
        "Phantoms",
        (
            Hit("phantom-03", 0.81, "A stable nodule.", ("Lung nodule",), "phantom"),
            Hit("phantom-11", 0.42, "Large heart.", ("Lung nodule", "Cardiomegaly"), "phantom"),
        ),
        notes=("This very volume is in the library and was left out.",),
    )


def unoriented(volume: CTVolume) -> CTVolume:
    """The same volume from a file that stores no orientation."""
    return replace(volume, geometry=replace(volume.geometry, orientation_known=False))
