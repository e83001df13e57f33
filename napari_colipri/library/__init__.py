"""Similar-case libraries: one SQLite file each, exact search, no pickles.

A library belongs to one bundle: vectors of two bundles cannot be compared, so bundle hash and length are checked at
every step.
"""

from __future__ import annotations

from napari_colipri.library.search import Hit, Library, SimilarCases, open_library, shipped_library_dir
from napari_colipri.library.store import add_case, create, remove_case
from napari_colipri.library.survey import Stats, check, stats

__all__ = [
    "Hit",
    "Library",
    "SimilarCases",
    "Stats",
    "add_case",
    "check",
    "create",
    "open_library",
    "remove_case",
    "shipped_library_dir",
    "stats",
]
