"""Models: bundles, encodings and everything that is read from them. This front imports no torch.

A :class:`~napari_colipri.engine.session.Session` does the work in the process that imports it; the desktop talks to
one in a child process through :class:`~napari_colipri.engine.client.EngineClient`.
"""

from __future__ import annotations

from napari_colipri.engine.bundle import Bundle, open_bundle
from napari_colipri.engine.bundle_store import BundleInfo, add_bundle, list_bundles, remove_bundle
from napari_colipri.engine.config import BundleConfig, InputSpec
from napari_colipri.engine.types import (
    Encoding,
    Finding,
    Findings,
    GeneratedReport,
    HeatMap,
    ModelGrid,
    Segmentation,
    SegmentationClass,
)

__all__ = [
    "Bundle",
    "BundleConfig",
    "BundleInfo",
    "Encoding",
    "Finding",
    "Findings",
    "GeneratedReport",
    "HeatMap",
    "InputSpec",
    "ModelGrid",
    "Segmentation",
    "SegmentationClass",
    "add_bundle",
    "list_bundles",
    "open_bundle",
    "remove_bundle",
]
