"""Crops read the right voxels, and labels and reports follow what is left in view."""

from __future__ import annotations

from dataclasses import replace

import blosc2
import numpy as np
import pytest

from napari_colipri.text.findings import FINDING_NAMES
from tests.training.data.files import prepared, tiny_set
from training.data.crops import (
    Crop,
    centre_crop,
    kept_share,
    random_crop,
    read_crop,
    slab_of,
    truth_after,
    within,
)
from training.data.dataset import read_slab
from training.data.records import Box
from training.data.store import Prepared

NODULE = FINDING_NAMES.index("Lung nodule")
EMPHYSEMA = FINDING_NAMES.index("Emphysema")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("set")
    return prepared(tiny_set(folder, 1), folder / "out")[0]


def whole(study: Prepared) -> np.ndarray:
    return read_crop(study, Crop((0, 0, 0), study.shape))


def test_any_box_is_the_same_as_cutting_the_whole_array(study: Prepared) -> None:
    array = np.pad(whole(study), 8, constant_values=study.padding_hu)
    rng = np.random.default_rng(0)
    for _ in range(50):
        size = tuple(int(v) for v in rng.integers(1, 30, 3))
        start = tuple(int(rng.integers(-8, max(n + 8 - s, -7))) for n, s in zip(study.shape, size, strict=True))
        stop = [a + s for a, s in zip(start, size, strict=True)]
        if any(end > n + 8 for end, n in zip(stop, study.shape, strict=True)):
            continue
        cut = array[tuple(slice(a + 8, b + 8) for a, b in zip(start, stop, strict=True))]
        np.testing.assert_array_equal(read_crop(study, Crop(start, size)), cut)  # type: ignore[arg-type]


def test_a_box_beside_the_scan_holds_padding(study: Prepared) -> None:
    far = read_crop(study, Crop((500, 0, 0), (4, 4, 4)))
    assert (far == study.padding_hu).all()
    assert study.padding_hu == whole(study).min()


def test_a_crop_inflates_its_own_blocks_only(study: Prepared) -> None:
    """Every other block is overwritten with rubbish; the crop does not notice."""
    array = blosc2.open(str(study.image_file), mode="r")
    assert array.chunks == (16, 16, 16)
    before = read_crop(study, Crop((0, 0, 0), (8, 8, 8)))
    data = bytearray(study.image_file.read_bytes())
    kept = study.image_file.read_bytes()
    first = array.schunk.get_chunk(0)
    place = data.find(first)
    assert place >= 0
    other = array.schunk.get_chunk(1)
    there = data.find(other)
    data[there + 32 : there + len(other)] = b"\xff" * (len(other) - 32)
    study.image_file.write_bytes(bytes(data))
    try:
        np.testing.assert_array_equal(read_crop(study, Crop((0, 0, 0), (8, 8, 8))), before)
    finally:
        study.image_file.write_bytes(kept)


def test_random_crops_lie_inside_and_reach_every_edge(study: Prepared) -> None:
    rng = np.random.default_rng(0)
    starts = np.array([random_crop(study, (20, 20, 60), rng).start for _ in range(300)])
    assert starts[:, :2].min() == 0
    assert [int(value) for value in starts[:, :2].max(axis=0)] == [study.shape[0] - 20, study.shape[1] - 20]
    assert (starts[:, 2] == centre_crop(study, (20, 20, 60)).start[2]).all()


