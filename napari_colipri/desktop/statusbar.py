"""The line about what lies under the cursor, in napari's status bar."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QMainWindow, QWidget

__all__ = ["Readout"]


class Readout:
    """A label that is put into the main window's status bar once there is one, and taken out again by :meth:`close`.

    Parameters
    ----------
    owner
        Owns the label until then.
    """

    def __init__(self, owner: QWidget) -> None:
        # A child from the start: a label without a parent would be a window of its own.
        self._label: QLabel | None = QLabel(owner)
        self._label.hide()
        self._label.setObjectName("colipri readout")
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._placed = False

    def place(self, inside: QWidget) -> None:
        """Put the label into the status bar of the main window around ``inside``; does nothing the second time."""
        if self._placed or self._label is None:
            return
        widget: QWidget | None = inside
        while widget is not None and not isinstance(widget, QMainWindow):
            widget = widget.parentWidget()
        if widget is not None:
            widget.statusBar().addPermanentWidget(self._label)
            self._label.show()
            self._placed = True

    def say(self, text: str) -> None:
        """Show a line."""
        if self._label is not None:
            self._label.setText(text)

    def text(self) -> str:
        """Return what it shows."""
        return "" if self._label is None else str(self._label.text())

    def close(self) -> None:
        """Take the label away."""
        label, self._label = self._label, None
        if label is not None:
            label.hide()
            label.setParent(None)
            label.deleteLater()
