"""From the headers of one group of slices to one grid: order, spacing, tilt, gaps, duplicates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.geometry import lps_to_ras
from napari_colipri.ct.passport import Reason, reason
from napari_colipri.ct.readers.dicom_headers import ENHANCED, SliceHeader
from napari_colipri.ct.volume import Affine
from napari_colipri.errors import StudyRefused

__all__ = ["Stack", "stack"]

Floats = npt.NDArray[np.float64]

#: Images nearer than this are at one position, mm.
_SAME_MM = 0.01
#: A hole wider than this many steps and this many mm parts two blocks; a narrower one is missing slices.
_FAR_STEPS, _FAR_MM = 10.0, 30.0
#: Slices farther than this from the straight line through the stack cannot be placed by one affine, mm.
_ASTRAY_MM = 2.0


@dataclass(frozen=True)
class Stack:
    """One grid.

    Attributes
    ----------
    headers
        In order of k, upwards along the normal of the slices.
    affine
        Voxel [i = column, j = row, k = slice] to RAS mm; k's column is the true (tilted) median step.
    slice_positions_mm
        Along the normal, where the slices are unevenly spaced; else None.
    orientation_known
        False where there is no ImageOrientationPatient or no position.
    reasons
        What was odd.
    """

    headers: tuple[SliceHeader, ...]
    affine: Affine
    slice_positions_mm: tuple[float, ...] | None
    orientation_known: bool
    reasons: tuple[Reason, ...]


def stack(headers: list[SliceHeader], preferred: Path | None = None) -> Stack:
    """Order the slices of one group (one series, orientation and matrix) and measure their grid.

    Parameters
    ----------
    headers
        At least one.
    preferred
        The file that the user named: of several images at one position it is kept.

    Raises
    ------
    StudyRefused
        ``not_a_volume`` if several slices carry no position, no spacing, or do not lie on one line.
    """
    first = headers[0]
    if any(item.frames > 1 and item.sop_class not in ENHANCED for item in headers):
        raise StudyRefused("The files hold several frames each without stating their places.", code="not_a_volume")
    reasons: list[Reason] = []
    stated = {"pixel spacing": first.pixel_spacing, "position": first.position, "orientation": first.orientation}
    missing = [name for name, found in stated.items() if found is None]
    if first.pixel_spacing is None and len(headers) > 1:
        raise StudyRefused("The slices state no pixel spacing: they cannot be measured.", code="not_a_volume")
    known = first.orientation is not None and all(item.position is not None for item in headers)
    if missing:
        message = f"The images do not state their {', '.join(missing)}: the geometry is incomplete."
        reasons.append(reason("missing_tags", message, ", ".join(missing)))
    places = _places(headers, known)
    normal = _normal(first, known)
    kept, along = _without_duplicates(headers, places @ normal, preferred, reasons)
    kept, along = _largest_block(kept, along, reasons)
    points = _places(kept, known)
    step, positions = _step(points, along, normal, kept, reasons)
    affine = lps_to_ras(_affine(kept[0], points[0], step, known))
    return Stack(tuple(kept), affine, positions, known, tuple(reasons))


def _cosines(header: SliceHeader, known: bool) -> tuple[Floats, Floats]:
    cosines = header.orientation if known and header.orientation else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    return row / np.linalg.norm(row), column / np.linalg.norm(column)


def _normal(header: SliceHeader, known: bool) -> Floats:
    normal = np.cross(*_cosines(header, known))
    return np.asarray(normal / np.linalg.norm(normal))


def _places(headers: list[SliceHeader], known: bool) -> Floats:
    """LPS mm of each slice's first pixel, [N, 3]; from SliceLocation where positions or orientation are missing."""
    if known:
        return np.array([item.position for item in headers], dtype=np.float64)
    if len(headers) == 1:
        return np.zeros((1, 3))
    if all(item.position is not None for item in headers):
        found = np.array([item.position for item in headers], dtype=np.float64)
        varying = int(np.argmax(np.ptp(found, axis=0)))
        heights = found[:, varying]
    elif all(item.slice_location is not None for item in headers):
        heights = np.array([item.slice_location for item in headers], dtype=np.float64)
    else:
        raise StudyRefused("The slices state no position: their order is unknown.", code="not_a_volume")
    return np.stack([np.zeros_like(heights), np.zeros_like(heights), heights], axis=1)


def _rank(header: SliceHeader, along: float, preferred: Path | None) -> tuple[int, bool, int, str]:
    return round(along / _SAME_MM), header.path != preferred, header.instance_number, str(header.path)


def _without_duplicates(
    headers: list[SliceHeader], along: Floats, preferred: Path | None, reasons: list[Reason]
) -> tuple[list[SliceHeader], Floats]:
    """Sort along the normal and keep one image per position; of several passes over the same positions, one pass."""
    order = sorted(range(len(headers)), key=lambda n: _rank(headers[n], float(along[n]), preferred))
    keep = _one_per_position(order, along)
    left_out = len(order) - len(keep)
    if left_out:
        chosen = _one_phase(headers, order, along, preferred) if 3 * left_out >= len(order) else None
        if chosen is not None:
            left_out, keep = len(order) - len(chosen), chosen
            message = (
                f"The series passes several times over the same positions: one pass of {len(chosen)} slices was taken, "
                f"{left_out} images of other passes were left out."
            )
            reasons.append(reason("other_series", message, left_out))
        else:
            message = f"{left_out} images repeat the position of another one and were left out."
            reasons.append(reason("duplicate_slices", message, left_out))
    return [headers[n] for n in keep], along[keep]


