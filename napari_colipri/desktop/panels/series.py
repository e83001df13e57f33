"""The question which of several series of a folder to open."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_colipri.desktop.panels.parts import button, label, row
from napari_colipri.desktop.series import SeveralSeries

__all__ = ["SeriesPanel"]

_UID = int(Qt.ItemDataRole.UserRole)


class SeriesPanel(QWidget):
    """Shows :class:`SeveralSeries`; the largest volume is selected."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.list.setSpacing(2)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.left_out = label("", "caption")
        self.open_button = button("Open this series", "primary")
        layout.addWidget(self.list, 1)
        layout.addWidget(self.left_out)
        buttons = row(self.open_button)
        buttons.addStretch(1)
        layout.addLayout(buttons)
        self.list.itemActivated.connect(self._on_item)
        self.open_button.clicked.connect(self._on_open)

    def ask(self, several: SeveralSeries) -> None:
        """Show the series, the first one selected."""
        self.list.clear()
        for choice in several.choices:
            item = QListWidgetItem(f"{choice.title}\n{choice.detail}")
            item.setData(_UID, choice.uid)
            self.list.addItem(item)
        self.list.setCurrentRow(0)
        self.left_out.setText(several.left_out)
        self.left_out.setVisible(bool(several.left_out))

    def texts(self) -> list[str]:
        """Return the lines of the list."""
        return [str(self.list.item(number).text()) for number in range(self.list.count())]

    def _on_item(self, item: Any) -> None:
        self.chosen.emit(str(item.data(_UID)))

    def _on_open(self) -> None:
        item = self.list.currentItem()
        if item is not None:
            self._on_item(item)
