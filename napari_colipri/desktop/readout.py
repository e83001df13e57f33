"""What lies under the cursor: RAS millimetres, HU and the class of the mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_colipri.ct.display import DisplayVolume

__all__ = ["display_index", "readout"]


def display_index(display: DisplayVolume, world: npt.ArrayLike) -> tuple[int, int, int] | None:
    """Return the display voxel that holds a world point, or None outside the study."""
    position = (np.asarray(world, dtype=np.float64) - np.asarray(display.translate)) / np.asarray(display.scale)
    index = np.floor(position + 0.5).astype(int)
    if np.any(index < 0) or np.any(index >= np.asarray(display.data.shape)):
        return None
    return int(index[0]), int(index[1]), int(index[2])


def readout(
    display: DisplayVolume, world: npt.ArrayLike, labels: npt.NDArray[Any] | None, names: dict[int, str]
) -> str:
    """Return a line such as ``R 12.3  A 40.2  S 8.0 mm · 45 HU · Heart``.

    Parameters
    ----------
    display
        The study on screen.
    world
        (3,) napari world coordinates, mm.
    labels
        Mask on the display grid [I, P, L], or None.
    names
        Display names of its labels.

    Returns
    -------
    str
        HU of the source's own voxel; coordinates without letters where the orientation is not stored; empty outside.
    """
    index = display_index(display, world)
    if index is None:
        return ""
    ras = np.asarray(display.world_to_ras(world), dtype=np.float64)
    source = display.source_index(world)
    hu = float(display.data[index] if source is None else display.source.hu[source])
    parts = [_position(ras, display.edge_letters is not None), f"{_number(hu, 0)} HU"]
    if labels is not None and labels.shape == display.data.shape:
        label = int(labels[index])
        if label:
            parts.append(names.get(label, f"class {label}"))
    return " · ".join(parts)


def _position(ras: npt.NDArray[np.float64], orientation_known: bool) -> str:
    if not orientation_known:
        return "  ".join(f"{axis} {_number(float(value), 1)}" for axis, value in zip("xyz", ras, strict=True)) + " mm"
    letters = [pair[0] if value >= 0 else pair[1] for value, pair in zip(ras, ("RL", "AP", "SI"), strict=True)]
    return "  ".join(f"{letter} {abs(value):.1f}" for letter, value in zip(letters, ras, strict=True)) + " mm"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
