"""Which window has the dock open: what is dropped on its canvas is then read by the dock, in the background."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_colipri.desktop.widget import ColipriWidget

__all__ = ["dock_of_current_viewer", "register", "unregister"]

_docks: weakref.WeakSet[ColipriWidget] = weakref.WeakSet()


def register(dock: ColipriWidget) -> None:
    """Remember an open dock for as long as it lives."""
    _docks.add(dock)


def unregister(dock: ColipriWidget) -> None:
    """Forget a dock that is being closed."""
    _docks.discard(dock)


def dock_of_current_viewer() -> ColipriWidget | None:
    """Return the dock in the window that the user works in, or None where there is none.

    A window of napari's exists only where its Qt side is imported already, so nothing is imported to find out.
    """
    napari = sys.modules.get("napari")
    if napari is None or not _docks:
        return None
    current = napari.current_viewer()
    return next((dock for dock in _docks if current is not None and _plain(dock.viewer) is _plain(current)), None)


def _plain(viewer: Any) -> Any:
    """Return the viewer behind the proxy that napari hands to plugins."""
    return getattr(viewer, "__wrapped__", viewer)
