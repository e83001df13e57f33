"""A phantom on one page: axial, coronal and sagittal planes in the lung and the mediastinal window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_colipri.atomic import replace_file

__all__ = ["WINDOWS", "page", "write_picture"]

#: Level and width, HU.
WINDOWS = {"lung": (-600.0, 1500.0), "mediastinum": (40.0, 400.0)}
_AXIAL = (0.22, 0.36, 0.5, 0.62, 0.76)
_CORONAL = (0.4, 0.5, 0.6)
_SAGITTAL = (0.32, 0.5)


def _grey(plane: npt.NDArray[np.int16], window: tuple[float, float]) -> npt.NDArray[np.uint8]:
    level, width = window
    return np.asarray(np.clip((plane - (level - width / 2)) / width, 0, 1) * 255, np.uint8)


def page(hu: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Return a grey picture, uint8 [rows, columns], of an isotropic volume [x, y, z].

    The patient's right is on the left of axial and coronal planes, as radiologists look at them.
    """
    x, y, z = hu.shape
    rows = []
    for window in WINDOWS.values():
        axial = [hu[::-1, ::-1, int(z * f)].T for f in _AXIAL]
        coronal = [hu[::-1, int(y * f), ::-1].T for f in _CORONAL]
        sagittal = [hu[int(x * f), ::-1, ::-1].T for f in _SAGITTAL]
        rows += [np.hstack([_grey(plane, window) for plane in planes]) for planes in (axial, [*coronal, *sagittal])]
    wide = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, wide - row.shape[1]))) for row in rows])


def write_picture(hu: npt.NDArray[np.int16], path: Path, *, scale: int = 2) -> None:
    """Write :func:`page` as PNG, enlarged ``scale`` times, whole or not at all."""
    picture = Image.fromarray(page(hu))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)
    picture = picture.quantize(48)  # a small file; a page is for looking, not for measuring
    with replace_file(path) as beside:
        picture.save(beside, optimize=True)
