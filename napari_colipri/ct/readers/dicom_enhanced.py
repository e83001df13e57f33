"""Enhanced multi-frame CT: one header per frame from the functional groups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_colipri.ct.readers.dicom_elements import integer, items, number, numbers, text, words
from napari_colipri.ct.readers.dicom_headers import SliceHeader, directions, spacing
from napari_colipri.errors import StudyRefused

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["frames_of"]

_MACROS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameContentSequence",
    "CTImageFrameTypeSequence",
)


def _macro(frame: Dataset | None, shared: Dataset | None, keyword: str) -> Dataset | None:
    """Return the item of a functional group: the frame's own, else the one shared by all frames."""
    for group in (frame, shared):
        for item in [] if group is None else items(group, keyword):
            return item
    return None


def frames_of(header: SliceHeader, dataset: Dataset) -> list[SliceHeader]:
    """Return one header per frame.

    Parameters
    ----------
    header
        The file's own header: what the functional groups do not say is taken from it.
    dataset
        The whole data set before the pixels.

    Raises
    ------
    StudyRefused
        ``truncated`` if there are fewer functional groups than frames.
    """
    shared = next(iter(items(dataset, "SharedFunctionalGroupsSequence")), None)
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(groups) < header.frames:
        message = f"The file states {header.frames} frames but describes {len(groups)}."
        raise StudyRefused(message, code="truncated", path=header.path)
    return [_frame(header, index, groups[index], shared) for index in range(header.frames)]


def _frame(header: SliceHeader, index: int, group: Dataset, shared: Dataset | None) -> SliceHeader:
    plane, direction, measures, transform, content, kind = (_macro(group, shared, keyword) for keyword in _MACROS)
    made = replace(header, frame=index, instance_number=index + 1)
    if plane is not None:
        made = replace(made, position=numbers(plane, "ImagePositionPatient", 3))
    if direction is not None:
        made = replace(made, orientation=directions(numbers(direction, "ImageOrientationPatient", 6)))
    if measures is not None:
        thickness = number(measures, "SpacingBetweenSlices") or number(measures, "SliceThickness")
        made = replace(made, pixel_spacing=spacing(numbers(measures, "PixelSpacing", 2)), thickness=thickness)
    if transform is not None:
        made = replace(
            made,
            slope=number(transform, "RescaleSlope") or None,
            intercept=number(transform, "RescaleIntercept"),
            rescale_type=text(transform, "RescaleType").upper(),
            table=None,
            table_damaged=False,
        )
    if content is not None:
        phase = integer(content, "FrameAcquisitionNumber", 0), integer(content, "TemporalPositionIndex", 0)
        made = replace(made, phase=phase)
    if kind is not None:
        made = replace(made, image_type=words(kind, "FrameType") or header.image_type)
    return made
