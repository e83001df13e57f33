"""A study in 3D: never mirrored, seen from the front, through a window in which something is to be seen."""

from __future__ import annotations

from typing import Any

from napari_colipri.desktop.windows import apply_window, matching_window, window_named

__all__ = ["DepthView"]

#: Orders of the display axes I-P-L that keep right and left apart in space; the others show a mirror image in 3D.
_EVEN = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
#: Bright on a maximum intensity projection are bones and contrast; through the soft windows all of it is white.
_WINDOW = "Bone"
#: From front to back, and the head up, along I-P-L.
_BACKWARDS, _UP = (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)


class DepthView:
    """What has to change when a viewer goes to 3D, and back.

    Parameters
    ----------
    viewer
        napari's viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._before: str | None = None

    def enter(self, study: Any) -> None:
        """Make 3D true to sides and visible; a window that the user set by hand stays.

        Parameters
        ----------
        study
            The image layer of the study, or None.
        """
        if tuple(self._viewer.dims.order) not in _EVEN:
            self._viewer.dims.order = _EVEN[0]
        if study is None:
            return
        low, high = study.contrast_limits
        window = matching_window((low, high))
        if window is not None and window.name != _WINDOW:
            self._before = window.name
            apply_window(study, window_named(_WINDOW))

    def leave(self, study: Any) -> None:
        """Bring the window back that 3D took away, unless another was chosen meanwhile."""
        name, self._before = self._before, None
        if name is None or study is None:
            return
        low, high = study.contrast_limits
        if matching_window((low, high)) == window_named(_WINDOW):
            apply_window(study, window_named(name))

    def face(self) -> None:
        """Look at the patient from the front, head up."""
        self._viewer.dims.order = _EVEN[0]
        self._viewer.reset_view()
        self._viewer.scene.camera.set_view_direction(_BACKWARDS, _UP)
