"""Pictures are made without a display and show what they should."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from napari_colipri.export.picture import analysis_png, thumbnail_png
from napari_colipri.export.result import AnalysisResult
from tests.report.conftest import chest_volume
from tests.volumes import ORIENTATIONS, chest, volume_in


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_page_changes_with_masks_and_places(result: AnalysisResult) -> None:
    whole = pixels(analysis_png(result))
    assert whole.ndim == 3
    assert not np.array_equal(whole, pixels(analysis_png(replace(result, segmentation=None))))
    assert not np.array_equal(whole, pixels(analysis_png(replace(result, heat_maps=()))))


def test_a_thumbnail_shows_the_liver_below_on_the_left_of_the_picture() -> None:
    # the patient's right is on the left of the picture
    thumbnail = pixels(thumbnail_png(chest_volume(), 90))
    assert max(thumbnail.shape) == 90
    rows, columns = thumbnail.shape
    below = thumbnail[int(rows * 0.85)]
    assert below[: columns // 2].astype(int).sum() > below[columns // 2 :].astype(int).sum()


def test_a_thumbnail_is_the_same_however_the_file_is_stored() -> None:
    shown = {
        thumbnail_png(volume_in(codes, shape_ras=(30, 20, 32), spacing_ras=(10, 10, 10), anatomy=chest), 64)
        for codes in ORIENTATIONS[::7]
    }
    assert len(shown) == 1
