"""The dock's five pages."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QTabWidget, QVBoxLayout, QWidget

from napari_colipri.desktop.panels.findings import FindingsPanel
from napari_colipri.desktop.panels.masks import MasksPanel
from napari_colipri.desktop.panels.parts import scrolled
from napari_colipri.desktop.panels.report import ReportPanel
from napari_colipri.desktop.panels.similar import SimilarPanel
from napari_colipri.desktop.panels.study import StudyPanel

__all__ = ["LEAST_HEIGHT", "Tabs"]

#: Of the pages with their tabs, pixels: room for a few lines of a list or a draft, and its buttons.
LEAST_HEIGHT = 300


class _Pages(QTabWidget):
    """Takes the height that is left, whatever the wrapped labels of its pages would like."""

    def hasHeightForWidth(self) -> bool:
        """Never: else the page with most text would decide how high the dock is."""
        return False


class Tabs(QWidget):
    """Study, findings, masks, similar cases and report."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.study, self.findings, self.masks = StudyPanel(), FindingsPanel(), MasksPanel()
        self.similar, self.report = SimilarPanel(), ReportPanel()
        self._tabs = _Pages()
        bar = self._tabs.tabBar()
        bar.setExpanding(True)
        bar.setDrawBase(False)
        bar.setElideMode(Qt.TextElideMode.ElideNone)
        bar.setUsesScrollButtons(False)
        for name, page in (
            ("Study", scrolled(self.study)),
            ("Findings", self.findings),
            ("Masks", self.masks),
            ("Similar", scrolled(self.similar)),
            ("Report", self.report),
        ):
            self._tabs.addTab(page, name)
        # Wrapped labels ask for the height that they would need at their narrowest: far more than they take.
        self._tabs.setMinimumHeight(LEAST_HEIGHT)
        self._tabs.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._tabs)

    def page(self) -> str:
        """Return the name of the page in front."""
        return str(self._tabs.tabText(self._tabs.currentIndex()))

    def show_page(self, name: str) -> None:
        """Bring a page to the front."""
        for index in range(self._tabs.count()):
            if self._tabs.tabText(index) == name:
                self._tabs.setCurrentIndex(index)

    def clear(self) -> None:
        """Show on every page where its results will stand."""
        self.study.show_passport(None)
        self.clear_answers()
        self.report.show_text(None)

    def clear_answers(self) -> None:
        """Show where findings, masks and similar cases will stand."""
        self.findings.show_findings(None)
        self.masks.show_segmentation(None)
        self.similar.show_cases(None)
