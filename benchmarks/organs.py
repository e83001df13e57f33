"""Agreement with TotalSegmentator's masks on its own test crops: similarity to that model, not accuracy.

Small crops at 1.5 and 3 mm; a mask on another grid is resampled to the scan's (nearest neighbour). Bare argmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks._common import data_folder, parser, publish
from benchmarks.lungs import dice

#: Scan, mask, and our class beside the mask's label (0: anything above zero).
CASES: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("totalsegmentator-pulmonary/ct_cropped.nii.gz", "heart.nii.gz", {"heart": 0}),
    ("totalsegmentator-aorta/ct_cropped.nii.gz", "aorta.nii.gz", {"aorta": 0}),
    (
        "totalsegmentator-example/example_ct_sm.nii.gz",
        "example_seg.nii.gz",
        {"spleen": 1, "liver": 5, "stomach": 6, "heart": 51, "aorta": 52},
    ),
)
TARGETS = {"heart": "≥ 0.70", "aorta": "≥ 0.70"}


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--bundle", help="name or folder; the embedded one without it")
    chosen = options.parse_args(arguments)
    import nibabel
    from nibabel.processing import resample_from_to

    from napari_colipri.ct.open import open_volume
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session

    session = Session(open_bundle(chosen.bundle), device="cpu")
    rows: list[Mapping[str, str]] = []
    for scan, mask, classes in CASES:
        path = data_folder() / scan
        image: Any = nibabel.load(path)
        stored: Any = nibabel.load(path.with_name(mask))
        reference = np.asarray(resample_from_to(stored, (image.shape, image.affine), order=0).dataobj)
        volume = open_volume(path)
        drawn = session.segment(volume, session.encode(volume))
        ours = {item.name: item.label for item in drawn.classes}
        for name, label in classes.items():
            there = reference > 0 if label == 0 else reference == label
            if name not in ours or not there.any():
                continue
            rows.append(
                {
                    "crop": scan.partition("/")[0],
                    "class": name,
                    "ml in the reference": f"{there.sum() * np.prod(volume.geometry.spacing_mm) / 1000:.0f}",
                    "Dice": f"{dice(drawn.labels == ours[name], there):.3f}",
                    "bundle": f"{session.bundle.name} {session.bundle.hash[:8]}",
                    "target": TARGETS.get(name, ""),
                }
            )
    publish("Masks beside TotalSegmentator's on its crops", rows, write=chosen.write)


if __name__ == "__main__":
    main()
