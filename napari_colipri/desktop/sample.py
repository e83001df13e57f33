"""The studies that ship with the package, for napari's *Open Sample*."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from napari_colipri.desktop.reader import LayerData, read_study

__all__ = ["FINDINGS", "NORMAL", "normal_phantom", "phantom_with_findings", "sample_path"]

#: Folder names under ``sample_data/studies``.
NORMAL, FINDINGS = "normal", "findings"


def sample_path(name: str) -> Path:
    """Return the file of a shipped study."""
    root = importlib.resources.files("napari_colipri")
    return Path(str(root.joinpath("sample_data", "studies", name, "ct.nii.gz")))


def normal_phantom() -> list[LayerData]:
    """Return the phantom without findings."""
    return read_study(sample_path(NORMAL))


def phantom_with_findings() -> list[LayerData]:
    """Return the phantom with several findings."""
    return read_study(sample_path(FINDINGS))
