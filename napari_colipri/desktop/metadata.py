"""What this plugin writes on a layer: one key, one typed dictionary per kind of layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

if TYPE_CHECKING:
    from napari_colipri.ct.display import DisplayVolume
    from napari_colipri.ct.volume import CTVolume

__all__ = ["KEY", "DerivedMetadata", "StudyMetadata", "derived_metadata", "study_metadata"]

#: Key of ``layer.metadata`` under which everything of ours lies.
KEY = "napari_colipri"


class StudyMetadata(TypedDict):
    """On an image layer that shows a study."""

    kind: Literal["study"]
    volume: CTVolume
    display: DisplayVolume


class DerivedMetadata(TypedDict):
    """On a layer that holds a model's output for a study."""

    kind: Literal["mask", "heat_map", "peak"]
    fingerprint: str
    bundle: str
    text: str


def study_metadata(layer: Any) -> StudyMetadata | None:
    """Return the study on ``layer``, or None where it shows something else."""
    value = layer.metadata.get(KEY)
    if isinstance(value, dict) and value.get("kind") == "study":
        return cast("StudyMetadata", value)
    return None


def derived_metadata(layer: Any) -> DerivedMetadata | None:
    """Return what is known about a layer of model output, or None where it is none of ours."""
    value = layer.metadata.get(KEY)
    if isinstance(value, dict) and value.get("kind") in ("mask", "heat_map", "peak"):
        return cast("DerivedMetadata", value)
    return None
