"""Similar cases: picture, excerpt, similarity, and where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_colipri.desktop.panels.parts import Card, Note, clear_layout, label, row

if TYPE_CHECKING:
    from napari_colipri.library.search import Hit, SimilarCases

__all__ = ["SimilarPanel"]

_PICTURE = 84


class SimilarPanel(QWidget):
    """Shows :class:`SimilarCases`, best first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 8, 0, 8)
        self._layout.setSpacing(8)
        self.shown: tuple[Hit, ...] = ()
        self.show_cases(None)

    def show_cases(self, cases: SimilarCases | None) -> None:
        """Fill the list, or show the place where it will stand."""
        clear_layout(self._layout)
        self.shown = () if cases is None else cases.hits
        if cases is None:
            self._layout.addWidget(Note("No similar cases yet", "Press Analyse; the nearest cases then stand here."))
        else:
            ranks = "Similarity ranks cases; it is not a probability."
            heading = f"{len(cases.hits)} of the library “{cases.library}”. {ranks}"
            self._layout.addWidget(label(" ".join((heading, *cases.notes)), "caption"))
            for hit in cases.hits:
                self._layout.addWidget(_case(hit))
        self._layout.addStretch(1)

    def show_absence(self, sentence: str) -> None:
        """Say in the cases' place why there are none."""
        clear_layout(self._layout)
        self.shown = ()
        self._layout.addWidget(Note("No similar cases", sentence))
        self._layout.addStretch(1)


def _case(hit: Hit) -> QWidget:
    card = Card()
    outer = QHBoxLayout()
    outer.setSpacing(10)
    outer.addWidget(_picture(hit.thumbnail_png), 0, Qt.AlignmentFlag.AlignTop)
    words = QVBoxLayout()
    words.setSpacing(3)
    name = label(hit.case_id, "heading")
    number = label(f"{hit.similarity:.2f}".replace("-", "\N{MINUS SIGN}"), "heading", wrap=False)
    number.setToolTip("Cosine with this study, both centred on the library's mean")
    words.addLayout(row(name, number, stretch=0))
    words.addWidget(label(_origin(hit.origin), "warn" if _phantom(hit.origin) else "caption"))
    words.addWidget(label(hit.excerpt))
    if hit.labels:
        words.addWidget(label(", ".join(hit.labels), "caption"))
    outer.addLayout(words, 1)
    card.body.addLayout(outer)
    return card


def _phantom(origin: str) -> bool:
    return origin.lower().startswith("phantom")


def _origin(origin: str) -> str:
    return "Phantom, not a patient" if _phantom(origin) else origin


def _picture(png: bytes | None) -> QLabel:
    out = QLabel()
    out.setFixedSize(_PICTURE, _PICTURE)
    out.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
    out.setAlignment(Qt.AlignmentFlag.AlignCenter)
    pixmap = QPixmap()
    if png is not None and pixmap.loadFromData(png, "PNG"):
        out.setPixmap(
            pixmap.scaled(
                _PICTURE,
                _PICTURE,
                Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )
        )
    else:
        out.setProperty("role", "caption")
        out.setText("no picture")
    return out
