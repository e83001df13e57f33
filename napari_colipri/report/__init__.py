"""Report drafts: sections of sentences, each with its origin, its evidence and its checks."""

from __future__ import annotations

from napari_colipri.report.draft import PRESENT_FROM, draft
from napari_colipri.report.markdown import to_markdown
from napari_colipri.report.types import Check, Draft, Section, Sentence, edited

__all__ = ["PRESENT_FROM", "Check", "Draft", "Section", "Sentence", "draft", "edited", "to_markdown"]
