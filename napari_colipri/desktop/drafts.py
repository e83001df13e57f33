"""Edited drafts on disk, so that a crash costs no words. No Qt.

One private file per study in the cache folder, named by the study's fingerprint, written beside and renamed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from napari_colipri.atomic import write_json
from napari_colipri.desktop.reporting import draft_from_json
from napari_colipri.paths import cache_dir, private_dir
from napari_colipri.report.types import Draft

__all__ = ["SavedDraft", "draft_path", "forget_draft", "load_draft", "save_draft"]

_FORMAT = 1


@dataclass(frozen=True)
class SavedDraft:
    """A draft as it was made, and the text as it was edited."""

    draft: Draft
    text: str


def draft_path(fingerprint: str) -> Path:
    """Return the file of a study's edited draft; it need not exist."""
    return cache_dir() / "drafts" / f"{fingerprint}.json"


def save_draft(fingerprint: str, saved: SavedDraft) -> None:
    """Write an edited draft, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; the file keeps its last content.
    """
    path = draft_path(fingerprint)
    private_dir(path.parent)
    value = saved.draft.to_json() | {"orientation_known": saved.draft.orientation_known}
    write_json(path, {"format": _FORMAT, "draft": value, "text": saved.text}, private=True)


def load_draft(fingerprint: str) -> SavedDraft | None:
    """Return the edited draft of a study, or None where there is none that can be read."""
    try:
        value = json.loads(draft_path(fingerprint).read_text(encoding="utf-8"))
        if value["format"] != _FORMAT:
            return None
        return SavedDraft(draft_from_json(value["draft"]), str(value["text"]))
    except (OSError, ValueError, KeyError, TypeError):  # absent, unreadable, or of another version
        return None


def forget_draft(fingerprint: str) -> None:
    """Remove a study's edited draft, if there is one."""
    draft_path(fingerprint).unlink(missing_ok=True)