def _one_per_position(order: list[int], along: Floats) -> list[int]:
    keep: list[int] = []
    for n in order:
        if not keep or abs(along[n] - along[keep[-1]]) > _SAME_MM:
            keep.append(n)
    return keep


def _one_phase(headers: list[SliceHeader], order: list[int], along: Floats, preferred: Path | None) -> list[int] | None:
    """Return the largest acquisition or temporal position if these explain the repetition, else None."""
    sizes = Counter(headers[n].phase for n in order)
    if len(sizes) < 2:
        return None
    phase = max(sizes, key=lambda key: (sizes[key], -key[0], -key[1]))
    wanted = next((headers[n].phase for n in order if headers[n].path == preferred), phase)
    phase = wanted if sizes[wanted] > 1 else phase
    chosen = [n for n in order if headers[n].phase == phase]
    return chosen if len(chosen) > 1 and len(_one_per_position(chosen, along)) == len(chosen) else None


def _largest_block(
    headers: list[SliceHeader], along: Floats, reasons: list[Reason]
) -> tuple[list[SliceHeader], Floats]:
    """Split where a hole is far wider than the spacing and take the larger part."""
    if len(headers) < 3:
        return headers, along
    gaps = np.diff(along)
    far = np.flatnonzero(gaps > max(_FAR_MM, _FAR_STEPS * float(np.median(gaps))))
    if far.size == 0:
        return headers, along
    blocks = np.split(np.arange(len(headers)), far + 1)
    largest = max(blocks, key=len)
    message = (
        f"The series consists of {len(blocks)} blocks of slices, {float(gaps[far].max()):.0f} mm apart: only the "
        f"largest, {len(largest)} of {len(headers)} slices, was taken."
    )
    reasons.append(reason("other_series", message, float(gaps[far].max())))
    return [headers[n] for n in largest], along[largest]


def _step(
    points: Floats, along: Floats, normal: Floats, headers: list[SliceHeader], reasons: list[Reason]
) -> tuple[Floats, tuple[float, ...] | None]:
    """Return the LPS step from slice to slice (mm) and the positions along the normal where they are uneven."""
    count = len(headers)
    if count == 1:
        return normal * (headers[0].thickness or 1.0), None
    travelled = along - along[0]
    # in-plane drift per mm along the normal: zero for an untilted stack
    drift = np.linalg.lstsq(travelled[:, None], points - points[0] - travelled[:, None] * normal, rcond=None)[0][0]
    astray = np.abs(points - points[0] - travelled[:, None] * (normal + drift)).max()
    if astray > _ASTRAY_MM:
        message = f"The slices do not lie on one line (up to {astray:.1f} mm off): they are not one volume."
        raise StudyRefused(message, code="not_a_volume")
    gaps = np.diff(along)
    mean, usual = float(travelled[-1]) / (count - 1), float(np.median(gaps))
    # positions are often rounded to 0.1 mm: single steps may vary more than the line through all of them
    off_line = np.abs(travelled - mean * np.arange(count)).max()
    if off_line <= max(0.1 * usual, 0.08) and np.abs(gaps - usual).max() <= max(0.25 * usual, 0.11):
        return (normal + drift) * mean, None
    _say_gaps(gaps, usual, headers, along, reasons)
    return (normal + drift) * usual, tuple(float(item) for item in along)


def _say_gaps(gaps: Floats, usual: float, headers: list[SliceHeader], along: Floats, reasons: list[Reason]) -> None:
    """Name holes that are a whole number of steps; other unevenness is left to the geometry's own reason."""
    times = gaps / usual
    holes = np.flatnonzero((np.round(times) >= 2) & (np.abs(times - np.round(times)) < 0.15))
    regular = np.abs(np.delete(times, holes) - 1) < 0.25
    if holes.size == 0 or not regular.all():
        return
    lost = int((np.round(times[holes]) - 1).sum())
    named = "; ".join(
        f"{gaps[n]:.1f} mm between slices {n + 1} and {n + 2} of {len(headers)} (at {along[n]:.1f} mm)"
        for n in holes[:5]
    )
    more = "" if holes.size <= 5 else f" and {holes.size - 5} more"
    message = f"{lost} slices are missing, usual spacing {usual:.2f} mm: a gap of {named}{more}. Nothing was stretched."
    reasons.append(reason("missing_slices", message, [round(float(gap), 3) for gap in gaps[holes]]))


def _affine(header: SliceHeader, origin: Floats, step: Floats, known: bool) -> Affine:
    """Voxel [column, row, slice] to LPS mm."""
    row, column = _cosines(header, known)
    between_rows, between_columns = header.pixel_spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = origin
    return affine
