"""A heat map on axes that napari can draw: resampled to a coarse axis-aligned grid over the study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_colipri.ct.display import DisplayVolume
    from napari_colipri.engine.types import HeatMap

__all__ = ["HeatOnDisplay", "heat_on_display"]

#: Voxel edge of the drawn map, mm: well below a token's (16 mm and more), and small in memory.
STEP_MM = 4.0

#: Share of the inside values that stays transparent.
_QUIET = 80.0


@dataclass(frozen=True, eq=False)
class HeatOnDisplay:
    """A heat map as it is drawn.

    Attributes
    ----------
    values
        float32 [I, P, L], NaN outside the image.
    scale, translate
        Of its grid in napari's world, mm.
    limits
        Values that are transparent and brightest.
    """

    values: npt.NDArray[np.float32]
    scale: tuple[float, float, float]
    translate: tuple[float, float, float]
    limits: tuple[float, float]


def heat_on_display(heat: HeatMap, display: DisplayVolume) -> HeatOnDisplay:
    """Resample ``heat`` linearly to a grid along the display axes that covers the study.

    Parameters
    ----------
    heat
        Values [X, Y, Z] with their affine to RAS mm; NaN outside the image.
    display
        The study on screen; world = (-S, -A, -R) mm.

    Returns
    -------
    HeatOnDisplay
        Points farther than half a token from the map, or nearer to NaN than to a value, are NaN.
    """
    from scipy.ndimage import map_coordinates

    size = np.asarray(display.data.shape, dtype=np.float64) * np.asarray(display.scale)
    shape = np.maximum(1, np.ceil(size / STEP_MM)).astype(int)
    scale = size / shape
    # Edges of both grids coincide: voxel centres lie half a voxel inside them.
    translate = np.asarray(display.translate) - np.asarray(display.scale) / 2 + scale / 2
    world = [translate[axis] + scale[axis] * np.arange(shape[axis]) for axis in range(3)]
    to_index = np.linalg.inv(heat.affine)
    linear, offset = to_index[:3, :3], to_index[:3, 3]
    # RAS = (-world[2], -world[1], -world[0])
    parts = [
        -linear[:, 2, None] * world[0],
        -linear[:, 1, None] * world[1],
        -linear[:, 0, None] * world[2],
    ]
    index = (
        parts[0][:, :, None, None]
        + parts[1][:, None, :, None]
        + parts[2][:, None, None, :]
        + offset[:, None, None, None]
    )
    known = np.isfinite(heat.values)
    filled = np.where(known, heat.values, 0.0).astype(np.float32)
    values = map_coordinates(filled, index, order=1, mode="nearest")
    weight = map_coordinates(known.astype(np.float32), index, order=1, mode="nearest")
    inside = weight > 0.5
    for axis, length in enumerate(heat.values.shape):
        inside &= (index[axis] >= -0.5) & (index[axis] <= length - 0.5)
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.where(inside, values / weight, np.nan).astype(np.float32)
    return HeatOnDisplay(out, _triple(scale), _triple(translate), _limits(heat))


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _limits(heat: HeatMap) -> tuple[float, float]:
    known = heat.values[np.isfinite(heat.values)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = float(np.percentile(known, _QUIET)), float(known.max())
    return (low, high) if high > low else (high - 1.0, high)
