"""What is written on the canvas: patient letters at its edges, the window and the warning in its corners.

napari's own text overlays are used, so the letters are part of every screenshot. Where a letter stands follows from
the display axes (I-P-L), the order of the dims, the orientation of the camera and the transform of the layer, all of
which a user can change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components.overlays import TextOverlay

__all__ = ["CanvasText", "EdgeLetters", "edge_letters", "letters_of_direction"]

#: Patient direction in which each display axis grows, and its opposite.
_GROWS = ("I", "P", "L")
_FALLS = ("S", "A", "R")

#: A second letter is written where the direction leans this far to another axis (sine of 20 degrees).
_SECOND_LETTER = 0.342

_PREFIX = "napari_colipri_"
_PLACES = {"top": "top_center", "bottom": "bottom_center", "left": "middle_left", "right": "middle_right"}
_CORNERS = {"note": "top_left", "window": "bottom_left"}


@dataclass(frozen=True)
class EdgeLetters:
    """Letters at the four edges of the canvas; empty where nothing is claimed."""

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""


def letters_of_direction(direction_ipl: npt.ArrayLike) -> str:
    """Return the patient direction of a vector.

    Parameters
    ----------
    direction_ipl
        (3,) in mm along the display axes I, P, L.

    Returns
    -------
    str
        One letter, or two where it is oblique by more than 20 degrees; empty for a null vector.
    """
    vector = np.asarray(direction_ipl, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if length == 0 or not np.isfinite(length):
        return ""
    unit = vector / length
    by_size = np.argsort(-np.abs(unit))
    letters = [(_GROWS if unit[axis] > 0 else _FALLS)[axis] for axis in by_size[:2]]
    return letters[0] + (letters[1] if abs(unit[by_size[1]]) > _SECOND_LETTER else "")


def edge_letters(
    order: tuple[int, ...],
    orientation: tuple[str, ...],
    data_to_world: npt.ArrayLike,
    scale: npt.ArrayLike,
    *,
    ndisplay: int = 2,
    orientation_known: bool = True,
) -> EdgeLetters:
    """Return the letters for a view.

    Parameters
    ----------
    order
        ``viewer.dims.order``; the last two are shown, vertical then horizontal.
    orientation
        ``viewer.scene.camera.orientation``: (depth, vertical, horizontal), such as ``("away", "down", "right")``.
    data_to_world
        (3, 3) linear part of the layer's data-to-world transform.
    scale
        (3,) mm per voxel along the display axes I, P, L.
    ndisplay, orientation_known
        No letters in 3D, nor where the study stores no orientation.
    """
    if ndisplay != 2 or not orientation_known or len(order) != 3:
        return EdgeLetters()
    to_patient = np.diag(np.asarray(scale, dtype=np.float64)) @ np.linalg.inv(
        np.asarray(data_to_world, dtype=np.float64)
    )
    down = to_patient[:, order[-2]] * (1.0 if str(orientation[1]) == "down" else -1.0)
    right = to_patient[:, order[-1]] * (1.0 if str(orientation[2]) == "right" else -1.0)
    return EdgeLetters(
        left=letters_of_direction(-right),
        right=letters_of_direction(right),
        top=letters_of_direction(-down),
        bottom=letters_of_direction(down),
    )


class CanvasText:
    """Owns the text overlays of one viewer: adds them at first use and takes them away in :meth:`close`."""

    def __init__(self, viewer: Any) -> None:
        self._overlays: dict[str, TextOverlay] = {}
        for name, position in {**_PLACES, **_CORNERS}.items():
            corner = name in _CORNERS
            overlay = TextOverlay(
                position=position,
                font_size=11 if corner else 17,
                color=(0.85, 0.87, 0.90, 1.0) if corner else (0.98, 0.83, 0.35, 1.0),
                # On white bone as on black air: letters must be read wherever the image ends.
                box=True,
                box_color=(0.0, 0.0, 0.0, 0.55),
            )
            viewer.canvas.overlays[_PREFIX + name] = overlay
            self._overlays[name] = overlay

    def show_letters(self, letters: EdgeLetters) -> None:
        """Write the letters at the edges; an empty one disappears."""
        for name in _PLACES:
            self._write(name, getattr(letters, name))

    def show_note(self, text: str) -> None:
        """Write in the upper left corner."""
        self._write("note", text)

    def show_window(self, text: str) -> None:
        """Write in the lower left corner."""
        self._write("window", text)

    def texts(self) -> dict[str, str]:
        """Return what stands where, empty texts left out."""
        return {name: overlay.text for name, overlay in self._overlays.items() if overlay.visible}

    def close(self, viewer: Any) -> None:
        """Take every overlay off the canvas."""
        for name in self._overlays:
            viewer.canvas.overlays.pop(_PREFIX + name, None)
        self._overlays.clear()

    def _write(self, name: str, text: str) -> None:
        overlay = self._overlays.get(name)
        if overlay is None:
            return
        if overlay.text != text:
            overlay.text = text
        if overlay.visible != bool(text):
            overlay.visible = bool(text)
