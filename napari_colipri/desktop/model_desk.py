"""Joins the page of models with what it changes: the list on disk, a folder to add, the choice of the dock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_colipri.desktop.jobs import Jobs
from napari_colipri.desktop.model import ModelChoice
from napari_colipri.desktop.panels.model import ModelPanel
from napari_colipri.desktop.services import Services
from napari_colipri.errors import Cancelled, ColipriError

if TYPE_CHECKING:
    from napari_colipri.engine.bundle import Bundle
    from napari_colipri.engine.bundle_store import BundleInfo
    from napari_colipri.progress import CancelToken, Progress

__all__ = ["ModelDesk"]


class ModelDesk:
    """The page's life; what is slow runs in a job and can be cancelled.

    Parameters
    ----------
    parent, panel
        Window for the dialog, and the page.
    choice
        What the dock uses.
    jobs, services
        Threads, and where models come from.
    """

    def __init__(self, parent: QWidget, panel: ModelPanel, choice: ModelChoice, jobs: Jobs, services: Services) -> None:
        self._parent, self._panel, self._choice, self._jobs, self._services = parent, panel, choice, jobs, services
        self._adding: int | None = None

    def signals(self) -> list[tuple[Any, Callable[..., Any]]]:
        """Return the connections that the dock makes and undoes."""
        panel = self._panel
        return [
            (panel.model, self._on_model),
            (panel.device, self._on_device),
            (panel.precision, self._on_precision),
            (panel.add_folder, self._on_add),
            (panel.cancel, self.cancel),
        ]

    def refresh(self) -> None:
        """Show choice and device as they are now, and read the list of models anew."""
        choice, panel = self._choice, self._panel
        if self._adding is None:
            panel.show_doing("Checking the model…" if choice.checking else None)
        panel.show_preferences(choice.preferences, choice.devices)
        panel.say(choice.note)
        title = "" if choice.bundle is None else choice.bundle.title

        def listed(found: tuple[BundleInfo, ...]) -> None:
            panel.show_models(found, choice.preferences.model, title)

        self._jobs.start(
            lambda _progress, _cancel: self._services.bundles(),
            done=listed,
            failed=lambda _error: panel.say("The models on disk cannot be listed."),
        )

    def add(self, folder: str) -> None:
        """Copy a folder into the user's data folder as a model, and use it."""
        self._panel.say("")
        self._panel.show_doing("Adding the model…")

        def work(progress: Progress, cancel: CancelToken) -> Bundle:
            return self._services.add(folder, progress, cancel)

        def added(bundle: Bundle) -> None:
            self._adding = None
            self._panel.show_doing(None)
            self._choose(model=bundle.path.name)

        def progress(fraction: float, text: str) -> None:
            self._panel.show_doing(f"{text} · {round(100 * fraction)} %", fraction)

        self._adding = self._jobs.start(work, done=added, failed=self._on_not_added, progress=progress)

    def cancel(self) -> None:
        """Give up adding or checking a model."""
        if self._adding is not None:
            self._jobs.cancel(self._adding)
            self._adding = None
        self._choice.stop_checking()
        self.refresh()

    def _on_not_added(self, error: BaseException) -> None:
        self._adding = None
        self.refresh()
        if not isinstance(error, Cancelled):
            known = isinstance(error, ColipriError)
            self._panel.say(str(error) if known else f"The model could not be added ({type(error).__name__}).")

    def _on_add(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self._parent, "Add a model folder")
        if chosen:
            self.add(chosen)

    def _on_model(self, name: str) -> None:
        self._choose(model=name or None)

    def _on_device(self, name: str) -> None:
        self._choose(device=name)

    def _on_precision(self, name: str) -> None:
        self._choose(precision=name)

    def _choose(self, **changed: str | None) -> None:
        self._choice.choose(replace(self._choice.preferences, **changed))  # type: ignore[arg-type]
        self.refresh()
