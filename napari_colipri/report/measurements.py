"""Sentences about masks: volumes in ml, HU, and what was not found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.types import Segmentation, SegmentationClass
from napari_colipri.report.checks import Check, border_check, geometry_check, mirrored_pairs
from napari_colipri.report.types import Parts
from napari_colipri.text.side_and_size import side_of_name, without_side

__all__ = ["measurement_sentences"]


def measurement_sentences(segmentation: Segmentation | None, volume: CTVolume) -> list[Parts]:
    """Return one sentence for each class that was found and one for all that were not.

    Parameters
    ----------
    segmentation
        Masks on the source grid, or None where the bundle has no decoder.
    volume
        For geometry and passport.

    Returns
    -------
    list
        (text, origin, evidence, checks) each. Where the orientation is unknown, the two sides of a pair are added up.
    """
    if segmentation is None:
        return [("This bundle has no segmentation decoder: no masks and no volumes.", "template", (), ())]
    geometry = geometry_check(volume.passport)
    sided = volume.geometry.orientation_known
    wrong_side = mirrored_pairs(segmentation, volume)
    found = [item for item in segmentation.classes if item.volume_ml > 0]
    out: list[Parts] = []
    for group in _groups(found, sided=sided):
        checks = [geometry, *_border(group)]
        if any(item.name in wrong_side for item in group):
            message = "The masks called left and right lie on the opposite sides by the file's orientation."
            checks.append(Check("laterality", "warn", message))
        out.append((_text(group, sided=sided), "masks", tuple(_proof(item) for item in group), tuple(checks)))
    missing = [item for item in segmentation.classes if item.volume_ml <= 0]
    if missing:
        names = dict.fromkeys(_name(item, sided=sided).lower() for item in missing)
        out.append(
            (
                f"Not found by the segmentation: {', '.join(names)}.",
                "masks",
                tuple(_proof(item) for item in missing),
                (),
            )
        )
    if not found and not missing:
        out.append(("The segmentation decoder names no classes.", "masks", (), ()))
    return out


def _groups(found: Sequence[SegmentationClass], *, sided: bool) -> list[list[SegmentationClass]]:
    """Each class alone; with an unknown orientation left and right of a pair together."""
    if sided:
        return [[item] for item in found]
    groups: dict[str, list[SegmentationClass]] = {}
    for item in found:
        groups.setdefault(without_side(item.name), []).append(item)
    return list(groups.values())


def _border(group: Sequence[SegmentationClass]) -> list[Check]:
    checks = [border_check(item) for item in group]
    return [next((check for check in checks if check.result == "warn"), checks[0])]


def _name(item: SegmentationClass, *, sided: bool) -> str:
    if sided or side_of_name(item.name) is None:
        return item.display_name
    return f"{without_side(item.display_name).capitalize()}, one side"


def _text(group: Sequence[SegmentationClass], *, sided: bool) -> str:
    total = sum(item.volume_ml for item in group)
    measured = [(item.mean_hu, item.volume_ml) for item in group if item.mean_hu is not None]
    mean = sum(hu * ml for hu, ml in measured) / sum(ml for _, ml in measured) if measured else None
    name = _name(group[0], sided=sided)
    if len(group) > 1:
        name = name.replace("one side", "total of both")
    size = f"{total:,.0f} ml" if total >= 10 else f"{total:.1f} ml"
    density = f", mean {mean:.0f} HU" if mean is not None else ""
    cut = "at least " if any(item.touches_border for item in group) else ""
    return f"{name}: {cut}{size}{density}."


def _proof(item: SegmentationClass) -> dict[str, Any]:
    return {
        "kind": "mask",
        "class": item.name,
        "label": item.label,
        "volume_ml": item.volume_ml,
        "mean_hu": item.mean_hu,
        "touches_border": item.touches_border,
    }
