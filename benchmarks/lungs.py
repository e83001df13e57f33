"""Left and right lung of a bundle's decoder, bare argmax, against threshold pseudo-labels, beside a plain threshold.

The rule. The pseudo-labels hold both lungs as one mask with airway and vessels: air below -400 HU inside the body,
closed in plane. They are split at the midline: the sagittal plane, within the middle third of the mask, that crosses
the fewest of its voxels. A decoder's left lung is ``lung_left`` wherever it lies, plus trachea and central vessels on
the left of that plane; the right lung likewise. Nothing is thresholded, filled or cleaned. The plain threshold (-400
HU, not connected to the outside, two largest components, holes filled in plane) is split at the same plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._common import data_folder, parser, publish
from napari_colipri.ct.volume import CTVolume

VOLUMES = {
    "lidc-0314": "lidc-0314/lidc-0314.nii.gz",
    "lungfcp-01-0001": "lungfcp-01-0001/lungfcp-01-0001.nii.gz",
    "lungdx A0001 L": "lungdx/lungdx_A0001_L_0.nii.gz",
    "lungdx A0001 B": "lungdx/lungdx_A0001_B_1.nii.gz",
}
SHARED = ("trachea", "pulmonary_vessels", "lung_vessels")

Mask = npt.NDArray[np.bool_]


def dice(one: Mask, other: Mask) -> float:
    """Return the Dice overlap of two masks."""
    total = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / total if total else 1.0


def right_mm(volume: CTVolume) -> npt.NDArray[np.float64]:
    """Return the R coordinate of every voxel, mm, broadcast over [i, j, k]."""
    i, j, k = np.ogrid[tuple(slice(size) for size in volume.hu.shape)]
    row = volume.affine[0]
    return np.asarray(row[0] * i + row[1] * j + row[2] * k + row[3])


def midline_mm(mask: Mask, right: npt.NDArray[np.float64]) -> float:
    """Return the R coordinate of the emptiest sagittal plane in the middle third of a mask of both lungs."""
    places = np.broadcast_to(right, mask.shape)[mask]
    low, high = np.quantile(places, [0.002, 0.998])
    counts, edges = np.histogram(places, bins=np.arange(low, high, 2.0))
    smooth = np.convolve(counts, np.ones(3) / 3, mode="same")
    third = len(smooth) // 3
    emptiest = third + int(smooth[third : len(smooth) - third].argmin())
    return float(edges[emptiest] + 1.0)


def threshold_lungs(volume: CTVolume) -> Mask:
    """Return both lungs by -400 HU: air not connected to the outside, two largest components, holes filled in plane."""
    from scipy import ndimage

    air = volume.hu < -400
    outside = np.zeros(air.shape, np.bool_)
    for k in range(air.shape[2]):  # in plane: a cut trachea leads from the lungs to the outside through the last slice
        parts, _ = ndimage.label(air[..., k])
        rim = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        outside[..., k] = np.isin(parts, rim[rim > 0])
    parts, count = ndimage.label(air & ~outside)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    lungs = np.isin(parts, 1 + np.argsort(-sizes)[:2])
    for k in range(lungs.shape[2]):
        lungs[..., k] = ndimage.binary_fill_holes(lungs[..., k])
    return np.asarray(lungs)


def decoder_sides(volume: CTVolume, session: Any, left_of_midline: Mask) -> tuple[Mask, Mask]:
    """Return left and right lung with airway and vessels, by the rule above."""
    segmentation = session.segment(volume, session.encode(volume))
    labels = segmentation.labels
    by_name = {item.name: item.label for item in segmentation.classes}
    shared = np.isin(labels, [by_name[name] for name in SHARED if name in by_name])
    left = (labels == by_name["lung_left"]) | (shared & left_of_midline)
    right = (labels == by_name["lung_right"]) | (shared & ~left_of_midline)
    return left, right


def row(name: str, volume: CTVolume, pseudo: Mask, session: Any) -> dict[str, str]:
    """Score one volume."""
    right = right_mm(volume)
    middle = midline_mm(pseudo, right)
    on_left = np.broadcast_to(right < middle, pseudo.shape)
    left, other = decoder_sides(volume, session, on_left)
    plain = threshold_lungs(volume)
    scores = {
        "decoder, left": dice(left, pseudo & on_left),
        "decoder, right": dice(other, pseudo & ~on_left),
        "decoder, both": dice(left | other, pseudo),
        "threshold, left": dice(plain & on_left, pseudo & on_left),
        "threshold, right": dice(plain & ~on_left, pseudo & ~on_left),
    }
    return {
        "volume": name,
        "midline (R mm)": f"{middle:+.0f}",
        **{key: f"{value:.3f}" for key, value in scores.items()},
        "bundle": f"{session.bundle.name} {session.bundle.hash[:8]}",
        "target": "left and right ≥ 0.85",
    }


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--bundle", help="name or folder; the embedded one without it")
    chosen = options.parse_args(arguments)
    from napari_colipri.ct.open import open_volume
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session

    session = Session(open_bundle(chosen.bundle))
    rows: list[Mapping[str, str]] = []
    for name, path in VOLUMES.items():
        file: Path = data_folder() / path
        pseudo = stored_mask(file.with_name(file.name.replace(".nii.gz", "_lungs-pseudo.nii.gz")))
        rows.append(row(name, open_volume(file), pseudo, session))
    publish("Lungs with airway and vessels, Dice against threshold pseudo-labels", rows, write=chosen.write)


def stored_mask(path: Path) -> Mask:
    """Return a stored mask, indexed as the volume beside it."""
    import nibabel

    stored: Any = nibabel.load(path)
    return np.asarray(stored.dataobj) > 0


if __name__ == "__main__":
    main()
