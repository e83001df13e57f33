"""Figures on disk: one JSON for programs and one Markdown table for readers, each whole or not at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from napari_colipri.atomic import write_json, write_text

__all__ = ["plain", "write_figures"]


def plain(value: Any) -> Any:
    """Return ``value`` with what is no finite number as None: strict JSON readers refuse NaN."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_figures(folder: Path, name: str, values: Any, markdown: str) -> None:
    """Write ``<name>.json`` and ``<name>.md`` into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.json", plain(values))
    write_text(folder / f"{name}.md", markdown)
