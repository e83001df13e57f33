"""One study's questions to the engine, in order, and the answers as they come. Main thread; heavy parts in jobs.

Analyse gives an encoding, findings and masks; the nearest cases are searched and masks are brought to the display grid
in threads; then the places of suggested findings are asked for, and the draft is made of all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_colipri.desktop.engine_bridge import EngineBridge
from napari_colipri.desktop.exporting import RunFacts
from napari_colipri.desktop.heat import HeatOnDisplay, heat_on_display
from napari_colipri.desktop.jobs import Jobs
from napari_colipri.desktop.layers import mask_layer
from napari_colipri.engine.events import Absent
from napari_colipri.engine.types import Encoding, Findings, GeneratedReport, HeatMap, Segmentation
from napari_colipri.errors import Cancelled, ColipriError, LibraryError
from napari_colipri.report.draft import PRESENT_FROM
from napari_colipri.report.draft import draft as make_draft

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_colipri.desktop.loading import LoadedStudy
    from napari_colipri.desktop.services import Searchable
    from napari_colipri.library.search import SimilarCases
    from napari_colipri.progress import CancelToken, Progress
    from napari_colipri.report.types import Draft

__all__ = ["AnalysisRun", "Results"]

#: Share of the bar that the engine's own request takes.
_ENGINE_SHARE = 0.9


@dataclass(eq=False)
class Results:
    """What is known about the study so far."""

    encoding: Encoding | None = None
    findings: Findings | None = None
    segmentation: Segmentation | None = None
    absent: Absent | None = None
    generated: GeneratedReport | None = None
    similar: SimilarCases | None = None
    heat_maps: dict[str, HeatMap] = field(default_factory=dict)
    draft: Draft | None = None


class AnalysisRun(QObject):
    """Asks about one study at a time; answers of a study or run that was left are dropped by their ids."""

    progressed = Signal(float, str)
    findings = Signal(object)
    segmented = Signal(object)
    masks = Signal(object, object)
    no_masks = Signal(str)
    similar = Signal(object)
    no_similar = Signal(str)
    heat = Signal(object, object)
    no_heat = Signal(str)
    asking = Signal(float, str)
    drafted = Signal(object)
    finished = Signal()
    failed = Signal(object)

    def __init__(
        self, bridge: EngineBridge, jobs: Jobs, open_library: Callable[[], Searchable], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._bridge, self._jobs, self._open_library = bridge, jobs, open_library
        self._study: LoadedStudy | None = None
        self._analysis: int | None = None
        #: Request -> the user's prompt, or nothing for a heat map.
        self._questions: dict[int, str] = {}
        self._places: dict[int, str] = {}
        self._threads: set[int] = set()
        self._drawings: set[int] = set()
        self._engine_done = False
        self._prompts: list[str] = []
        #: Those whose answers the user wants in the draft.
        self._reported: set[str] = set()
        self._clock = 0.0
        self.results = Results()
        bridge.progressed.connect(self._on_progress)
        bridge.answered.connect(self._on_answer)
        bridge.done.connect(self._on_done)
        bridge.failed.connect(self._on_failed)

    @property
    def running(self) -> bool:
        """Whether an analysis is under way."""
        return self._analysis is not None or bool(self._places) or bool(self._threads)

    def look_at(self, study: LoadedStudy | None) -> None:
        """Turn to another study (or none): what was asked about the one before is given up."""
        self.stop()
        self._study = study
        self._prompts.clear()
        self._reported.clear()
        self.results = Results()
        self._bridge.put(None if study is None else study.volume)

    def restudy(self, study: LoadedStudy) -> None:
        """Take the same study with another passport; what is known about it stays."""
        self._study = study

    def start(self) -> None:
        """Analyse the study from the beginning."""
        self.stop()
        self.results = Results()
        self._engine_done = False
        self._clock = time.monotonic()
        self._analysis = self._bridge.submit("analyse", prompts=tuple(self._prompts))

    def stop(self) -> None:
        """Give up everything that is under way; no signal about it follows."""
        asked = [*self._questions, *self._places]
        if self._analysis is not None:
            asked.append(self._analysis)
        self._analysis = None
        self._questions.clear()
        self._places.clear()
        for number in asked:
            self._bridge.cancel(number)
        for thread in (*self._threads, *self._drawings):
            self._jobs.cancel(thread)
        self._threads.clear()
        self._drawings.clear()

    def forget(self) -> None:
        """Hold nothing about any study any more."""
        self._study = None
        self.results = Results()

    def facts(self, device: str) -> RunFacts:
        """Return what the record of the last analysis needs beside its results."""
        finished = datetime.now(UTC)
        seconds = time.monotonic() - self._clock
        started = finished - timedelta(seconds=seconds)
        return RunFacts(tuple(self._prompts), device, _stamp(started), _stamp(finished), seconds)

    def stop_asking(self) -> None:
        """Give up the user's open questions; no signal about them follows."""
        for number, prompt in list(self._questions.items()):
            del self._questions[number]
            self._drop_prompt(prompt)
            self._bridge.cancel(number)

    @property
    def prompts(self) -> tuple[str, ...]:
        """What was asked about this study in the user's own words."""
        return tuple(self._prompts)

    def report_on(self, prompt: str) -> None:
        """Let the drafts of later analyses hold the answer to a prompt; without this they do not."""
        self._reported.add(prompt)

    def localise(self, text: str) -> None:
        """Ask where the model responds to a finding or prompt; ``asking`` and ``heat`` follow."""
        known = self.results.heat_maps.get(text)
        if known is not None:
            self._draw(known)
            return
        for number, prompt in list(self._questions.items()):
            if not prompt:  # one place at a time: who clicks another finding no longer waits for the first
                del self._questions[number]
                self._bridge.cancel(number)
        self._questions[self._bridge.submit("localise", text=text)] = ""

    def ask(self, prompt: str) -> None:
        """Add a finding in the user's own words; ``asking`` and ``findings`` follow."""
        if prompt not in self._prompts:
            self._prompts.append(prompt)
        self._questions[self._bridge.submit("findings", prompts=tuple(self._prompts))] = prompt

    def _drop_prompt(self, prompt: str) -> None:
        """Forget a prompt that got no answer, so that it is not asked again with the next one."""
        found = self.results.findings
        if prompt in self._prompts and (found is None or prompt not in {item.name for item in found.items}):
            self._prompts.remove(prompt)

    # ---------------------------------------------------------------------------------------------- answers

    def _on_progress(self, request: int, fraction: float, text: str) -> None:
        if request == self._analysis:
            self.progressed.emit(_ENGINE_SHARE * fraction, text)
        elif request in self._questions:
            self.asking.emit(fraction, text)

    def _on_answer(self, request: int, value: Any) -> None:
        if request == self._analysis:
            self._take(value)
        elif request in self._places and isinstance(value, HeatMap):
            self.results.heat_maps[self._places[request]] = value
        elif request in self._questions:
            del self._questions[request]  # answered: what the engine still says about it would hide the answer
            if isinstance(value, HeatMap):
                self.results.heat_maps[value.text] = value
                self._draw(value)
            elif isinstance(value, Findings):
                self.results.findings = value
                self.findings.emit(value)

    def _take(self, value: Any) -> None:
        results = self.results
        if isinstance(value, Encoding):
            results.encoding = value
            self._search(value)
        elif isinstance(value, Findings):
            results.findings = value
            self.findings.emit(value)
        elif isinstance(value, Segmentation):
            results.segmentation = value
            self.segmented.emit(value)
            self._place_masks(value)
        elif isinstance(value, GeneratedReport):
            results.generated = value
        elif isinstance(value, Absent):
            results.absent = value
            self.no_masks.emit(value.message)

    def _on_done(self, request: int) -> None:
        self._questions.pop(request, None)
        if request in self._places:
            del self._places[request]
            self._finish_if_complete()
        elif request == self._analysis:
            self._analysis = None
            self._engine_done = True
            self._ask_places()
            self._finish_if_complete()

    def _on_failed(self, request: int, error: ColipriError) -> None:
        if request == self._analysis:
            self.stop()
            self.failed.emit(error)
        elif request in self._places:
            # A place that cannot be told is left out of the draft; the probability stands without it.
            del self._places[request]
            self._finish_if_complete()
        elif request in self._questions:
            self._drop_prompt(self._questions.pop(request))
            self.no_heat.emit("" if isinstance(error, Cancelled) else error.message)

    def _ask_places(self) -> None:
        found = self.results.findings
        for item in () if found is None else found.items:
            if item.probability is not None and item.probability >= PRESENT_FROM:
                self._places[self._bridge.submit("localise", text=item.name)] = item.name
        if self._places:
            self.progressed.emit(_ENGINE_SHARE + 0.04, "Finding places")

    def _finish_if_complete(self) -> None:
        if not self._engine_done or self.running or self._study is None:
            return
        self._engine_done = False
        results, volume = self.results, self._study.volume
        if results.findings is None:
            self.finished.emit()
            return
        masks, similar = results.segmentation, results.similar
        unwanted = set(self._prompts) - self._reported
        findings = replace(
            results.findings, items=tuple(item for item in results.findings.items if item.name not in unwanted)
        )
        heat_maps, generated = tuple(results.heat_maps.values()), results.generated

        def write(_progress: Progress, _cancel: CancelToken) -> Draft:
            return make_draft(findings, masks, similar, volume, heat_maps=heat_maps, generated=generated)

        def written(draft: Draft) -> None:
            results.draft = draft
            self.drafted.emit(draft)
            self.finished.emit()

        def unwritten(error: BaseException) -> None:
            name = type(error).__name__
            self.failed.emit(ColipriError(f"The draft could not be made ({name}).", code="draft"))

        self.progressed.emit(0.98, "Drafting the report")
        self._thread(write, written, unwritten)

    # ---------------------------------------------------------------------------------------------- threads

    def _thread(self, work: Any, done: Any, failed: Any) -> None:
        numbers: list[int] = []

        def after(then: Any, value: Any) -> None:
            self._threads.discard(numbers[0])
            then(value)
            self._finish_if_complete()

        numbers.append(
            self._jobs.start(work, done=lambda value: after(done, value), failed=lambda error: after(failed, error))
        )
        self._threads.add(numbers[0])

    def _search(self, encoding: Encoding) -> None:
        key = None if self._study is None else self._study.volume.source.patient_key
        open_library = self._open_library

        def search(_progress: Progress, _cancel: CancelToken) -> SimilarCases:
            return open_library().search(encoding, 5, patient_key=key)

        def found(cases: SimilarCases) -> None:
            self.results.similar = cases
            self.similar.emit(cases)

        def none(error: BaseException) -> None:
            known = isinstance(error, LibraryError)
            self.no_similar.emit(error.message if known else "The case library could not be searched.")  # type: ignore[attr-defined]

        self._thread(search, found, none)

    def _place_masks(self, segmentation: Segmentation) -> None:
        if self._study is None:
            return
        display, fingerprint = self._study.display, self._study.volume.fingerprint

        def place(_progress: Progress, cancel: CancelToken) -> Labels:
            # A copy of its own: painting on the layer must not change the engine's result.
            shown = display.source_labels_to_display(segmentation.labels, cancel=cancel)
            own = np.array(shown, dtype=np.uint8, order="C", copy=True)
            return mask_layer(own, segmentation, display, fingerprint)

        self._thread(
            place,
            lambda layer: self.masks.emit(layer, segmentation),
            lambda _error: self.no_masks.emit("The masks could not be brought to the display grid."),
        )

    def _draw(self, heat: HeatMap) -> None:
        if self._study is None:
            return
        display = self._study.display

        def draw(_progress: Progress, _cancel: CancelToken) -> HeatOnDisplay:
            return heat_on_display(heat, display)

        number = self._jobs.start(
            draw,
            done=lambda drawn: self.heat.emit(heat, drawn),
            failed=lambda _error: self.no_heat.emit("The heat map could not be drawn."),
        )
        self._drawings.add(number)


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
