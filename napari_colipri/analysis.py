"""Every answer about one volume, in the process that calls: what the command line runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from napari_colipri.engine.preprocess import PREPROCESS_VERSION
from napari_colipri.errors import BundleError, LibraryError, StudyRefused
from napari_colipri.export.result import AnalysisResult, RunRecord, path_hash
from napari_colipri.library.search import Library, SimilarCases, open_library
from napari_colipri.progress import CancelToken, Progress, report_nothing
from napari_colipri.report.draft import PRESENT_FROM, draft
from napari_colipri.report.training_range import training_range_reasons

if TYPE_CHECKING:
    from napari_colipri.ct.volume import CTVolume
    from napari_colipri.engine.session import Session
    from napari_colipri.engine.types import Encoding, Findings, GeneratedReport, HeatMap, Segmentation

__all__ = ["analyse", "fitting_library", "with_training_range"]

#: Similar cases per study.
HITS = 5


@dataclass
class _Steps:
    """Times each step and maps its progress into the whole."""

    progress: Progress
    cancel: CancelToken
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, start: float, stop: float) -> Iterator[Progress]:
        self.cancel.check()
        began = time.perf_counter()

        def within(fraction: float, text: str) -> None:
            self.progress(start + (stop - start) * min(max(fraction, 0.0), 1.0), text)

        yield within
        self.seconds[name] = time.perf_counter() - began
        self.cancel.check()


def with_training_range(volume: CTVolume, session: Session) -> CTVolume:
    """Return ``volume`` with what the session's bundle says about its input added to the passport."""
    more = training_range_reasons(volume, session.bundle.config.input.trained_on)
    if not more:
        return volume
    known = volume.fingerprint
    out = replace(volume, passport=volume.passport.with_reasons(*more))
    vars(out)["fingerprint"] = known  # of values and affine only, both unchanged: not worth hashing again
    return out


def fitting_library(bundle_hash: str) -> tuple[Library | None, str]:
    """Return the shipped library if it was made with this bundle, else None and the sentence that says why."""
    try:
        library = open_library()
    except LibraryError as error:
        return None, f"The shipped case library cannot be used: {error.code}."
    if not library.fits(bundle_hash):
        return None, "The shipped case library was made with another bundle: give one with --library."
    return library, ""


def analyse(
    volume: CTVolume,
    session: Session,
    library: Library | None = None,
    *,
    prompts: Sequence[str] = (),
    no_library: str = "No case library was given.",
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> AnalysisResult:
    """Encode a volume once and ask everything of the encoding.

    Parameters
    ----------
    volume
        Its passport must allow analysis.
    session
        A bundle on a device; loaded here if it is not yet.
    library
        Where to look for similar cases; must belong to the session's bundle.
    prompts
        Questions of the user's own, asked after the bundle's findings.
    no_library
        What to say in the place of similar cases if ``library`` is None.
    progress, cancel
        Told and asked between steps and within the long ones.

    Returns
    -------
    AnalysisResult
        Nothing is written yet.

    Raises
    ------
    StudyRefused
        With the passport, if it forbids analysis.
    BundleError, LibraryError, OutOfResources, Cancelled
        As they say.
    """
    started = datetime.now(UTC)
    steps = _Steps(progress, cancel or CancelToken())
    refusal = volume.passport.blocking("analyse")
    if refusal is not None:
        raise StudyRefused(refusal.message, code=refusal.code, passport=volume.passport)
    if library is not None and not library.fits(session.bundle.hash):
        raise LibraryError(f"The library '{library.name}' belongs to another bundle.", code="bundle_mismatch")
    with steps.step("load", 0.0, 0.1) as within:
        session.load(within)
    with steps.step("encode", 0.1, 0.5) as within:
        volume = with_training_range(volume, session)
        encoding = session.encode(volume, within, steps.cancel)
    with steps.step("findings", 0.5, 0.55) as within:
        within(0.0, "Asking about findings")
        findings = session.findings(encoding, prompts)
    with steps.step("heat_maps", 0.55, 0.6) as within:
        heat_maps = _heat_maps(session, encoding, findings, within, steps.cancel)
    with steps.step("segmentation", 0.6, 0.93) as within:
        segmentation, no_segmentation = _masks(session, volume, encoding, within, steps.cancel)
    with steps.step("report", 0.93, 0.96) as within:
        generated = _generated(session, encoding, within, steps.cancel)
    with steps.step("similar", 0.96, 0.98) as within:
        within(0.0, "Searching similar cases")
        similar = _similar(library, encoding, volume)
    with steps.step("draft", 0.98, 1.0) as within:
        within(0.0, "Drafting the report")
        report = draft(findings, segmentation, similar, volume, heat_maps=heat_maps, generated=generated)
    progress(1.0, "Done")
    return AnalysisResult(
        volume=volume,
        passport=volume.passport,
        findings=findings,
        heat_maps=heat_maps,
        segmentation=segmentation,
        similar=similar,
        draft=report,
        record=_record(volume, session, encoding, library, prompts, started, steps.seconds),
        no_segmentation=no_segmentation,
        no_similar="" if similar is not None else no_library,
    )


def _heat_maps(
    session: Session, encoding: Encoding, findings: Findings, progress: Progress, cancel: CancelToken
) -> tuple[HeatMap, ...]:
    """Heat maps of what is suggested: elsewhere the highest response means nothing."""
    leading = [item for item in findings.items if item.probability is not None and item.probability >= PRESENT_FROM]
    leading.sort(key=lambda item: -(item.probability or 0.0))
    out = []
    for number, item in enumerate(leading):
        cancel.check()
        progress(number / len(leading), "Looking where findings lie")
        out.append(session.localise(encoding, item.name))
    return tuple(out)


def _masks(
    session: Session, volume: CTVolume, encoding: Encoding, progress: Progress, cancel: CancelToken
) -> tuple[Segmentation | None, str]:
    if not session.bundle.has_decoder:
        return None, "This bundle has no segmentation decoder."
    try:
        return session.segment(volume, encoding, progress, cancel), ""
    except BundleError as error:
        if error.code != "no_decoder":
            raise
        return None, error.message


def _generated(session: Session, encoding: Encoding, progress: Progress, cancel: CancelToken) -> GeneratedReport | None:
    return session.generate_report(encoding, progress, cancel) if session.bundle.has_report_decoder else None


def _similar(library: Library | None, encoding: Encoding, volume: CTVolume) -> SimilarCases | None:
    if library is None:
        return None
    return library.search(encoding, HITS, patient_key=volume.source.patient_key)


def _record(
    volume: CTVolume,
    session: Session,
    encoding: Encoding,
    library: Library | None,
    prompts: Sequence[str],
    started: datetime,
    seconds: dict[str, float],
) -> RunRecord:

    return RunRecord(
        fingerprint=volume.fingerprint,
        path_hash=path_hash(volume.source.path),
        source_kind=volume.source.kind,
        bundle=session.bundle.name,
        bundle_hash=session.bundle.hash,
        preset=encoding.preset,
        precision=encoding.precision,
        device=session.description,
        preprocess_version=str(PREPROCESS_VERSION),
        library=None if library is None else library.name,
        prompts=tuple(prompts),
        timings_s=dict(seconds),
        started=_stamp(started),
        finished=_stamp(datetime.now(UTC)),
        notes=session.notes,
    )


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
