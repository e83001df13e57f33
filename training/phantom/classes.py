"""Classes of a phantom's label map, and the shorter lists made from them.

Names are TotalSegmentator's where it has them (Wasserthal et al., Radiology: AI 2023); its single vertebrae and ribs
are one class each here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CLASSES", "LABEL", "SHORT", "SHORT_CLASSES", "class_table", "merge_labels"]

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

#: Of each class of the short list: how it is shown, its SNOMED CT code, and the meaning of that code.
_CODES: dict[str, tuple[str, str, str]] = {
    "lung_left": ("Left lung", "44029006", "Left lung"),
    "lung_right": ("Right lung", "3341006", "Right lung"),
    "heart": ("Heart", "80891009", "Heart"),
    "aorta": ("Aorta", "15825003", "Aorta"),
    "pulmonary_vessels": ("Central pulmonary vessels", "81040000", "Pulmonary artery"),
    "bones": ("Bones", "272673000", "Bone"),
    "liver": ("Liver", "10200004", "Liver"),
    "trachea": ("Trachea and main bronchi", "44567001", "Trachea"),
    "spleen": ("Spleen", "78961009", "Spleen"),
    "stomach": ("Stomach", "69695003", "Stomach"),
    "esophagus": ("Oesophagus", "32849002", "Esophagus"),
    "pleural_effusion": ("Pleural effusion", "60046008", "Pleural effusion"),
}


def class_table() -> list[dict[str, Any]]:
    """Return label, name, display name and code of the short list, as a bundle's configuration holds them."""
    return [
        {
            "label": label,
            "name": name,
            "display_name": shown,
            "code": {"scheme": "SCT", "value": value, "meaning": meaning},
        }
        for label, (name, (shown, value, meaning)) in enumerate(_CODES.items(), start=1)
    ]


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
