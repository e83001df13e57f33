"""What the headers of a DICOM volume show to be odd, in plain words without patient data or file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from napari_colipri.ct.passport import Reason, reason
from napari_colipri.ct.readers.dicom_headers import SliceHeader, speaks_of_hu
from napari_colipri.ct.readers.dicom_stack import Stack

__all__ = ["header_reasons", "left_out_reasons"]


class _Series(Protocol):
    """What is needed of a series here."""

    @property
    def series_uid(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def images(self) -> int: ...
    @property
    def headers(self) -> tuple[SliceHeader, ...]: ...


_NAMES = {
    "localizer": "localizer images",
    "colour": "colour images",
    "summary": "dose or protocol pages",
    "secondary": "secondary captures",
    "not_ct": "images of another modality",
}
_SKIPPED = {
    "truncated": "cut short",
    "unsupported_syntax": "in a compression that cannot be decoded here",
    "too_large": "inflating beyond measure",
}


def left_out_reasons(chosen: _Series, groups: Sequence[_Series], skipped: Counter[str]) -> list[Reason]:
    """Say which images and files of the study are not part of the volume.

    Parameters
    ----------
    chosen
        The group that was taken.
    groups
        All groups of the study.
    skipped
        Code and number of files that could not be read.
    """
    reasons: list[Reason] = []
    others = [info for info in groups if info is not chosen]
    turned = [info for info in others if info.kind == "ct" and _turned(info, chosen)]
    if turned:
        images = sum(info.images for info in turned)
        message = (
            f"The series mixes orientations: its largest part, {chosen.images} slices, was taken; {images} images in "
            f"{len(turned)} other orientation(s) were left out."
        )
        reasons.append(reason("mixed_orientation", message, images))
    parts = _listed([info for info in others if info not in turned])
    if parts:
        message = f"The study holds more than this volume of {chosen.images} images. Left out: {', '.join(parts)}."
        reasons.append(reason("other_series", message, ", ".join(parts)))
    if skipped:
        named = ", ".join(f"{count} {_SKIPPED.get(code, 'unreadable')}" for code, count in sorted(skipped.items()))
        reasons.append(reason("skipped_files", f"Files were left out: {named}.", sum(skipped.values())))
    return reasons


def _turned(info: _Series, chosen: _Series) -> bool:
    mine, other = chosen.headers[0].orientation, info.headers[0].orientation
    if info.series_uid != chosen.series_uid or mine is None or other is None:
        return False
    return bool(np.abs(np.array(mine) - np.array(other)).max() >= 0.01)


def _listed(others: Sequence[_Series]) -> list[str]:
    volumes = sorted((info.images for info in others if info.kind == "ct"), reverse=True)
    parts = [f"CT series of {', '.join(str(count) for count in volumes[:8])} images"] if volumes else []
    for kind, name in _NAMES.items():
        count = sum(info.images for info in others if info.kind == kind)
        if count:
            parts.append(f"{count} {name}")
    return parts


def header_reasons(made: Stack) -> list[Reason]:
    """Say what the headers of the slices taken state: lossy, burned in, tags missing, not HU, position."""
    headers = made.headers
    reasons: list[Reason] = []
    if any(item.table_damaged for item in headers):
        message = "The values are not HU: the header's look-up table for them does not fit its own description."
        reasons.append(reason("not_hu", message, "ModalityLUTSequence"))
    elif not all(speaks_of_hu(item) for item in headers):
        stated = next(item for item in headers if not speaks_of_hu(item))
        what = "/".join(stated.image_type) or stated.rescale_type
        message = f"The values are not HU: the header calls them {what}, rescale type {stated.rescale_type or 'none'}."
        reasons.append(reason("not_hu", message, what))
    missing = [
        name
        for name, absent in (
            ("Modality", any(not item.modality for item in headers)),
            ("RescaleSlope", any(item.slope is None and item.table is None for item in headers)),
            ("RescaleIntercept", any(item.intercept is None and item.table is None for item in headers)),
        )
        if absent
    ]
    if missing:
        assumed = " Stored values were taken as HU." if "RescaleIntercept" in missing else ""
        message = f"The headers do not state {', '.join(missing)}.{assumed}"
        reasons.append(reason("missing_tags", message, ", ".join(missing)))
    lossy = [item for item in headers if item.lossy]
    if any(item.bits_stored <= 8 for item in lossy):
        step = max(abs(item.slope or 1.0) for item in lossy)
        message = f"The images were compressed with loss to 8 bits: one grey step is {step:.0f} HU."
        reasons.append(reason("lossy_8bit", message, round(step, 4)))
    elif lossy:
        reasons.append(
            reason("lossy", f"The images were compressed with loss ({len(lossy)} of {len(headers)}).", len(lossy))
        )
    if any(item.burned_in for item in headers):
        reasons.append(reason("burned_in_text", "The header says that text is burned into the images."))
    return reasons + _position_reasons(headers[0], made)


#: Direction of the image's columns (downwards on the screen, towards the table), LPS, by the patient's posture.
_DOWN = {"S": (0.0, 1.0, 0.0), "P": (0.0, -1.0, 0.0), "DR": (-1.0, 0.0, 0.0), "DL": (1.0, 0.0, 0.0)}
_POSTURE = {"S": "on the back", "P": "on the front", "DR": "on the right side", "DL": "on the left side"}


def _position_reasons(first: SliceHeader, made: Stack) -> list[Reason]:
    """Compare PatientPosition with the affine of an original axial series, whose columns run towards the table."""
    posture = first.patient_position[2:]
    original = first.image_type[:1] in ((), ("ORIGINAL",))
    if posture not in _DOWN or first.orientation is None or not (made.orientation_known and original):
        return []
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    if abs(np.cross(row, column)[2]) < 0.7:
        return []
    if float(column @ np.array(_DOWN[posture])) > 0.5:
        return []
    message = (
        f"PatientPosition {first.patient_position} says that the patient lies {_POSTURE[posture]}, the image "
        "orientation does not agree. Letters follow the image orientation: check left and right."
    )
    return [reason("position_mismatch", message, first.patient_position)]
