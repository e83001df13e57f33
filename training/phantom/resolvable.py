"""Which findings a grid can show: a rule in voxels.

A finding is resolvable when its narrowest telling extent covers so many voxels: two for something round in air or fat
(below that it is a single blurred voxel, which a vessel across the plane also is), one for a layer of fluid or a dense
plaque, three for a patch whose texture matters, one for a wall. Nothing is learnt from this about detectability by a
person or by a model: it only says where asking makes no sense.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from napari_colipri.text.findings import FINDING_NAMES
from training.phantom.findings import Finding

__all__ = ["VOXELS", "narrowest_mm", "never_resolvable", "resolvable", "visible"]

#: Voxels that the narrowest extent must cover.
VOXELS: dict[str, float] = {
    "Medical material": 1.0,
    "Arterial wall calcification": 1.0,
    "Cardiomegaly": 10.0,
    "Pericardial effusion": 1.0,
    "Coronary artery wall calcification": 1.0,
    "Hiatal hernia": 3.0,
    "Lymphadenopathy": 2.0,
    "Emphysema": 2.0,
    "Atelectasis": 1.0,
    "Lung nodule": 2.0,
    "Lung opacity": 3.0,
    "Pulmonary fibrotic sequela": 1.0,
    "Pleural effusion": 1.0,
    "Mosaic attenuation pattern": 3.0,
    "Peribronchial thickening": 1.0,
    "Consolidation": 2.0,
    "Bronchiectasis": 2.0,
    "Interlobular septal thickening": 1.0,
}
#: Extents, mm, that a finding's size does not tell.
_DEVICES = {
    "pacemaker": 9.0,
    "port catheter": 12.0,
    "chest tube": 6.4,
    "aortic valve prosthesis": 4.0,
    "nasogastric tube": 3.6,
    "coronary stent": 3.6,
    "central venous catheter": 2.6,
    "sternal wires": 1.8,
}
_LARGEST = {"Interlobular septal thickening": 2.5, "Peribronchial thickening": 4.0}


def narrowest_mm(item: Finding) -> float:
    """Return the extent that decides whether a grid shows a finding, mm."""
    if item.name == "Medical material":
        return _DEVICES.get(item.kind, 2.0)
    if item.name == "Atelectasis" and item.kind == "band":
        return 4.0
    if item.name == "Pulmonary fibrotic sequela" and item.kind != "apical scar":
        return 2.0
    if item.name == "Mosaic attenuation pattern":
        return 16.0
    if item.name == "Bronchiectasis":
        return 0.45 * item.size_mm  # the size is that of the widest, near the hilum; most are less than half as wide
    if item.name == "Interlobular septal thickening":
        return {"mild": 1.2, "moderate": 1.7, "severe": 2.2}[item.severity]
    return item.size_mm


def resolvable(item: Finding, spacing_mm: float) -> bool:
    """Tell whether a grid of ``spacing_mm`` (its coarsest axis) can show a finding.

    Raises
    ------
    ValueError
        If ``spacing_mm`` is not above zero.
    """
    if not spacing_mm > 0:
        raise ValueError(f"Spacing must be above 0 mm, not {spacing_mm}.")
    return narrowest_mm(item) >= VOXELS[item.name] * spacing_mm


def visible(
    present: npt.NDArray[np.float32], findings: Iterable[Finding], spacing_mm: float
) -> npt.NDArray[np.float32]:
    """Return labels [18] with NaN where a finding is there, but nothing of it that a grid of ``spacing_mm`` shows."""
    items = tuple(findings)
    there = {item.name for item in items}
    seen = {item.name for item in items if resolvable(item, spacing_mm)}
    out = present.copy()
    for name in there - seen:
        out[FINDING_NAMES.index(name)] = np.nan
    return out


def never_resolvable(spacing_mm: float, findings: Iterable[Finding] = ()) -> tuple[str, ...]:
    """Return the names of findings that this spacing never shows, or of which ``findings`` hold no resolvable one."""
    fixed = {name for name, mm in _LARGEST.items() if mm < VOXELS[name] * spacing_mm}
    seen: dict[str, bool] = {}
    for item in findings:
        seen[item.name] = seen.get(item.name, False) or resolvable(item, spacing_mm)
    fixed |= {name for name, good in seen.items() if not good}
    return tuple(name for name in VOXELS if name in fixed)
