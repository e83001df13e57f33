"""Several CT series in one folder, in the words of a list to choose from. No Qt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_colipri.errors import ColipriError

if TYPE_CHECKING:
    from napari_colipri.ct.readers.dicom import SeriesInfo

__all__ = ["SeriesChoice", "SeveralSeries", "several_series"]

_LEFT_OUT = {
    "ct": ("CT image in a series too short for a volume", "CT images in series too short for a volume"),
    "localizer": ("localizer", "localizers"),
    "colour": ("colour image", "colour images"),
    "summary": ("dose or protocol page", "dose or protocol pages"),
    "secondary": ("screenshot", "screenshots"),
    "not_ct": ("image of another modality", "images of another modality"),
}
_PLANES = ("sagittal", "coronal", "axial")
#: Cosine from which a plane bears its name, 10 degrees.
_ALONG = 0.985


@dataclass(frozen=True)
class SeriesChoice:
    """One series that can be opened.

    Attributes
    ----------
    uid
        SeriesInstanceUID.
    title
        What the scanner calls it; for the screen only.
    detail
        Slices, spacing in mm, plane and kernel.
    """

    uid: str
    title: str = field(repr=False)
    detail: str


class SeveralSeries(ColipriError):
    """A study holds several CT volumes: the user is asked which.

    Parameters
    ----------
    choices
        Largest volume first.
    left_out
        A sentence about what cannot be opened as a CT volume, or nothing.
    """

    def __init__(self, choices: tuple[SeriesChoice, ...], left_out: str) -> None:
        super().__init__("The study holds several CT series.", code="several_series")
        self.choices, self.left_out = choices, left_out


def several_series(groups: Sequence[SeriesInfo], least: int) -> SeveralSeries:
    """Return what to ask.

    Parameters
    ----------
    groups
        As :func:`~napari_colipri.ct.readers.dicom.find_series` returns them.
    least
        CT series of fewer images are left out.
    """
    choices: dict[str, SeriesChoice] = {}
    left: Counter[str] = Counter()
    for info in groups:
        if info.kind == "ct" and (info.images >= least or info.series_uid in choices):
            # A series in parts (of several orientations) is one line: opening it takes its largest part.
            choices.setdefault(info.series_uid, _choice(info))
        else:
            left[info.kind] += info.images
    words = [f"{count} {_LEFT_OUT.get(kind, (kind, kind))[count > 1]}" for kind, count in left.items()]
    return SeveralSeries(tuple(choices.values()), f"Left out: {', '.join(words)}." if words else "")


def _choice(info: SeriesInfo) -> SeriesChoice:
    first = info.headers[0]
    words = [f"{info.images} slices"]
    plane, apart = _geometry(info)
    if apart is not None:
        words.append(f"{apart:.3g} mm apart")
    if first.pixel_spacing is not None:
        words.append(f"pixels of {first.pixel_spacing[0]:.2f} × {first.pixel_spacing[1]:.2f} mm")
    words += [word for word in (plane, f"kernel {first.kernel}" if first.kernel else "") if word]
    return SeriesChoice(info.series_uid, info.description or f"Series {first.series_number}", ", ".join(words))


def _geometry(info: SeriesInfo) -> tuple[str, float | None]:
    """Return the name of the plane, and the usual distance between slices in mm."""
    first = info.headers[0]
    if first.orientation is None:
        return "", first.thickness
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    axis = int(np.argmax(np.abs(normal)))
    plane = _PLANES[axis] if abs(normal[axis]) >= _ALONG else "oblique"
    depths = np.unique([round(float(np.dot(normal, item.position)), 3) for item in info.headers if item.position])
    return plane, float(np.median(np.diff(depths))) if len(depths) > 1 else first.thickness
