"""Edited drafts on disk, so that a crash costs no words. No Qt.

One private file per study in the cache folder, named by the study's fingerprint, written beside and renamed. When
another model's draft of the study is edited, the former keeps its file under its model's hash.
"""

from __future__ import annotations

import json
import os
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


def draft_path(fingerprint: str, bundle_hash: str = "") -> Path:
    """Return the file of a study's edited draft; it need not exist.

    Parameters
    ----------
    fingerprint
        Of the study.
    bundle_hash
        Of the model whose draft was set aside; without it, the file of the draft edited last.
    """
    name = f"{fingerprint}.{bundle_hash[:12]}.json" if bundle_hash else f"{fingerprint}.json"
    return cache_dir() / "drafts" / name


def save_draft(fingerprint: str, saved: SavedDraft) -> None:
    """Write an edited draft, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; the file keeps its last content.
    """
    path, own = draft_path(fingerprint), saved.draft.bundle_hash
    private_dir(path.parent)
    before = load_draft(fingerprint)
    if before is not None and before.draft.bundle_hash != own:
        os.replace(path, draft_path(fingerprint, before.draft.bundle_hash))
    value = saved.draft.to_json() | {"orientation_known": saved.draft.orientation_known}
    write_json(path, {"format": _FORMAT, "draft": value, "text": saved.text}, private=True)
    if own:
        draft_path(fingerprint, own).unlink(missing_ok=True)


def load_draft(fingerprint: str, bundle_hash: str | None = None) -> SavedDraft | None:
    """Return the edited draft of a study, or None where there is none that can be read.

    Parameters
    ----------
    fingerprint
        Of the study.
    bundle_hash
        Of the model whose draft is wanted; without it, the one edited last.
    """
    latest = _read(draft_path(fingerprint))
    if bundle_hash is None or (latest is not None and latest.draft.bundle_hash == bundle_hash):
        return latest
    return _read(draft_path(fingerprint, bundle_hash))


def _read(path: Path) -> SavedDraft | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != _FORMAT:
            return None
        return SavedDraft(draft_from_json(value["draft"]), str(value["text"]))
    except (OSError, ValueError, KeyError, TypeError):  # absent, unreadable, or of another version
        return None


def forget_draft(fingerprint: str) -> None:
    """Remove a study's edited drafts, if there are any."""
    latest = draft_path(fingerprint)
    for path in (latest, *latest.parent.glob(f"{fingerprint}.*.json")):
        path.unlink(missing_ok=True)
