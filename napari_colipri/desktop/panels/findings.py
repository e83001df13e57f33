"""Findings: sorted by probability, with a bar and a number, and the word that says what the number is worth."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QLineEdit, QListView, QStyle, QStyledItemDelegate, QVBoxLayout, QWidget

from napari_colipri.desktop.panels.parts import Note, as_sentence, button, label, row
from napari_colipri.desktop.theme import Palette
from napari_colipri.engine.types import Finding, Findings

__all__ = ["FindingsModel", "FindingsPanel", "sorted_findings", "worth"]

_ROLE = int(Qt.ItemDataRole.UserRole)
_NOT_A_MASK = "The map shows where the model responded, not a segmentation."


def sorted_findings(items: tuple[Finding, ...]) -> list[Finding]:
    """Return the findings by falling probability, those without a number last."""
    return sorted(items, key=lambda item: (item.probability is None, -(item.probability or 0.0)))


def worth(item: Finding) -> str:
    """Return what the number is worth: its note, its calibration, or the word ``uncalibrated``."""
    if item.note:
        return item.note
    if item.calibration is None:
        return "uncalibrated"
    return f"calibrated on {item.calibration.get('set', 'an unnamed set')}"


def second_answer(item: Finding) -> str:
    """Return what the bundle's probe says beside the answer from prompts; empty where there is none."""
    if item.probe is None:
        return ""
    known = item.probe["calibration"]
    what = "uncalibrated" if known is None else f"calibrated on {known.get('set', 'an unnamed set')}"
    called = "above" if item.probe["called"] else "below"
    return f"Probe, a second answer: {item.probe['probability']:.2f}, {what}; {called} its threshold"


class FindingsModel(QAbstractListModel):
    """One row per finding."""

    def __init__(self) -> None:
        super().__init__()
        self._items: list[Finding] = []

    def set_items(self, items: list[Finding]) -> None:
        """Replace every row."""
        self.beginResetModel()
        self._items = list(items)
        self.endResetModel()

    def items(self) -> list[Finding]:
        """Return the rows."""
        return list(self._items)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of rows."""
        return 0 if parent is not None and parent.isValid() else len(self._items)

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        """Return the words of a row (also for screen readers), or the finding itself."""
        if not index.isValid() or index.row() >= len(self._items):
            return None
        item = self._items[index.row()]
        if role == _ROLE:
            return item
        if role in (int(Qt.ItemDataRole.DisplayRole), int(Qt.ItemDataRole.AccessibleTextRole)):
            number = "no number" if item.probability is None else f"{item.probability:.2f}"
            return f"{item.name} {number}, {worth(item)}"
        if role == int(Qt.ItemDataRole.ToolTipRole):
            prompts = f"Compared: {'; '.join(item.present[:2])}\nwith: {'; '.join(item.absent[:2])}"
            return "\n".join(line for line in (prompts, second_answer(item), _NOT_A_MASK) if line)
        return None


class _Bars(QStyledItemDelegate):
    """Draws name, bar, number and what the number is worth."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.palette: Palette | None = None

    def sizeHint(self, option: Any, index: QModelIndex) -> QSize:
        """Two lines of text and a bar."""
        return QSize(120, option.fontMetrics.height() * 2 + 18)

    def paint(self, painter: QPainter, option: Any, index: QModelIndex) -> None:
        """Draw one row."""
        item, colours = index.data(_ROLE), self.palette
        if not isinstance(item, Finding) or colours is None:
            return
        painter.save()
        self._draw(painter, option, item, colours)
        painter.restore()

    @staticmethod
    def _draw(painter: QPainter, option: Any, item: Finding, colours: Palette) -> None:
        box, line = option.rect, option.fontMetrics.height()
        if option.state & (QStyle.StateFlag.State_Selected | QStyle.StateFlag.State_MouseOver):
            painter.fillRect(box, QColor(colours.raised))
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(QRect(box.left(), box.top(), 3, box.height()), QColor(colours.accent))
        left, right, top = box.left() + 12, box.right() - 10, box.top() + 5
        number = "\N{EN DASH}" if item.probability is None else f"{item.probability:.2f}"
        number_width = option.fontMetrics.horizontalAdvance("0.00") + 4
        painter.setPen(QColor(colours.text))
        name = QRect(left, top, right - left - number_width - 8, line)
        words = option.fontMetrics.elidedText(item.name, Qt.TextElideMode.ElideRight, name.width())
        painter.drawText(name, int(Qt.AlignmentFlag.AlignVCenter), words)
        painter.drawText(
            QRect(right - number_width, top, number_width, line),
            int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight),
            number,
        )
        track = QRect(left, top + line + 3, right - left, 4)
        painter.fillRect(track, QColor(colours.line))
        if item.probability is not None:
            filled = QRect(track.left(), track.top(), round(track.width() * item.probability), track.height())
            painter.fillRect(filled, QColor(colours.accent if item.probability >= 0.5 else colours.muted))
        painter.setPen(QColor(colours.muted))
        small = painter.font()
        small.setPointSizeF(max(7.0, small.pointSizeF() - 1))
        painter.setFont(small)
        note = QRect(left, top + line + 8, right - left, line)
        words = painter.fontMetrics().elidedText(worth(item), Qt.TextElideMode.ElideRight, note.width())
        painter.drawText(note, int(Qt.AlignmentFlag.AlignVCenter), words)
        painter.setPen(QColor(colours.line))
        painter.drawLine(box.left() + 8, box.bottom(), box.right() - 8, box.bottom())