def box_at(study: Prepared, low: tuple[float, float, float], high: tuple[float, float, float]) -> Box:
    """Box in mm around stored voxels ``low`` to ``high``."""
    affine = np.array(study.affine)
    a = affine[:3, :3] @ (np.array(low) - 0.5) + affine[:3, 3]
    b = affine[:3, :3] @ (np.array(high) - 0.5) + affine[:3, 3]
    return (*(float(v) for v in a), *(float(v) for v in b))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("first", "complete", "label", "report"),
    [
        (0, False, 1.0, True),  # whole box in view
        (12, False, 1.0, True),  # 80 % of it
        (16, False, np.nan, False),  # 40 %
        (20, False, np.nan, False),  # nothing left, but there may be another one
        (16, True, np.nan, False),
        (20, True, 0.0, False),  # nothing left, and the boxes are the whole truth
    ],
)
def test_a_finding_that_is_cropped_away_changes_its_label(
    study: Prepared, first: int, complete: bool, label: float, report: bool
) -> None:
    boxed = replace(
        study, boxes={"Lung nodule": [list(box_at(study, (10, 5, 5), (20, 9, 9)))]}, boxes_complete=complete
    )
    x, y, z = study.shape
    labels, text = truth_after(boxed, Crop((first, 0, 0), (x - first, y, z)))
    np.testing.assert_equal(labels[NODULE], np.float32(label))
    assert labels[EMPHYSEMA] == 0
    assert (text == study.report) == report
    assert text in ("", study.report)


def test_without_boxes_a_small_crop_leaves_positives_unknown_and_negatives_negative(study: Prepared) -> None:
    x, y, z = study.shape
    most, half = Crop((0, 0, 0), (x, y, z - 5)), Crop((0, 0, 0), (x, y, z // 2))
    assert kept_share(study, most) > 0.6 > kept_share(study, half)
    labels, text = truth_after(study, most)
    assert (labels[NODULE], labels[EMPHYSEMA], text) == (1, 0, study.report)
    labels, text = truth_after(study, half)
    assert np.isnan(labels[NODULE])
    assert labels[EMPHYSEMA] == 0
    assert text == ""


def test_air_around_the_patient_is_no_loss(study: Prepared) -> None:
    """The chest is 300 x 200 x 320 mm in a field of 336 x 240 x 320 mm, at 10 mm."""
    low, high = study.body
    size = (high[0] - low[0], high[1] - low[1], high[2] - low[2])
    assert abs(size[0] - 30) <= 2
    assert abs(size[1] - 20) <= 2
    assert kept_share(study, Crop(low, size)) == 1
    assert kept_share(study, Crop((0, 0, 0), (low[0], 99, 99))) == 0


def test_a_crop_larger_than_the_scan_keeps_everything(study: Prepared) -> None:
    crop = centre_crop(study, (80, 80, 80))
    assert kept_share(study, crop) == 1
    assert truth_after(study, crop)[1] == study.report


def test_a_slab_is_what_a_shorter_scan_would_have_been(study: Prepared) -> None:
    """The grid is centred on the slab, as the product centres it on what was scanned; all else is padding."""
    x, y, z = study.shape
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(40):
        crop, seen = slab_of(study, (x, y, 40), rng)
        assert seen.start[:2] == (0, 0)
        assert seen.size[:2] == (x, y)
        assert 0.25 * z < seen.size[2] < z
        before, after = seen.start[2] - crop.start[2], crop.start[2] + 40 - (seen.start[2] + seen.size[2])
        assert before - after in (0, 1)  # the odd voxel goes to the low side
        starts.add(seen.start[2])
    assert len(starts) > 5


def test_a_slab_hides_what_was_not_scanned_and_labels_follow(study: Prepared) -> None:
    x, y, z = study.shape
    boxed = replace(study, boxes={"Lung nodule": [list(box_at(study, (10, 5, 0), (20, 9, 3)))]}, boxes_complete=True)
    seen_labels = set()
    for seed in range(20):
        crop, seen = slab_of(boxed, (x, y, z), np.random.default_rng(seed))
        sample = read_slab(boxed, (x, y, z), np.random.default_rng(seed), masks=True)
        (_, _, place), _ = within(crop, seen)
        assert place.stop - place.start == seen.size[2]
        shown = whole(study)[:, :, seen.start[2] : seen.start[2] + seen.size[2]]
        np.testing.assert_allclose(sample.image[:, :, place], shown.clip(-1000, 1000) / 1000, atol=1e-6)
        hidden = np.delete(sample.image, np.r_[place], axis=2)
        assert (hidden == max(study.padding_hu, -1000) / 1000).all()
        label = sample.labels[NODULE]
        assert (label == 1) == (seen.start[2] <= 1)
        assert bool(sample.report) == (label == 1)
        seen_labels.add(float(label))
    assert {0.0, 1.0} <= seen_labels
