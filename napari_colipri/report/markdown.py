"""A draft as Markdown, readable as plain text too."""

from __future__ import annotations

from napari_colipri import RESEARCH_USE_ONLY
from napari_colipri.report.types import Draft, Sentence

__all__ = ["to_markdown"]


def to_markdown(draft: Draft) -> str:
    """Return ``draft`` as Markdown.

    Removed sentences are left out; a sentence for which a check found something is followed by what it found.

    Parameters
    ----------
    draft
        As made or edited.

    Returns
    -------
    str
        Ends with a line break.
    """
    lines = ["# Chest CT: draft report, not signed", "", f"> **{RESEARCH_USE_ONLY}**", ">"]
    lines.append(f"> Model: {draft.bundle} (hash {draft.bundle_hash[:12]}).")
    lines.extend(f"> {note[:1].upper()}{note[1:].rstrip('.')}." for note in draft.notes)
    for section in draft.sections:
        shown = [sentence for sentence in section.sentences if sentence.status != "removed"]
        if shown:
            lines.extend(["", f"## {section.name}", ""])
            lines.extend(line for sentence in shown for line in _lines(sentence))
    return "\n".join(lines) + "\n"


def _lines(sentence: Sentence) -> list[str]:
    mark = " *(edited)*" if sentence.status == "edited" else ""
    found = [f"  - Check ({check.code}): {check.message}" for check in sentence.checks if check.result == "warn"]
    return [f"- {_escaped(sentence.text)}{mark}", *found]


def _escaped(text: str) -> str:
    """Keep characters of a prompt or a class name from being read as Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_<>[]#|" else letter for letter in text)
