"""Findings planted into real scans of the evaluation split, beside the plain scan and a sham edit of equal extent.

The question is whether the score follows the finding rather than the edit. Patients are counted, and there are a
handful: a description, not a test. Lungs come from threshold pseudo-labels, split at the emptiest sagittal plane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from benchmarks._common import data_folder, parser, publish
from benchmarks.lungs import VOLUMES, stored_mask

if TYPE_CHECKING:
    from training.evaluation.planted import Planted
    from training.evaluation.studies import Study


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--bundle", help="name or folder; the embedded one without it")
    options.add_argument("--seeds", type=int, default=3, help="plantings of each finding per scan")
    chosen = options.parse_args(arguments)
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.evaluation.phantoms import planted_scores
    from training.evaluation.planted import paired_differences

    session = Session(open_bundle(chosen.bundle), device="cpu", cache_bytes=0)
    pairs = planted_scores(session, _studies(), seeds=range(chosen.seeds))
    bundle = f"{session.bundle.name} {session.bundle.hash[:8]}"
    rows: list[Mapping[str, str]] = [
        {
            "finding": row.finding,
            "pairs": f"{row.pairs} of {row.patients} patients",
            "planted minus plain": str(row.planted),
            "sham minus plain": str(row.sham),
            "planted above sham": str(row.ranked),
            "bundle": bundle,
        }
        for row in paired_differences(_together(pairs))
    ]
    publish("Findings planted into real scans, change of the zero-shot probability", rows, write=chosen.write)


def _together(pairs: tuple[Planted, ...]) -> tuple[Planted, ...]:
    """Return the pairs of each finding, and all of them once more under one name."""
    from dataclasses import replace

    return (*pairs, *(replace(pair, finding="all together") for pair in pairs))


def _studies() -> Iterator[Study]:
    from napari_colipri.ct.open import open_volume
    from training.evaluation.studies import Study
    from training.phantom.real_scan import lung_sides

    for name, path in VOLUMES.items():
        scan = data_folder() / path
        volume = open_volume(scan)
        lungs = stored_mask(scan.with_name(scan.name.replace(".nii.gz", "_lungs-pseudo.nii.gz")))
        sides = lung_sides(lungs, volume.affine)
        patient = name.rpartition(" ")[0] if name.startswith("lungdx") else name
        yield Study(name, patient, volume, mask=sides)


if __name__ == "__main__":
    main()
