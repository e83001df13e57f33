"""Classes of the mask: colour, visibility, volume (a lower bound where the structure is cut off), mean HU."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_colipri.desktop.palette import class_colour_hex
from napari_colipri.desktop.panels.parts import Note, as_sentence, button, label, row
from napari_colipri.engine.types import Segmentation, SegmentationClass

__all__ = ["MasksPanel"]

_COLUMNS = ("Class", "ml", "mean HU")
_LABEL = int(Qt.ItemDataRole.UserRole)


class MasksPanel(QWidget):
    """Shows a :class:`Segmentation`'s classes; each can be shown and hidden."""

    visibility = Signal(int, bool)
    outline = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 8)
        layout.setSpacing(8)
        self.note = Note("No masks yet", "Press Analyse; named classes with volume and mean HU then stand here.")
        self.table = self._build_table()
        self.all_button, self.none_button = button("Show all"), button("Hide all")
        self.all_button.clicked.connect(lambda: self._set_all(True))
        self.none_button.clicked.connect(lambda: self._set_all(False))
        self.outline_button = button("Outline", "segment", tip="Draw edges only, so that the image shows")
        self.outline_button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.outline_button.setMinimumWidth(80)
        self.outline_button.toggled.connect(self.outline)
        self.caption = label("", "caption")
        layout.addWidget(self.note)
        layout.addWidget(self.table, 1)
        buttons = row(self.all_button, self.none_button)
        buttons.addStretch(1)
        buttons.addWidget(self.outline_button)
        layout.addLayout(buttons)
        layout.addWidget(self.caption)
        layout.addStretch(0)
        self.show_segmentation(None)

    def _build_table(self) -> QTableWidget:
        table = QTableWidget(0, len(_COLUMNS))
        table.setHorizontalHeaderLabels(list(_COLUMNS))
        table.horizontalHeaderItem(0).setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        table.setShowGrid(False)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.verticalHeader().setVisible(False)
        # Long names take a second line rather than three dots.
        table.setWordWrap(True)
        table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        table.verticalHeader().setMinimumSectionSize(28)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(30)
        header.setHighlightSections(False)
        table.itemChanged.connect(self._on_changed)
        return table

    def show_segmentation(self, segmentation: Segmentation | None) -> None:
        """Fill the table, or show the place where it will stand."""
        self.table.blockSignals(True)
        self.table.setRowCount(0)
        for item in () if segmentation is None else segmentation.classes:
            self._add(item)
        self.table.blockSignals(False)
        cut = segmentation is not None and any(item.touches_border for item in segmentation.classes)
        there = segmentation is not None
        self.note.setVisible(not there)
        for widget in (self.table, self.all_button, self.none_button, self.outline_button, self.caption):
            widget.setVisible(there)
        notes = () if segmentation is None else segmentation.notes
        words = ["Model output on the study's own voxels."]
        if cut:
            words.append("≥: the structure touches the border of the volume, so it may be larger.")
        self.caption.setText(" ".join([*words, *(as_sentence(note) for note in notes)]))

    def show_absence(self, sentence: str) -> None:
        """Say in the masks' place why there are none."""
        self.show_segmentation(None)
        self.note.say("No masks from this model", sentence)

    def hidden(self) -> frozenset[int]:
        """Return the labels that are switched off."""
        return frozenset(int(item.data(_LABEL)) for item in self._names() if item.checkState() != Qt.CheckState.Checked)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table's texts."""
        return [
            tuple(self.table.item(line, column).text() for column in range(len(_COLUMNS)))
            for line in range(self.table.rowCount())
        ]

    def _names(self) -> list[QTableWidgetItem]:
        return [self.table.item(line, 0) for line in range(self.table.rowCount())]

    def _add(self, item: SegmentationClass) -> None:
        line = self.table.rowCount()
        self.table.insertRow(line)
        name = QTableWidgetItem(_swatch(item.label), item.display_name)
        name.setData(_LABEL, item.label)
        name.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsUserCheckable)
        name.setCheckState(Qt.CheckState.Checked)
        name.setToolTip(f"{item.display_name} ({item.name}). The tick shows and hides it.")
        self.table.setItem(line, 0, name)
        hu = "\N{EN DASH}" if item.mean_hu is None else f"{item.mean_hu:.0f}".replace("-", "\N{MINUS SIGN}")
        volume = f"{item.volume_ml:,.0f}" if item.volume_ml >= 10 else f"{item.volume_ml:.1f}"
        cells = (f"≥ {volume}" if item.touches_border else volume, hu)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for column, text in enumerate(cells, start=1):
            cell = QTableWidgetItem(text)
            cell.setTextAlignment(right)
            self.table.setItem(line, column, cell)
        if item.touches_border:
            tip = "It touches the border of the volume: its true volume may be larger."
            self.table.item(line, 1).setToolTip(tip)

    def _on_changed(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            self.visibility.emit(int(item.data(_LABEL)), item.checkState() == Qt.CheckState.Checked)

    def _set_all(self, shown: bool) -> None:
        for item in self._names():
            item.setCheckState(Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked)


def _swatch(label_value: int) -> QIcon:
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(class_colour_hex(label_value)))
    return QIcon(pixmap)
