"""The dock *COLIPRI*: joins panels, canvas, engine and disk. It opens at once; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QSize
from qtpy.QtWidgets import QWidget

from napari_colipri.desktop import state as states
from napari_colipri.desktop.analysis_run import AnalysisRun
from napari_colipri.desktop.answers import Answers
from napari_colipri.desktop.desk import Desk
from napari_colipri.desktop.dropping import dropped_path
from napari_colipri.desktop.engine_bridge import EngineBridge
from napari_colipri.desktop.exporting import Exporter
from napari_colipri.desktop.jobs import Jobs
from napari_colipri.desktop.loading import (
    LoadedStudy,
    advice_for,
    in_training_range,
    sentence_for,
)
from napari_colipri.desktop.metadata import study_metadata
from napari_colipri.desktop.model import ModelChoice
from napari_colipri.desktop.model_desk import ModelDesk
from napari_colipri.desktop.open_docks import register, unregister
from napari_colipri.desktop.opener import Opener
from napari_colipri.desktop.panels.dock import Panels
from napari_colipri.desktop.preferences import Preferences, load_preferences
from napari_colipri.desktop.screen import Screen
from napari_colipri.desktop.series import SeveralSeries
from napari_colipri.desktop.services import Services
from napari_colipri.desktop.state import Phase, State
from napari_colipri.desktop.statusbar import Readout
from napari_colipri.desktop.theme import palette_of, stylesheet
from napari_colipri.errors import Cancelled, ColipriError, StudyRefused

if TYPE_CHECKING:
    import napari

    from napari_colipri.engine.bundle import Bundle

__all__ = ["ColipriWidget"]


class ColipriWidget(QWidget):
    """The dock.

    Parameters
    ----------
    napari_viewer
        napari passes it by this name.
    services
        Engine, models and library; None for the real ones.
    preferences
        Model, device and precision; None for those that were saved.
    """

    def __init__(
        self, napari_viewer: napari.Viewer, services: Services | None = None, preferences: Preferences | None = None
    ) -> None:
        super().__init__()
        services = services or Services()
        self.setObjectName("colipri")
        self.setAcceptDrops(True)
        self.viewer = self._viewer = napari_viewer
        register(self)
        self.state = State()
        self.study: LoadedStudy | None = None
        self._waiting = self._closed = False
        self.panels = Panels(self)
        self.status, self.view, self.tabs = self.panels.status, self.panels.view, self.panels.tabs
        self.jobs = Jobs(self)
        self.opener = Opener(self, self.jobs, self)
        self.bridge = EngineBridge(services.client, self)
        self.run = AnalysisRun(self.bridge, self.jobs, services.library, self)
        self.readout = Readout(self)
        self.model = ModelChoice(
            self.bridge,
            self.jobs,
            services.bundle,
            preferences or load_preferences(),
            tell=self._on_model,
            say=self._on_model_line,
        )
        self.model_desk = ModelDesk(self, self.panels.models, self.model, self.jobs, services)
        self.desk = Desk(self.tabs.report)
        exporter = self.exporter = Exporter(self, self.tabs.report, self.jobs, self.desk)
        self.screen = Screen(
            napari_viewer, on_view=self._on_view, on_readout=self.readout.say, on_study_removed=self._on_study_removed
        )
        self.answers = Answers(self.run, self.tabs, self.screen, self.desk, exporter)
        self._qt_connections, self._napari_connections = self._signals()
        for signal, slot in (*self._qt_connections, *self._napari_connections):
            signal.connect(slot)
        # Closing napari's window deletes this widget without closing it first.
        self.destroyed.connect(partial(ColipriWidget._release, self))
        self._on_theme()
        self._set(self.state)
        self.model.verify()
        for layer in reversed(napari_viewer.layers):
            if self._adopt(layer):
                break

    # ------------------------------------------------------------------------------------------ public acts

    def open_study(self, path: str | Path, *, then: Callable[[], None] | None = None) -> None:
        """Read a study in a thread and show it.

        Parameters
        ----------
        path
            File or folder.
        then
            Called once it is on screen.
        """
        self._leave_run()
        self.opener.open(path, then)

    def analyse(self) -> None:
        """Start an analysis of the study on screen, if it may be analysed and once its model has been checked."""
        wanted = states.analysing(self.state)
        if wanted is self.state:
            return
        problem = self.model.problem
        if problem is not None:
            self._set(states.failed(self.state, problem.message, "Model… chooses or adds another one."))
            return
        self._set(wanted)
        if self.model.checking:
            self._waiting = True
            self.on_progress(0.0, "Checking the model")
        else:
            self._start_run()

    def _start_run(self) -> None:
        self._waiting = False
        if self.answers.begin(self.model.maker):
            self._set(states.anew(self.state))
        self.model.start_engine()
        self.run.start()

    def cancel(self) -> None:
        """Give up what is under way and go back to where it was started from."""
        if self.opener.cancel():
            name = "" if self.study is None else self.study.name
            self._set(states.cancelled(self.state, name))
            return
        self._waiting = False
        self.run.stop()
        self._set(states.cancelled(self.state, self.state.study))

    def restart_engine(self) -> None:
        """Start the engine's process again; the study and every edit are still here."""
        self.model.start_engine()
        self._set(states.restarted(self.state))

    def show_models(self, shown: bool) -> None:
        """Show the page of models in place of the study's pages, or those again."""
        self.panels.choose_model(shown)
        if shown:
            self.model_desk.refresh()

    # ---------------------------------------------------------------------------------------------- building

    def sizeHint(self) -> QSize:
        """Fit beside the canvas of a laptop."""
        return QSize(400, 820)

    def _signals(self) -> tuple[list[tuple[Any, Callable[..., Any]]], list[tuple[Any, Callable[..., Any]]]]:
        """List every connection, those of Qt and those of napari; :meth:`_cleanup` undoes each."""
        status, view = self.status, self.view
        qt: list[tuple[Any, Callable[..., Any]]] = [
            (status.open_file, self.opener.choose_file),
            (status.open_folder, self.opener.choose_folder),
            (status.analyse, self.analyse),
            (status.cancel, self.cancel),
            (status.restart, self.restart_engine),
            (status.choose_model, partial(self.show_models, True)),
            (self.panels.models.closed, partial(self.show_models, False)),
            (self.panels.series.chosen, self.opener.choose_series),
            *self.model_desk.signals(),
            (view.plane, self.screen.choose_plane),
            (view.window_chosen, self.screen.choose_window),
            (self.run.progressed, self.on_progress),
            (self.run.finished, self._on_finished),
            (self.run.failed, self._on_failed),
            (self.bridge.died, self._on_died),
            *self.answers.signals(),
        ]
        application = QCoreApplication.instance()
        if application is not None:
            qt.append((application.aboutToQuit, self._cleanup))
        napari_events: list[tuple[Any, Callable[..., Any]]] = [
            (self._viewer.events.theme, self._on_theme),
            (self._viewer.layers.events.inserted, self._on_layer_inserted),
        ]
        return qt, napari_events

    # ------------------------------------------------------------------------------------------------- study

    def on_opening(self, name: str) -> None:
        """Say that a study is being read."""
        self._set(states.opening(self.state, name))

    def on_opened(self, study: LoadedStudy) -> None:
        """Show a study that was read."""
        with self._viewer.layers.events.inserted.blocker(self._on_layer_inserted):
            self.screen.show_study(study)
        self._begin(study)

    def _on_model(self, bundle: Bundle) -> None:
        """Take another model, device or precision: nothing asked of the one before goes on, its answers are marked."""
        waiting = self._waiting
        if self.state.phase is Phase.BUSY and not waiting:
            self.cancel()
        study = None if self.study is None else in_training_range(self.study, bundle)
        if study is not None and study is not self.study:
            self.study = study
            self.answers.restudy(study)
            if self.opener.opening is None:
                self._set(states.reexamined(self.state, study.volume.passport))
        self.run.stop_asking()
        self._set(states.restated(self.state, self.answers.compare(self.model.maker)))
        if waiting:
            self._start_run()

    def _on_model_line(self, line: str, note: str) -> None:
        self.status.show_model(line, note)
        problem = self.model.problem
        if self._waiting and problem is not None:
            self._waiting = False
            self._set(states.failed(self.state, problem.message, "Model… chooses or adds another one."))
        if self.panels.choosing:
            self.model_desk.refresh()

    def _begin(self, study: LoadedStudy) -> None:
        if self.model.bundle is not None:
            study = in_training_range(study, self.model.bundle)
        self.study = study
        self._set(states.opened(study.name, study.volume.passport))
        self.answers.turn_to(study)
        if self.state.can_analyse:
            self.model.start_engine()
        then = self.opener.take_then()
        if then is not None:
            then()

    def on_several(self, several: SeveralSeries) -> None:
        """Ask which series of a folder to open."""
        self.panels.series.ask(several)
        self._set(states.choosing(self.state))

    def on_not_opened(self, error: BaseException) -> None:
        """Say why a study is not shown."""
        if isinstance(error, Cancelled):
            self._set(states.cancelled(self.state, "" if self.study is None else self.study.name))
        elif isinstance(error, StudyRefused):
            self._set(states.refused(self.state, error.message, error.passport, advice_for(error)))
            if self.study is None:
                self.tabs.study.show_passport(error.passport)
        else:
            self._set(states.failed(self.state, sentence_for(error), advice_for(error)))

    def _on_layer_inserted(self, event: Any) -> None:
        self._adopt(event.value)

    def _adopt(self, layer: Any) -> bool:
        """Take over a study that napari's own reader put on the canvas."""
        metadata = study_metadata(layer)
        if metadata is None or layer is self.screen.study:
            return False
        self._leave_run()
        self.screen.adopt(layer)
        self._begin(LoadedStudy(metadata["volume"], metadata["display"], layer.name))
        return True

    def _on_study_removed(self) -> None:
        self.study = None
        self._leave_run()
        self.answers.turn_to(None)
        self._set(states.removed(self.state))

    def _leave_run(self) -> None:
        self._waiting = False
        self.run.stop()
        self.desk.save()

    # ---------------------------------------------------------------------------------------------- analysis

    def on_progress(self, fraction: float, text: str) -> None:
        """Move the bar."""
        self._set(states.progressed(self.state, fraction, text))

    def _on_finished(self) -> None:
        self.answers.complete(self.model.running_on)
        self._set(states.done(self.state))

    def _on_failed(self, error: ColipriError) -> None:
        if isinstance(error, Cancelled):
            self._set(states.cancelled(self.state, self.state.study))
        elif not self.state.restartable:  # the sentence about a dead engine is on screen already
            self._set(states.failed(self.state, error.message, advice_for(error)))

    def _on_died(self, sentence: str) -> None:
        self.model.engine_ended()
        self._set(states.failed(self.state, sentence, "Your study and your edits are still here.", restartable=True))

    # ------------------------------------------------------------------------------------- look, drop, close

    def _set(self, state: State) -> None:
        self.state = state
        self.panels.show_state(state)

    def _on_view(self) -> None:
        image = self.screen.study
        if image is not None:
            low, high = image.contrast_limits
            self.view.show_limits((float(low), float(high)))
        self.view.show_plane(tuple(self._viewer.dims.order), self._viewer.dims.ndisplay)

    def _on_theme(self, _event: Any = None) -> None:
        palette = palette_of(self._viewer.theme)
        self.setStyleSheet(stylesheet(palette))
        self.tabs.findings.set_palette(palette)
        self.tabs.report.set_palette(palette)

    def showEvent(self, event: Any) -> None:
        """Find the status bar once the dock is part of a window."""
        super().showEvent(event)
        self.readout.place(self)

    def hideEvent(self, event: Any) -> None:
        """Save what was typed: a window that closes hides its docks first."""
        self.desk.save()
        super().hideEvent(event)

    def dragEnterEvent(self, event: Any) -> None:
        """Take one local file or folder."""
        if dropped_path(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Open what was dropped."""
        path = dropped_path(event)
        if path is not None:
            event.acceptProposedAction()
            self.open_study(path)

    def closeEvent(self, event: Any) -> None:
        """Let go of everything."""
        self._cleanup()
        super().closeEvent(event)

    def _cleanup(self) -> None:
        """Save, undo every connection, end the engine; does nothing the second time."""
        if self._closed:
            return
        self.desk.save()
        for signal, slot in self._qt_connections:
            signal.disconnect(slot)
        self.readout.close()
        self._release()

    def _release(self, _object: Any = None) -> None:
        """Let go of what is not Qt's; safe when Qt's side of this widget is gone."""
        if self._closed:
            return
        self._closed = True
        unregister(self)
        for event, slot in self._napari_connections:
            event.disconnect(slot)
        self._napari_connections.clear()
        self._qt_connections.clear()
        self.jobs.close()
        self.bridge.close()
        self.screen.close()
        self.answers.close()
        self.opener.close()
        self.study = None
