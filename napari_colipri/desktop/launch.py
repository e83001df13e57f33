"""The viewer with the dock in it, for the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari

    from napari_colipri.desktop.preferences import Preferences
    from napari_colipri.desktop.services import Services
    from napari_colipri.desktop.widget import ColipriWidget

__all__ = ["open_viewer", "run"]


def open_viewer(
    study: str | None,
    *,
    analyse: bool = False,
    services: Services | None = None,
    preferences: Preferences | None = None,
) -> tuple[napari.Viewer, ColipriWidget]:
    """Open napari with the dock; the study is read in a thread and shown when it is there.

    Parameters
    ----------
    study
        File or folder, or None for an empty viewer.
    analyse
        Start an analysis as soon as the study is on screen.
    services
        Engine, models and library; None for the real ones.
    preferences
        Model, device and precision; None for those that were saved.

    Returns
    -------
    tuple
        Viewer and dock.
    """
    import napari

    from napari_colipri.desktop.widget import ColipriWidget

    viewer = napari.Viewer(title="COLIPRI")
    dock = ColipriWidget(viewer, services, preferences)
    viewer.window.add_dock_widget(dock, name="COLIPRI", area="right")
    if study is not None:
        dock.open_study(study, then=dock.analyse if analyse else None)
    return viewer, dock


def run(study: str | None, analyse: bool, preferences: Preferences | None = None) -> None:
    """Open the viewer and stay until its window is closed; see :func:`open_viewer`."""
    import napari

    open_viewer(study, analyse=analyse, preferences=preferences)
    napari.run()
