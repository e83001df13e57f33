"""Top of the dock: what is open, what is going on, and the one thing to do next."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QProgressBar, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_colipri import RESEARCH_USE_ONLY
from napari_colipri.desktop.panels.parts import Card, button, label, row, set_property
from napari_colipri.desktop.state import Phase, State

__all__ = ["StatusPanel"]

_BADGES = {"ok": "OK", "warn": "Check", "refuse": "Refused"}

_TONES = {
    Phase.OPENING: "busy",
    Phase.CHOOSING: "busy",
    Phase.BUSY: "busy",
    Phase.REFUSED: "refuse",
    Phase.FAILED: "refuse",
}


class StatusPanel(QWidget):
    """Shows a :class:`State`; says what the user asks for."""

    open_file = Signal()
    open_folder = Signal()
    analyse = Signal()
    cancel = Signal()
    restart = Signal()
    choose_model = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        self.banner = label(RESEARCH_USE_ONLY, "banner")
        layout.addWidget(self.banner)
        self._build_header(layout)
        self._build_card(layout)
        self.model_note = label("", "warn")
        self.model_note.setVisible(False)
        self.model_line = label("", "caption")
        self.model_button = button("Model…", tip="Choose the model, where it runs and how precisely")
        self.model_button.clicked.connect(self.choose_model)
        layout.addWidget(self.model_note)
        layout.addLayout(row(self.model_line, self.model_button, stretch=0))
        self.show_state(State())

    def _build_header(self, layout: QVBoxLayout) -> None:
        self.study = QElidingLabel()
        self.study.setProperty("role", "title")
        self.study.setTextFormat(Qt.TextFormat.PlainText)
        self.study.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.badge = QLabel()
        self.badge.setProperty("badge", "ok")
        self.badge.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.file_button = button("Open file…", tip="NIfTI, NRRD, MHA, a DICOM file or a zip of one study")
        self.folder_button = button("Open folder…", tip="A folder of DICOM files")
        self.file_button.clicked.connect(self.open_file)
        self.folder_button.clicked.connect(self.open_folder)
        layout.addLayout(row(self.study, self.badge, stretch=0))
        layout.addLayout(row(self.file_button, self.folder_button))

    def _build_card(self, layout: QVBoxLayout) -> None:
        self.card = Card()
        self.heading = label("", "heading")
        self.sentence = label("", "muted")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.analyse_button = button("Analyse", "primary", tip="Encode the study once and fill in every tab")
        self.cancel_button = button("Cancel")
        self.restart_button = button("Restart engine", "primary")
        self.analyse_button.clicked.connect(self.analyse)
        self.cancel_button.clicked.connect(self.cancel)
        self.restart_button.clicked.connect(self.restart)
        self._keep_height()
        for widget in (self.heading, self.sentence, self.bar):
            self.card.body.addWidget(widget)
        buttons = row(self.analyse_button, self.restart_button, self.cancel_button)
        buttons.addStretch(1)
        self.card.body.addLayout(buttons)
        layout.addWidget(self.card)

    def _keep_height(self) -> None:
        """Let the card be as high when busy as when ready: a dock that grows makes napari draw its whole scene anew."""
        policy = self.bar.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.bar.setSizePolicy(policy)
        self.sentence.setMinimumHeight(2 * self.sentence.fontMetrics().lineSpacing() + 2)
        self.sentence.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        for item in (self.analyse_button, self.cancel_button, self.restart_button):
            item.setFixedHeight(34)

    def show_model(self, text: str, note: str = "") -> None:
        """Say which model runs where, and what is wrong with it, if anything."""
        self.model_line.setText(text)
        self.model_note.setText(note)
        self.model_note.setVisible(bool(note))

    def show_state(self, state: State) -> None:
        """Draw ``state``."""
        heading, sentence = _words(state)
        self.study.setText(state.study or "No study")
        self.study.setToolTip(state.study)
        self.heading.setText(heading)
        self.sentence.setText(sentence)
        self.bar.setVisible(state.working and state.phase is not Phase.CHOOSING)
        self.bar.setValue(round(state.fraction * 1000))
        self.cancel_button.setVisible(state.working)
        self.restart_button.setVisible(state.restartable)
        self.analyse_button.setVisible(state.can_analyse and not state.restartable)
        self.analyse_button.setText("Analyse again" if state.analysed else "Analyse")
        settled = state.analysed and not state.foreign
        set_property(self.analyse_button, "kind", "quiet" if settled else "primary")
        set_property(self.card, "drop", "true" if state.phase is Phase.EMPTY else "false")
        for widget in (self.file_button, self.folder_button):
            widget.setEnabled(not state.working)
        self.card.set_tone(_TONES.get(state.phase, ""))
        self._show_badge(state)

    def _show_badge(self, state: State) -> None:
        verdict = None if state.passport is None else state.passport.verdict
        if state.phase is Phase.REFUSED and not state.shown:
            verdict = "refuse"
        self.badge.setVisible(verdict is not None and state.phase not in (Phase.OPENING, Phase.CHOOSING))
        if verdict is not None:
            set_property(self.badge, "badge", verdict)
            self.badge.setText(_BADGES[verdict])
            self.badge.setToolTip("Verdict of the study's passport")


def _words(state: State) -> tuple[str, str]:
    both = " ".join(part for part in (state.message, state.advice) if part)
    if state.phase is Phase.EMPTY:
        return (
            "Open a chest CT",
            "Drop a file or a folder here, or use the buttons above. Nothing leaves this computer.",
        )
    if state.phase is Phase.OPENING:
        return f"Opening: {state.text}", ""
    if state.phase is Phase.CHOOSING:
        return "Which series?", "This study holds several. The largest CT volume is selected."
    if state.phase is Phase.READY:
        return (
            "Ready to analyse",
            state.message or "Findings, masks, similar cases and a draft from one pass of the model.",
        )
    if state.phase is Phase.BUSY:
        return f"{state.text} · {round(state.fraction * 100)} %", "You can go on viewing."
    if state.phase is Phase.DONE:
        if state.foreign:
            return "Analysed by another model", state.foreign
        return "Analysed", state.message or "Click a finding to see where the model responded."
    if state.phase is Phase.REFUSED:
        return ("Shown, but not analysed" if state.shown else "This study cannot be shown"), both
    return "That did not work", both
