"""The dock's panels in their places: status above, then the study's pages or, for a while, the page of models."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_colipri.desktop.panels.model import ModelPanel
from napari_colipri.desktop.panels.parts import scrolled
from napari_colipri.desktop.panels.series import SeriesPanel
from napari_colipri.desktop.panels.status import StatusPanel
from napari_colipri.desktop.panels.tabs import LEAST_HEIGHT, Tabs
from napari_colipri.desktop.panels.view import ViewPanel
from napari_colipri.desktop.state import Phase, State

__all__ = ["Panels"]


class Panels:
    """Makes the panels and lays them out.

    Parameters
    ----------
    dock
        The widget that they fill.
    """

    def __init__(self, dock: QWidget) -> None:
        self.status, self.view, self.tabs, self.models = StatusPanel(), ViewPanel(), Tabs(), ModelPanel()
        self.series = SeriesPanel()
        body = QWidget()
        layout = QVBoxLayout(body)
        layout.setContentsMargins(10, 8, 10, 8)
        layout.setSpacing(8)
        layout.addWidget(self.status)
        layout.addWidget(self.view)
        layout.addWidget(self.tabs, 1)
        # Its texts may need more height than there is; the dock around it then keeps its own.
        self._models_area = scrolled(self.models)
        self._models_area.setMinimumHeight(LEAST_HEIGHT)
        layout.addWidget(self._models_area, 1)
        layout.addWidget(self.series, 1)
        self._shown = self._choosing = self._asking = False
        self._place()
        # On a low screen the dock scrolls; without this it would make napari's window higher than the screen.
        outer = QVBoxLayout(dock)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrolled(body))
        dock.setMinimumWidth(340)

    @property
    def choosing(self) -> bool:
        """Whether the page of models is in front."""
        return self._choosing

    def choose_model(self, wanted: bool) -> None:
        """Bring the page of models to the front, or the study's pages."""
        self._choosing = wanted
        self._place()

    def show_state(self, state: State) -> None:
        """Show what goes with a state."""
        self.status.show_state(state)
        self.tabs.report.all_button.setEnabled(state.analysed)
        self._shown, self._asking = state.shown, state.phase is Phase.CHOOSING
        self._place()

    def _place(self) -> None:
        self.view.setEnabled(self._shown)
        self.view.setVisible(self._shown and not self._choosing and not self._asking)
        self.tabs.setVisible(not self._choosing and not self._asking)
        self._models_area.setVisible(self._choosing and not self._asking)
        self.series.setVisible(self._asking)
        self.status.model_button.setEnabled(not self._choosing and not self._asking)
