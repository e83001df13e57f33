"""Where a crop lies, what it holds, and which labels and reports still hold of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.geometry import invert
from napari_colipri.text.findings import FINDING_NAMES
from training.data.records import label_vector
from training.data.store import UNKNOWN, Prepared, read_block

__all__ = [
    "HELD",
    "Crop",
    "centre_crop",
    "kept_share",
    "random_crop",
    "read_crop",
    "read_mask",
    "slab_of",
    "truth_after",
    "within",
]

_Three = tuple[int, int, int]

#: A finding of which more than this share lies in the crop is still present; as in the embedded recipe.
HELD = 0.6
#: One of which less than this share is left is gone.
GONE = 0.02
#: Share of a scan's length that a slab keeps, lowest and highest.
_SLAB = (0.3, 0.95)


@dataclass(frozen=True)
class Crop:
    """A box of the stored grid: first voxel (negative where it begins before the array) and size."""

    start: _Three
    size: _Three


def centre_crop(study: Prepared, size: _Three) -> Crop:
    """Return the product's own crop: the centre of the whole field, the odd voxel on the low side.

    ``CropOrPad`` of the public chain: what is dropped or added on the low side is rounded up.
    """
    start = []
    for whole, first, wanted in zip(study.field_shape, study.field_start, size, strict=True):
        low = math.ceil((whole - wanted) / 2) if whole >= wanted else -math.ceil((wanted - whole) / 2)
        start.append(low - first)
    return Crop((start[0], start[1], start[2]), size)


def random_crop(study: Prepared, size: _Three, rng: np.random.Generator) -> Crop:
    """Return a box inside the stored grid, evenly drawn; along an axis that is too short, the centre."""
    centre = centre_crop(study, size)
    start = []
    for there, wanted, middle in zip(study.shape, size, centre.start, strict=True):
        start.append(int(rng.integers(there - wanted + 1)) if there > wanted else middle)
    return Crop((start[0], start[1], start[2]), size)


def slab_of(study: Prepared, size: _Three, rng: np.random.Generator) -> tuple[Crop, Crop]:
    """Return a crop of the study as if it had been scanned over a part of its length only.

    Scans of the clinic often begin below the apices or end above the diaphragm. The product centres its grid on what
    was scanned, so the crop is centred on the slab.

    Parameters
    ----------
    study, size
        As for :func:`centre_crop`.
    rng
        Draws length and place of the slab.

    Returns
    -------
    crop
        Of ``size``.
    seen
        The slab itself: what of the stored grid was scanned.
    """
    axis = int(np.argmax(np.abs(np.asarray(study.affine)[2, :3])))  # along the body
    long = study.shape[axis]
    length = max(1, round(long * float(rng.uniform(*_SLAB))))
    first = int(rng.integers(long - length + 1))
    start, wanted = list(centre_crop(study, size).start), size[axis]
    odd = math.ceil((length - wanted) / 2) if length >= wanted else -math.ceil((wanted - length) / 2)
    start[axis] = first + odd
    low, kept = [0, 0, 0], list(study.shape)
    low[axis], kept[axis] = first, length
    return Crop((start[0], start[1], start[2]), size), Crop((low[0], low[1], low[2]), (kept[0], kept[1], kept[2]))


def within(crop: Crop, seen: Crop) -> tuple[tuple[slice, slice, slice], Crop]:
    """Return the part of a crop that lies in ``seen``: its place in the crop's own array, and as a box of the grid."""
    lows = [max(a, b) for a, b in zip(crop.start, seen.start, strict=True)]
    ends = [min(a + n, b + m) for a, n, b, m in zip(crop.start, crop.size, seen.start, seen.size, strict=True)]
    ends = [max(low, end) for low, end in zip(lows, ends, strict=True)]
    x, y, z = (slice(low - a, end - a) for low, end, a in zip(lows, ends, crop.start, strict=True))
    size = (ends[0] - lows[0], ends[1] - lows[1], ends[2] - lows[2])
    return (x, y, z), Crop((lows[0], lows[1], lows[2]), size)


def kept_share(study: Prepared, crop: Crop) -> float:
    """Return the share of the body's box that a crop holds, 0 to 1: air around the patient is no loss."""
    share = 1.0
    for first, size, low, high in zip(crop.start, crop.size, *study.body, strict=True):
        share *= max(0, min(first + size, high) - max(first, low)) / (high - low)
    return share


def read_crop(study: Prepared, crop: Crop) -> npt.NDArray[np.int16]:
    """Read HU [X, Y, Z] of a crop; what lies outside the scan is the scan's minimum, as in the product."""
    return read_block(study.image_file, crop.start, crop.size, study.padding_hu)


def read_mask(study: Prepared, crop: Crop) -> npt.NDArray[np.uint8]:
    """Read labels [X, Y, Z] of a crop; unknown outside the scan, and everywhere without a label map."""
    if not study.has_mask:
        return np.full(crop.size, UNKNOWN, np.uint8)
    return read_block(study.mask_file, crop.start, crop.size, UNKNOWN)


def _share_of_boxes(boxes: Sequence[Sequence[float]], study: Prepared, crop: Crop) -> float:
    """Return the share of a finding's boxes (RAS mm) that lies in a crop, by volume."""
    back = invert(np.asarray(study.affine, np.float64))
    low = np.asarray(crop.start, np.float64) - 0.5
    high = low + np.asarray(crop.size)
    whole = held = 0.0
    for box in boxes:
        x, y, z = zip(box[:3], box[3:], strict=True)
        corners = np.array([(a, b, c) for a in x for b in y for c in z]) @ back[:3, :3].T + back[:3, 3]
        first, last = corners.min(axis=0), corners.max(axis=0)
        last = np.maximum(last, first + 1e-3)
        whole += float(np.prod(last - first))
        held += float(np.prod(np.maximum(np.minimum(last, high) - np.maximum(first, low), 0)))
    return held / whole if whole else 0.0


def _label_after(label: float, share: float | None, study: Prepared, kept: float) -> float:
    """Return a present finding's label in a crop that holds ``share`` of its boxes (None without boxes)."""
    if share is None:
        return label if kept > HELD else math.nan
    if share > HELD:
        return label
    return 0.0 if share < GONE and study.boxes_complete else math.nan


def truth_after(study: Prepared, crop: Crop) -> tuple[npt.NDArray[np.float32], str]:
    """Return labels (float32 [18], NaN unknown) and report that hold of a crop.

    What is absent from the scan is absent from the crop. A present finding stays present where more than
    :data:`HELD` of its boxes, or, without boxes, of the body is in view; otherwise it is unknown, or absent where its
    boxes are complete and gone. A report that speaks of more than is in view is left out.
    """
    labels = label_vector(study.labels)
    kept = kept_share(study, crop)
    boxes: Mapping[str, Sequence[Sequence[float]]] = study.boxes
    after = labels.copy()
    for place, name in enumerate(FINDING_NAMES):
        if labels[place] == 1:
            share = _share_of_boxes(boxes[name], study, crop) if boxes.get(name) else None
            after[place] = _label_after(1.0, share, study, kept)
    fits = np.array_equal(after, labels, equal_nan=True) and (kept > HELD or bool(study.boxes_complete))
    return after, study.report if fits else ""
