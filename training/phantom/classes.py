"""Classes of a phantom's label map, and the shorter lists made from them.

Names are TotalSegmentator's where it has them (Wasserthal et al., Radiology: AI 2023); its single vertebrae and ribs
are one class each here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["CLASSES", "LABEL", "SHORT", "SHORT_CLASSES", "merge_labels"]

#: label -> name.
CLASSES: tuple[str, ...] = (
    "background",
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
    "trachea",
    "heart_atrium_left",
    "heart_atrium_right",
    "heart_ventricle_left",
    "heart_ventricle_right",
    "heart_myocardium",
    "aorta",
    "pulmonary_artery",
    "pulmonary_vein",
    "superior_vena_cava",
    "inferior_vena_cava",
    "brachiocephalic_vessels",
    "esophagus",
    "thyroid_gland",
    "vertebrae",
    "ribs",
    "sternum",
    "clavicula",
    "scapula",
    "humerus",
    "costal_cartilages",
    "liver",
    "spleen",
    "stomach",
    "kidney_left",
    "kidney_right",
    "colon",
    "pleural_effusion",
    "pericardial_effusion",
    "spinal_cord",
)
LABEL: dict[str, int] = {name: index for index, name in enumerate(CLASSES)}

#: The list of the embedded decoder: short name -> the classes it is made of. Everything else is background.
SHORT: dict[str, tuple[str, ...]] = {
    "lung_left": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "lung_right": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "heart": (
        "heart_atrium_left",
        "heart_atrium_right",
        "heart_ventricle_left",
        "heart_ventricle_right",
        "heart_myocardium",
    ),
    "aorta": ("aorta",),
    "pulmonary_vessels": ("pulmonary_artery", "pulmonary_vein"),
    "bones": ("vertebrae", "ribs", "sternum", "clavicula", "scapula", "humerus"),
    "liver": ("liver",),
    "trachea": ("trachea",),
    "spleen": ("spleen",),
    "stomach": ("stomach",),
    "esophagus": ("esophagus",),
    "pleural_effusion": ("pleural_effusion",),
}
SHORT_CLASSES: tuple[str, ...] = ("background", *SHORT)


def merge_labels(
    labels: npt.NDArray[np.uint8], short: dict[str, tuple[str, ...]] | None = None
) -> npt.NDArray[np.uint8]:
    """Return labels of a shorter list: 0 is background, n the n-th name of ``short`` (default :data:`SHORT`).

    Raises
    ------
    KeyError
        If ``short`` names a class that :data:`CLASSES` lacks.
    """
    table = np.zeros(len(CLASSES), np.uint8)
    for number, parts in enumerate((SHORT if short is None else short).values(), start=1):
        for part in parts:
            table[LABEL[part]] = number
    return np.asarray(table[labels])
