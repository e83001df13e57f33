"""What findings a phantom can carry, and the bit mask that says where they are.

The other five (mosaic attenuation, peribronchial thickening, bronchiectasis, interlobular septal thickening, fibrotic
sequela) have structure finer than the 5 mm voxels of the embedded bundle and are left out on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.embedded.phantom.grid import Mask

__all__ = ["BIT", "LOBES", "PLANTED", "PhantomFinding", "Truth", "mark"]

#: Names in CT-RATE's canonical order; bit index of the truth mask.
PLANTED = (
    "Medical material",
    "Arterial wall calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Coronary artery wall calcification",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pleural effusion",
    "Consolidation",
)
BIT = {name: index for index, name in enumerate(PLANTED)}
LOBES = {
    1: "left upper lobe",
    2: "left lower lobe",
    3: "right upper lobe",
    4: "right lower lobe",
    5: "right middle lobe",
}


@dataclass(frozen=True)
class PhantomFinding:
    """One planted finding.

    Attributes
    ----------
    name
        One of :data:`PLANTED`.
    side
        ``left``, ``right``, ``both`` or None where side has no meaning.
    where
        Words for the place, such as ``right lower lobe``.
    size_mm
        Largest diameter or thickness, mm.
    count
        Number of lesions.
    """

    name: str
    side: str | None
    where: str
    size_mm: float
    count: int = 1


Truth = npt.NDArray[np.uint16]


def mark(truth: Truth, name: str, mask: Mask, box: tuple[slice, slice, slice] | None = None) -> None:
    """Set the bit of ``name`` where ``mask`` holds, inside ``box`` of the volume."""
    view = truth if box is None else truth[box]
    view[mask] |= np.uint16(1 << BIT[name])
