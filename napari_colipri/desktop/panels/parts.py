"""Small parts that every panel is built from."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

__all__ = ["Card", "Note", "as_sentence", "button", "clear_layout", "label", "row", "scrolled", "set_property"]


def set_property(widget: QWidget, name: str, value: Any) -> None:
    """Set a property that the style sheet selects by, and restyle."""
    if widget.property(name) == value:
        return
    widget.setProperty(name, value)
    style = widget.style()
    if style is not None:
        style.unpolish(widget)
        style.polish(widget)
        widget.updateGeometry()


def label(text: str = "", role: str = "body", *, wrap: bool = True) -> QLabel:
    """Return a label in one of the roles of the style sheet; its text can be selected."""
    out = QLabel(text)
    out.setProperty("role", role)
    out.setWordWrap(wrap)
    out.setTextFormat(Qt.TextFormat.PlainText)  # file names and prompts are data, never markup
    out.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    if wrap:
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        out.setSizePolicy(policy)
    return out


def button(text: str, kind: str = "quiet", *, tip: str = "") -> QPushButton:
    """Return a push button: ``primary``, ``quiet`` or ``segment`` (checkable)."""
    out = QPushButton(text)
    out.setProperty("kind", kind)
    out.setToolTip(tip)
    out.setCursor(Qt.CursorShape.PointingHandCursor)
    if kind == "segment":
        out.setCheckable(True)
        out.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        out.setMinimumWidth(10)
    return out


def row(*widgets: QWidget, spacing: int = 6, stretch: int | None = None) -> QHBoxLayout:
    """Lay widgets out from left to right; the one numbered ``stretch`` takes the rest."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    for number, widget in enumerate(widgets):
        layout.addWidget(widget, 1 if number == stretch else 0)
    return layout


class Card(QFrame):
    """A surface with a hairline; ``tone`` colours the line."""

    def __init__(self, parent: QWidget | None = None, *, spacing: int = 6) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self.body = QVBoxLayout(self)
        self.body.setContentsMargins(10, 9, 10, 9)
        self.body.setSpacing(spacing)

    def set_tone(self, tone: str) -> None:
        """Colour the line: ``refuse``, ``busy`` or nothing."""
        set_property(self, "tone", tone)


class Note(Card):
    """What stands where there is nothing yet: a heading and a sentence."""

    def __init__(self, heading: str, sentence: str) -> None:
        super().__init__()
        self._heading = label(heading, "heading")
        self._sentence = label(sentence, "muted")
        self.body.addWidget(self._heading)
        self.body.addWidget(self._sentence)

    def say(self, heading: str, sentence: str) -> None:
        """Change both."""
        self._heading.setText(heading)
        self._sentence.setText(sentence)

    def text(self) -> str:
        """Return what it says."""
        return f"{self._heading.text()} {self._sentence.text()}"


def scrolled(inner: QWidget) -> QScrollArea:
    """Put a page into a scroll area without a frame that scrolls downwards only."""
    inner.setObjectName("page")
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inner)
    return area


def as_sentence(text: str) -> str:
    """Return a note with a capital at its start and a full stop at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def clear_layout(layout: Any) -> None:
    """Remove and delete everything in a layout."""
    while (item := layout.takeAt(0)) is not None:
        widget = item.widget()
        if widget is not None:
            # Still a child until it is deleted: without a parent it would be a window of its own meanwhile.
            widget.hide()
            widget.deleteLater()
        elif item.layout() is not None:
            clear_layout(item.layout())
