"""How the study is looked at: plane and CT window."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QButtonGroup, QPushButton, QVBoxLayout, QWidget

from napari_colipri.desktop.panels.parts import button, label, row
from napari_colipri.desktop.windows import WINDOWS, Window, describe_limits, matching_window

__all__ = ["PLANES", "ViewPanel"]

#: Name, and the order of the display axes (I-P-L) that shows it; None stands for 3D.
PLANES: dict[str, tuple[int, int, int] | None] = {
    "Axial": (0, 1, 2),
    "Coronal": (1, 0, 2),
    "Sagittal": (2, 0, 1),
    "3D": None,
}


class ViewPanel(QWidget):
    """Plane and window buttons; the keys stand in their tool tips and under the row."""

    plane = Signal(str)
    window_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.planes = {name: button(name, "segment") for name in PLANES}
        self.windows = {
            window.name: button(
                f"{_short(window)}\n{window.key}",
                "segment",
                tip=f"{window.name}: WW {window.width:.0f}, WL {window.level:.0f} HU. Key {window.key}",
            )
            for window in WINDOWS
        }
        self._plane_group = _exclusive(self, self.planes)
        self._window_group = _exclusive(self, self.windows)
        for name, item in self.planes.items():
            item.clicked.connect(lambda _checked, name=name: self.plane.emit(name))
        for name, item in self.windows.items():
            item.clicked.connect(lambda _checked, name=name: self.window_chosen.emit(name))
        layout.addLayout(row(*self.planes.values(), spacing=3))
        layout.addLayout(row(*self.windows.values(), spacing=3))
        self.limits = label("", "caption")
        layout.addWidget(self.limits)
        self.setEnabled(False)

    def show_limits(self, limits: tuple[float, float]) -> None:
        """Mark the window that these contrast limits (HU) are, if any, and write them down."""
        window = matching_window(limits)
        _check(self._window_group, None if window is None else self.windows[window.name])
        self.limits.setText(describe_limits(limits) + ("" if window else " (own setting)"))

    def show_plane(self, order: tuple[int, ...], ndisplay: int) -> None:
        """Mark the plane that the viewer shows, if it is one of ours."""
        name = "3D" if ndisplay == 3 else next((key for key, value in PLANES.items() if value == tuple(order)), None)
        _check(self._plane_group, None if name is None else self.planes[name])


def _short(window: Window) -> str:
    return "Mediast." if window.name == "Mediastinum" else window.name


def _exclusive(parent: QWidget, buttons: dict[str, QPushButton]) -> QButtonGroup:
    group = QButtonGroup(parent)
    for item in buttons.values():
        group.addButton(item)
    return group


def _check(group: QButtonGroup, chosen: QPushButton | None) -> None:
    if chosen is not None:
        chosen.setChecked(True)
        return
    # An exclusive group does not let go of its last button otherwise.
    group.setExclusive(False)
    for item in group.buttons():
        item.setChecked(False)
    group.setExclusive(True)
