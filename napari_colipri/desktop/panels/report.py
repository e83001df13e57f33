"""The report draft: one sentence a line, edited as text with undo, and the export buttons."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor, QFont, QSyntaxHighlighter, QTextCharFormat, QTextCursor
from qtpy.QtWidgets import QPlainTextEdit, QVBoxLayout, QWidget

from napari_colipri.desktop.panels.parts import Note, button, label, row
from napari_colipri.desktop.theme import Palette

__all__ = ["ReportPanel"]

#: Pause in typing after which a draft is written to disk, ms.
_AUTOSAVE_MS = 600


class _Headings(QSyntaxHighlighter):
    """Sets the heading lines of a draft off from its sentences."""

    def __init__(self, document: Any) -> None:
        super().__init__(document)
        self.format_ = QTextCharFormat()
        self.format_.setFontWeight(QFont.Weight.Bold)

    def colour(self, colour: str) -> None:
        """Take the theme's colour."""
        self.format_.setForeground(QColor(colour))
        self.rehighlight()

    def highlightBlock(self, text: str) -> None:
        """Qt asks for each line."""
        if text.startswith("# "):
            self.setFormat(0, len(text), self.format_)


class ReportPanel(QWidget):
    """An editor; it knows lines, not what they mean."""

    edited = Signal(str)
    line_chosen = Signal(str)
    evidence_wanted = Signal(str)
    export_report = Signal()
    export_all = Signal()
    stop = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 8)
        layout.setSpacing(8)
        self.note = Note("No draft yet", "Press Analyse; a draft with the evidence of each sentence then stands here.")
        self.editor = QPlainTextEdit()
        self.editor.setTabChangesFocus(True)
        self.editor.setMinimumHeight(120)
        self._headings = _Headings(self.editor.document())
        self.evidence = label("", "caption")
        self.evidence_button = button("Show", tip="Show the heat map behind this sentence")
        self.saved = label("", "caption")
        self.saved.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.stop_button = button("Stop", tip="Give up the export")
        self.stop_button.setVisible(False)
        self.undo, self.redo = button("Undo"), button("Redo")
        self.generated = label("", "caption")
        self.report_button = button("Export report…", "primary", tip="Markdown or JSON")
        self.all_button = button("Export all results…", tip="Every file of the analysis into a folder")
        self._lay_out(layout)
        self._evidence_text = ""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_AUTOSAVE_MS)
        self._timer.timeout.connect(self.flush)
        self._connect()
        self.show_text(None)

    def _lay_out(self, layout: QVBoxLayout) -> None:
        tools = row(self.undo, self.redo, self.saved, self.stop_button, stretch=2)
        layout.addWidget(self.note)
        layout.addLayout(tools)
        layout.addWidget(self.editor, 1)
        layout.addLayout(row(self.evidence, self.evidence_button, stretch=0))
        layout.addWidget(self.generated)
        layout.addLayout(row(self.report_button, self.all_button))
        layout.addStretch(0)

    def _connect(self) -> None:
        self.undo.clicked.connect(self.editor.undo)
        self.redo.clicked.connect(self.editor.redo)
        self.editor.undoAvailable.connect(self.undo.setEnabled)
        self.editor.redoAvailable.connect(self.redo.setEnabled)
        self.editor.textChanged.connect(self._on_changed)
        self.editor.cursorPositionChanged.connect(self._on_cursor)
        self.evidence_button.clicked.connect(self._on_evidence)
        self.report_button.clicked.connect(self.export_report)
        self.all_button.clicked.connect(self.export_all)
        self.stop_button.clicked.connect(self.stop)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of the theme; that is no edit."""
        self.editor.blockSignals(True)
        self._headings.colour(palette.accent)
        self.editor.blockSignals(False)

    def show_text(self, text: str | None, *, saved: str = "", generated: str = "") -> None:
        """Show a draft, or the place where it will stand.

        Parameters
        ----------
        text
            One sentence a line; undo starts from here. None: no draft.
        saved
            What to say about saving, such as that an earlier edit was restored.
        generated
            The sentence in the place of generated text.
        """
        there = text is not None
        self._timer.stop()
        self.editor.blockSignals(True)
        self.editor.setPlainText(text or "")
        self.editor.blockSignals(False)
        self.note.setVisible(not there)
        self.undo.setEnabled(False)
        self.redo.setEnabled(False)
        for widget in (self.editor, self.undo, self.redo, self.saved, self.report_button, self.all_button):
            widget.setVisible(there)
        self.saved.setText(saved)
        self.generated.setText(generated)
        self.generated.setVisible(there and bool(generated))
        self.show_evidence("", "")

    def replace_text(self, text: str) -> None:
        """Put another text in the editor as one step that can be undone."""
        cursor = QTextCursor(self.editor.document())
        cursor.beginEditBlock()
        cursor.select(QTextCursor.SelectionType.Document)
        cursor.insertText(text)
        cursor.endEditBlock()

    def show_line(self, line: str) -> None:
        """Put the cursor into a line, if it is there."""
        for number, text in enumerate(self.text().splitlines()):
            if text == line:
                cursor = self.editor.textCursor()
                cursor.setPosition(self.editor.document().findBlockByNumber(number).position())
                self.editor.setTextCursor(cursor)
                return

    def showEvent(self, event: Any) -> None:
        """Bring the line with the cursor into view: it may have been put there while another page was in front."""
        super().showEvent(event)
        self.editor.ensureCursorVisible()

    def text(self) -> str:
        """Return what stands in the editor."""
        return str(self.editor.toPlainText())

    def show_evidence(self, sentence: str, heat_map_text: str) -> None:
        """Say what the current line rests on; the button appears where a heat map can show it."""
        self._evidence_text = heat_map_text
        self.evidence.setText(sentence)
        self.evidence.setVisible(bool(sentence))
        self.evidence_button.setVisible(bool(heat_map_text))

    def say_saved(self, sentence: str, *, writing: bool = False) -> None:
        """Say whether the draft is on disk; *Stop* stands there while an export is written."""
        self.saved.setText(sentence)
        self.stop_button.setVisible(writing)

    def flush(self) -> None:
        """Hand an edit that waits for the pause in typing over now."""
        if self._pending:
            self._timer.stop()
            self._pending = False
            self.edited.emit(self.text())

    _pending = False

    def _on_changed(self) -> None:
        self._pending = True
        self.saved.setText("Editing…")
        self._timer.start()

    def _on_cursor(self) -> None:
        self.line_chosen.emit(str(self.editor.textCursor().block().text()))

    def _on_evidence(self) -> None:
        if self._evidence_text:
            self.evidence_wanted.emit(self._evidence_text)
