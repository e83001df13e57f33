"""Out of the dock and into files: the report, or everything the analysis gave. Written in threads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_colipri.atomic import write_json, write_text
from napari_colipri.desktop.panels.report import ReportPanel
from napari_colipri.errors import ColipriError

if TYPE_CHECKING:
    from napari_colipri.ct.display import DisplayVolume
    from napari_colipri.desktop.analysis_run import Results
    from napari_colipri.desktop.desk import Desk
    from napari_colipri.desktop.jobs import Jobs
    from napari_colipri.desktop.loading import LoadedStudy
    from napari_colipri.engine.types import Segmentation
    from napari_colipri.export.result import AnalysisResult, RunRecord
    from napari_colipri.progress import CancelToken, Progress
    from napari_colipri.report.types import Draft

__all__ = ["Exporter", "RunFacts", "painted", "result_of", "write_report"]


@dataclass(frozen=True)
class RunFacts:
    """What the record of a run needs beside its results."""

    prompts: tuple[str, ...]
    device: str
    started: str
    finished: str
    seconds: float


def write_report(path: Path, draft: Draft) -> None:
    """Write a report as JSON where the name ends so, else as Markdown."""
    from napari_colipri.report.markdown import to_markdown

    if path.suffix.lower() == ".json":
        write_json(path, draft.to_json())
    else:
        write_text(path, to_markdown(draft))


def painted(
    segmentation: Segmentation, shown: npt.NDArray[np.uint8], display: DisplayVolume, study: LoadedStudy
) -> Segmentation:
    """Return the masks with what was painted on the display grid since.

    Source voxels whose centre falls in a changed display voxel change, all others stay bit for bit; statistics are made
    anew for what changed.

    Parameters
    ----------
    segmentation
        As the engine gave it, on the source grid.
    shown
        uint8 [I, P, L], the layer's labels now.
    display, study
        Where they lie.
    """
    from napari_colipri.engine.segment import class_statistics

    before = np.asarray(display.source_labels_to_display(segmentation.labels))
    changed = shown != before
    if not changed.any():
        return segmentation
    labels = np.array(segmentation.labels, copy=True)
    for label in np.unique(shown[changed]):
        where = np.argwhere(changed & (shown == label))
        labels[display.display_edit_to_source(where)] = label
    labels.setflags(write=False)
    classes = class_statistics(labels, study.volume, segmentation.classes)
    notes = (*segmentation.notes, "edited by hand on the display grid")
    return replace(segmentation, labels=labels, classes=classes, notes=notes)


def result_of(study: LoadedStudy, results: Results, draft: Draft, facts: RunFacts) -> AnalysisResult:
    """Put everything together.

    Raises
    ------
    ColipriError
        If there are no findings or no encoding yet.
    """
    from napari_colipri.export.result import AnalysisResult

    if results.findings is None or results.encoding is None:
        raise ColipriError("There is nothing to export yet: analyse the study first.", code="not_analysed")
    return AnalysisResult(
        volume=study.volume,
        passport=study.volume.passport,
        findings=results.findings,
        heat_maps=tuple(results.heat_maps.values()),
        segmentation=results.segmentation,
        similar=results.similar,
        draft=draft,
        record=_record(study, results, facts),
        no_segmentation="" if results.absent is None else results.absent.message,
        no_similar="" if results.similar is not None else "No case library fits this bundle.",
    )


def _record(study: LoadedStudy, results: Results, facts: RunFacts) -> RunRecord:
    from napari_colipri.engine.preprocess import PREPROCESS_VERSION
    from napari_colipri.export.result import RunRecord, path_hash

    findings, encoding, source = results.findings, results.encoding, study.volume.source
    if findings is None or encoding is None:
        raise ColipriError("There is nothing to export yet: analyse the study first.", code="not_analysed")
    return RunRecord(
        fingerprint=study.volume.fingerprint,
        path_hash=path_hash(source.path),
        source_kind=source.kind,
        bundle=findings.bundle,
        bundle_hash=findings.bundle_hash,
        preset=encoding.preset,
        precision=encoding.precision,
        device=facts.device,
        preprocess_version=str(PREPROCESS_VERSION),
        library=None if results.similar is None else results.similar.library,
        prompts=facts.prompts,
        timings_s={"analysis": facts.seconds},
        started=facts.started,
        finished=facts.finished,
        notes=("from the desktop",),
    )


class Exporter:
    """Asks for a place and writes there in a thread.

    Parameters
    ----------
    parent, panel
        Window for the dialogs, and where the outcome is said.
    jobs, desk
        Threads, and the draft as edited.
    """

    def __init__(self, parent: QWidget, panel: ReportPanel, jobs: Jobs, desk: Desk) -> None:
        self._parent, self._panel, self._jobs, self._desk = parent, panel, jobs, desk
        self._study: LoadedStudy | None = None
        self._results: Results | None = None
        self._facts: RunFacts | None = None
        self._masks: Any = None
        self._writing: int | None = None

    def offer(self, study: LoadedStudy | None, results: Results | None, facts: RunFacts | None) -> None:
        """Say what *Export all results* would write; None: nothing."""
        self._study, self._results, self._facts = study, results, facts

    def watch_masks(self, layer: Any) -> None:
        """Take the labels of this layer, as painted by then, when exporting."""
        self._masks = layer

    def export_report(self) -> None:
        """Ask for a file and write the report."""
        chosen, _ = QFileDialog.getSaveFileName(
            self._parent, "Export the report", "report.md", "Markdown (*.md);;JSON (*.json)"
        )
        if chosen:
            self.write_report_to(Path(chosen))

    def export_all(self) -> None:
        """Ask for a folder and write every file of the analysis."""
        chosen = QFileDialog.getExistingDirectory(self._parent, "Export all results into a folder")
        if chosen:
            self.write_all_to(Path(chosen))

    def write_report_to(self, path: Path) -> None:
        """Write the report as it is edited now."""
        draft = self._desk.current()
        if draft is not None:
            self._start(lambda _progress, _cancel: write_report(path, draft), path)

    def write_all_to(self, folder: Path) -> None:
        """Write the files of the command-line contract, whole or not at all."""
        draft, study, results, facts = self._desk.current(), self._study, self._results, self._facts
        if draft is None or study is None or results is None or facts is None:
            self._panel.say_saved("Nothing to export yet")
            return
        shown = None if self._masks is None else np.asarray(self._masks.data)

        def work(progress: Progress, cancel: CancelToken) -> None:
            from napari_colipri.export.analysis import write_analysis

            masks = results.segmentation
            if masks is not None and shown is not None:
                masks = painted(masks, shown, study.display, study)
            whole = replace(result_of(study, results, draft, facts), segmentation=masks)
            write_analysis(folder, whole, progress=progress, cancel=cancel)

        self._start(work, folder)

    def close(self) -> None:
        """Hold nothing any more."""
        self.offer(None, None, None)
        self._masks = None

    def stop(self) -> None:
        """Give up what is being written; what was in its place before is still there."""
        if self._writing is not None:
            self._jobs.cancel(self._writing)
            self._writing = None
            self._panel.say_saved("Export stopped")

    def _start(self, work: Any, path: Path) -> None:
        self.stop()
        self._panel.say_saved("Writing…", writing=True)
        self._writing = self._jobs.start(
            work,
            done=lambda _value: self._end(f"Written: {path.name}"),
            failed=lambda error: self._end(f"Not written: {_reason(error)}"),
            progress=lambda part, _words: self._panel.say_saved(f"Writing… {round(100 * part)} %", writing=True),
        )

    def _end(self, sentence: str) -> None:
        self._writing = None
        self._panel.say_saved(sentence)


def _reason(error: BaseException) -> str:
    if isinstance(error, ColipriError):
        return error.message
    return getattr(error, "strerror", None) or type(error).__name__
