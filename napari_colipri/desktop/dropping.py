"""What of a drop on the dock is one study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["dropped_path"]


def dropped_path(event: Any) -> str | None:
    """Return the one thing that was dropped, or the first of several files of one folder (slices of one series).

    Parameters
    ----------
    event
        Qt's drag or drop event.
    """
    urls = event.mimeData().urls() if event.mimeData().hasUrls() else []
    paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile() and url.toLocalFile()]
    if len(paths) > 1 and (len({path.parent for path in paths}) > 1 or any(path.is_dir() for path in paths)):
        return None
    return str(paths[0]) if paths else None
