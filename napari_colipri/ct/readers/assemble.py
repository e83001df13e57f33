"""From voxels and a grid to a volume, for formats that hold both in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_colipri.ct.geometry import geometry_facts, geometry_reasons, measure
from napari_colipri.ct.passport import Passport, Reason, reason
from napari_colipri.ct.readers.values import Voxels
from napari_colipri.ct.volume import Affine, CTVolume, Source

__all__ = ["assemble"]


def assemble(
    voxels: Voxels,
    shape: tuple[int, int, int],
    affine: Affine,
    *,
    kind: Literal["nifti", "nrrd", "mha"],
    path: Path,
    stored: np.dtype[Any],
    volumes: int,
    orientation_known: bool,
    reasons: Sequence[Reason] = (),
    facts: Mapping[str, Any] | None = None,
) -> CTVolume:
    """Return the first volume of a file, with the reasons that its format and geometry give.

    Parameters
    ----------
    voxels
        In file order, i fastest.
    shape, affine
        Voxels along i, j, k; index to RAS mm.
    kind, path
        Format and file.
    stored
        Type of the values in the file.
    volumes
        How many the file holds.
    orientation_known
        Whether the header says where the axes point in the patient.
    reasons, facts
        What else is odd about the header, and what else the passport tells of it.
    """
    hu = voxels.hu.reshape(shape, order="F")
    hu.setflags(write=False)
    geometry = measure(shape, affine, orientation_known=orientation_known)
    found = list(reasons)
    if volumes > 1:
        message = f"The file holds {volumes} volumes; the first is shown. Save one volume per file to analyse it."
        found.append(reason("four_d", message, volumes))
    found += geometry_reasons(geometry)
    if voxels.not_finite:
        message = f"{voxels.not_finite} voxels hold no number (NaN or infinite); they are treated as air."
        found.append(reason("nan_voxels", message, voxels.not_finite))
    study = {
        "kind": kind,
        "stored_dtype": stored.newbyteorder("=").name,
        "dtype": hu.dtype.name,
        "volumes": volumes,
        "padding_voxels": voxels.padding,
        **(facts or {}),
    }
    return CTVolume(
        hu, affine, geometry, Source(kind, str(path)), Passport(tuple(found), geometry_facts(geometry), study)
    )
