"""Whether a bundle has seen input like this study: what its configuration says against what was measured."""

from __future__ import annotations

from napari_colipri.ct.passport import Reason, reason
from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.config import TrainedOn

__all__ = ["training_range_reasons"]


def training_range_reasons(volume: CTVolume, trained_on: TrainedOn) -> list[Reason]:
    """Return an ``outside_training_range`` reason for each way in which a volume differs from the training input.

    Parameters
    ----------
    volume
        With the reasons that its reader found.
    trained_on
        ``input.trained_on`` of the bundle: body region, slice spacing (mm) and extent along the body (mm).

    Returns
    -------
    list of Reason
        Empty if nothing differs.
    """
    geometry = volume.geometry
    out = []
    spacing = max(geometry.spacing_mm)
    low, high = trained_on.spacing_mm
    if not low <= spacing <= high:
        message = f"Slices lie {spacing:.1f} mm apart; this model was trained on {low:g} to {high:g} mm."
        out.append(reason("outside_training_range", message, round(spacing, 2)))
    along = next((n for n, code in enumerate(geometry.axis_codes) if code in "SI"), 2)
    extent = geometry.shape[along] * geometry.spacing_mm[along]
    if geometry.slice_positions_mm is not None and along == 2:
        extent = max(geometry.slice_positions_mm) - min(geometry.slice_positions_mm)
    low, high = trained_on.extent_mm
    if not low <= extent <= high:
        message = f"The scan covers {extent:.0f} mm of the body; this model was trained on {low:.0f} to {high:.0f} mm."
        out.append(reason("outside_training_range", message, round(extent, 1)))
    if any(item.code == "wrong_body_part" for item in volume.passport.reasons):
        message = f"This model was trained on the {trained_on.body} only."
        out.append(reason("outside_training_range", message, trained_on.body))
    return out