class FindingsPanel(QWidget):
    """The list, the user's own prompt, and the sentence about heat maps."""

    chosen = Signal(str)
    prompt = Signal(str)
    stop = Signal()
    add = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 8)
        layout.setSpacing(8)
        self.foreign = label("", "warn")
        self.note = Note("No findings yet", "Press Analyse; each finding then stands here with its probability.")
        self.model = FindingsModel()
        self.list = QListView()
        self.list.setModel(self.model)
        self.list.setMouseTracking(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self._bars = _Bars(self.list)
        self.list.setItemDelegate(self._bars)
        self.where = label("", "caption")
        self.stop_button = button("Stop", tip="Give up the open question")
        self.stop_button.setVisible(False)
        self.add_button = button("Add to report", tip="Put this answer into the draft, with what it rests on")
        self._offered = ""
        self.notes = label("", "caption")
        self.field = QLineEdit()
        self.field.setPlaceholderText("Ask in your own words, e.g. “pleural thickening”")
        self.field.setMaxLength(200)
        self.ask = button("Ask")
        layout.addWidget(self.foreign)
        layout.addWidget(self.note)
        layout.addWidget(self.list, 1)
        layout.addLayout(row(self.where, self.add_button, self.stop_button, stretch=0))
        layout.addWidget(self.notes)
        layout.addLayout(row(self.field, self.ask, stretch=0))
        layout.addStretch(0)
        self.list.clicked.connect(self._on_clicked)
        self.list.activated.connect(self._on_clicked)
        self.field.returnPressed.connect(self._on_ask)
        self.ask.clicked.connect(self._on_ask)
        self.stop_button.clicked.connect(self.stop)
        self.add_button.clicked.connect(lambda: self.add.emit(self._offered))
        self.set_foreign("")
        self.show_findings(None)

    def set_foreign(self, sentence: str) -> None:
        """Say that another model than the one chosen now made these answers; an empty text: it did not."""
        self.foreign.setText(sentence)
        self.foreign.setVisible(bool(sentence))
        self.field.setEnabled(not sentence)
        self.ask.setEnabled(not sentence)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme."""
        self._bars.palette = palette
        self.list.viewport().update()

    def show_findings(self, findings: Findings | None) -> None:
        """Show every finding, or the place where they will stand."""
        items = () if findings is None else findings.items
        self.model.set_items(sorted_findings(items))
        self.note.setVisible(findings is None)
        for widget in (self.list, self.field, self.ask):
            widget.setVisible(findings is not None)
        self.offer("")
        self.notes.setText("" if findings is None else " ".join(as_sentence(note) for note in findings.notes))
        self.notes.setVisible(bool(findings is not None and findings.notes))
        self.say_where("" if findings is None else "Click a finding to see where the model responded.")

    def say_where(self, sentence: str, *, waiting: bool = False) -> None:
        """Write under the list, such as where the peak of a heat map lies; *Stop* stands there while one waits."""
        self.where.setText(sentence)
        self.where.setVisible(bool(sentence))
        self.stop_button.setVisible(waiting)

    def offer(self, name: str) -> None:
        """Offer to put the answer to an own question into the draft; an empty name: there is nothing to offer."""
        self._offered = name
        self.add_button.setVisible(bool(name))

    def select(self, name: str) -> Finding | None:
        """Mark the row of a finding (any case) without asking for its heat map, and return it."""
        for number, item in enumerate(self.model.items()):
            if item.name.lower() == name.lower():
                index = self.model.index(number)
                self.list.setCurrentIndex(index)
                self.list.scrollTo(index)
                return item
        return None

    def _on_clicked(self, index: QModelIndex) -> None:
        item = index.data(_ROLE)
        if isinstance(item, Finding):
            self.chosen.emit(item.name)

    def _on_ask(self) -> None:
        text = " ".join(self.field.text().split())
        if text:
            self.field.clear()
            self.prompt.emit(text)
