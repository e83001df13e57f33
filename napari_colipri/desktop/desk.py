"""The report's life in the dock: shown, edited, saved at each pause, restored after a crash."""

from __future__ import annotations

from napari_colipri.desktop.drafts import SavedDraft, load_draft, save_draft
from napari_colipri.desktop.panels.report import ReportPanel
from napari_colipri.desktop.reporting import draft_text, evidence_words, fixed_words, sentence_of, with_line, with_text
from napari_colipri.report.draft import with_answers_of
from napari_colipri.report.types import Draft

__all__ = ["Desk"]


class Desk:
    """Joins the report panel and the files of edited drafts.

    Parameters
    ----------
    panel
        Where the draft is edited.
    """

    def __init__(self, panel: ReportPanel) -> None:
        self._panel = panel
        self._fingerprint: str | None = None
        self._draft: Draft | None = None
        panel.edited.connect(self._on_edited)
        panel.line_chosen.connect(self._on_line)

    @property
    def has_draft(self) -> bool:
        """Whether there is a draft to export."""
        return self._draft is not None

    @property
    def draft(self) -> Draft | None:
        """The draft as it was made, without edits."""
        return self._draft

    def current(self) -> Draft | None:
        """Return the draft as it is edited now."""
        return None if self._draft is None else with_text(self._draft, self._panel.text())

    def turn_to(self, fingerprint: str | None) -> None:
        """Save what is open and turn to another study; an edited draft of it is shown again."""
        self._panel.flush()
        self._fingerprint = fingerprint
        self._draft = None
        saved = None if fingerprint is None else load_draft(fingerprint)
        if saved is None:
            self._panel.show_text(None)
            return
        self._draft = saved.draft
        self._panel.show_text(saved.text, saved="Your edited draft, restored", generated=fixed_words(saved.draft))

    def add(self, draft: Draft, section: str, line: str) -> None:
        """Take a draft with one more sentence, and put its line into the edited text as one step that can be undone."""
        self._draft = draft
        text = with_line(self._panel.text(), draft, section, line)
        if text != self._panel.text():
            self._panel.replace_text(text)
        self._panel.show_line(line)

    def set_aside(self) -> None:
        """Save the draft of one model and show none: another model's follows."""
        self._panel.flush()
        self._draft = None
        self._panel.show_text(None)

    def show(self, draft: Draft) -> None:
        """Show a new draft; where an earlier one by the same model was edited, the edit is put over it.

        One *Undo* then takes it back. An edit of another model's draft is never put over this one: its numbers are not
        this model's.
        """
        self._panel.flush()
        saved = None if self._fingerprint is None else load_draft(self._fingerprint, draft.bundle_hash)
        if saved is not None:
            draft = with_answers_of(draft, saved.draft)
        self._draft = draft
        fresh = draft_text(draft)
        self._panel.show_text(fresh, generated=fixed_words(draft))
        if saved is not None and saved.text != draft_text(saved.draft) and saved.text != fresh:
            self._panel.replace_text(saved.text)
            self._panel.flush()
            self._panel.say_saved("Your edits kept; Undo shows the new draft")

    def save(self) -> None:
        """Write an edit that still waits for the pause in typing."""
        self._panel.flush()

    def _on_edited(self, text: str) -> None:
        if self._draft is None or self._fingerprint is None:
            return
        try:
            save_draft(self._fingerprint, SavedDraft(self._draft, text))
        except OSError:
            self._panel.say_saved("Not saved: the disk refuses. Export the report.")
            return
        self._panel.say_saved("Saved")

    def _on_line(self, line: str) -> None:
        sentence = None if self._draft is None else sentence_of(self._draft, line)
        self._panel.show_evidence(*(("", "") if sentence is None else evidence_words(sentence)))
