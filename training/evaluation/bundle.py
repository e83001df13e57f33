"""A bundle scored through the product's own session: what a user gets is what is measured."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_colipri.atomic import write_text
from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.session import Session
from napari_colipri.engine.types import Encoding, Segmentation
from napari_colipri.progress import Progress, report_nothing
from training.evaluation.classification import classify
from training.evaluation.facts import fact_key, without_sizes
from training.evaluation.files import Embeddings, write_embeddings
from training.evaluation.masks import CaseMasks, compare_case, mask_table
from training.evaluation.plots import plot_roc
from training.evaluation.reports import ReportPair, evaluate_reports, facts_said
from training.evaluation.results import write_figures
from training.evaluation.retrieval import Retrieval, retrieve
from training.evaluation.scores import Scores, rows_of, write_scores
from training.evaluation.studies import Study
from training.evaluation.tables import classification_table, mask_markdown, report_table, retrieval_table

__all__ = ["BundleAnswers", "Limits", "retrieval_of", "score_bundle", "write_answers"]

_SIZELESS = ("retrieval-without-sizes", "Retrieval, sizes removed from the text")


@dataclass(frozen=True)
class Limits:
    """How many studies, from the first on, are asked what costs most.

    Attributes
    ----------
    masks, reports
        Studies that are segmented and written about; None means all.
    """

    masks: int | None = None
    reports: int | None = None


@dataclass(frozen=True, eq=False)
class BundleAnswers:
    """Everything that a bundle said about a set of studies.

    Attributes
    ----------
    bundle, bundle_hash
        Which.
    zero_shot, probe
        Uncalibrated probabilities beside labels; ``probe`` is None where the bundle has none.
    masks
        Per segmented case with a reference.
    embeddings
        Of studies with a report, their facts read from it where the truth is not known; None with fewer than two.
    reports
        Written, beside what was to be said.
    probe_thresholds
        Per finding, as the bundle states them.
    """

    bundle: str
    bundle_hash: str
    zero_shot: Scores
    probe: Scores | None
    masks: tuple[CaseMasks, ...] = ()
    embeddings: Embeddings | None = None
    reports: tuple[ReportPair, ...] = ()
    probe_thresholds: dict[str, float] = field(default_factory=dict)


@dataclass
class _Gathered:
    zero_shot: list[tuple[str, str, dict[str, float], dict[str, float]]] = field(default_factory=list)
    probe: list[tuple[str, str, dict[str, float], dict[str, float]]] = field(default_factory=list)
    masks: list[CaseMasks] = field(default_factory=list)
    told: list[tuple[Study, Any, Any]] = field(default_factory=list)
    reports: list[ReportPair] = field(default_factory=list)


def _raw(number: float, calibration: dict[str, Any] | None) -> float:
    """Return the probability before calibration: figures of a model and of its calibration are kept apart."""
    return number if calibration is None else float(calibration["uncalibrated"])


def _findings(session: Session, study: Study, encoding: Encoding, out: _Gathered) -> None:
    items = session.findings(encoding).items
    labels = {name: float(value) for name, value in study.labels.items()}
    first = {i.name: _raw(i.probability, i.calibration) for i in items if i.probability is not None}
    second = {i.name: _raw(i.probe["probability"], i.probe["calibration"]) for i in items if i.probe is not None}
    out.zero_shot.append((study.study, study.patient, first, labels))
    if second:
        out.probe.append((study.study, study.patient, second, labels))


def _compared(study: Study, drawn: Segmentation) -> CaseMasks | None:
    """Compare the classes that both sides know by name."""
    ours = {item.name: item.label for item in drawn.classes}
    shared = {name: label for label, name in enumerate(study.classes) if label and name in ours}
    if study.mask is None or not shared:
        return None
    table = np.zeros(256, np.uint8)
    for name, label in shared.items():
        table[ours[name]] = label
    spacing = study.volume.geometry.spacing_mm
    return compare_case(table[drawn.labels], study.mask, shared, spacing, case=study.study, patient=study.patient)


def score_bundle(
    session: Session,
    studies: Iterable[Study],
    *,
    limits: Limits | None = None,
    progress: Progress = report_nothing,
) -> BundleAnswers:
    """Ask a bundle everything that it can answer about studies.

    Parameters
    ----------
    session
        Of the bundle.
    studies
        Held out of its training.
    limits
        Where not every study shall be segmented and written about.
    progress
        Told after each study.

    Raises
    ------
    ValueError
        Without a study.
    """
    limits = limits or Limits()
    bundle, out = session.bundle, _Gathered()
    number = 0
    for number, study in enumerate(studies, start=1):
        encoding = session.encode(study.volume)
        _findings(session, study, encoding, out)
        if study.report:
            out.told.append((study, encoding.pooled, session.embed_text([study.report, without_sizes(study.report)])))
        if study.mask is not None and bundle.has_decoder and number <= (limits.masks or number):
            case = _compared(study, session.segment(study.volume, encoding))
            out.masks += [case] if case is not None else []
        if study.report and bundle.has_report_decoder and number <= (limits.reports or number):
            written = " ".join(session.generate_report(encoding).sentences)
            out.reports.append(ReportPair(study.study, study.patient, written, study.report, study.facts))
        progress(0.0, f"Scored {number} studies")
    if not number:
        raise ValueError("there is no study to score")
    return BundleAnswers(
        bundle.name,
        bundle.hash,
        rows_of(out.zero_shot),
        rows_of(out.probe) if out.probe else None,
        tuple(out.masks),
        _embeddings(out),
        tuple(out.reports),
        _thresholds(bundle),
    )


def _thresholds(bundle: Bundle) -> dict[str, float]:
    """Return the probe's thresholds; one that is never reached is infinite."""
    probes = bundle.config.adapters.probes
    if probes is None:
        return {}
    stated = zip(probes.findings, probes.thresholds, strict=True)
    return {name: float("inf") if value is None else value for name, value in stated}


def _embeddings(out: _Gathered) -> Embeddings | None:
    known = out.told
    if len(known) < 2:
        return None
    return Embeddings(
        np.stack([image for _, image, _ in known]).astype(np.float64),
        np.stack([texts[0] for _, _, texts in known]).astype(np.float64),
        tuple(facts_said(study.report) if study.facts is None else study.facts for study, _, _ in known),
        tuple(study.patient for study, _, _ in known),
        tuple(study.study for study, _, _ in known),
        np.stack([texts[1] for _, _, texts in known]).astype(np.float64),
    )


def retrieval_of(values: Embeddings, *, sizes: bool, resamples: int = 1000) -> Retrieval | None:
    """Score retrieval with sizes, or with texts and facts that have none; None where fewer than two items differ."""
    text = values.text if sizes or values.sizeless is None else values.sizeless
    keys = [fact_key(facts, sizes=sizes) for facts in values.facts]
    if len(set(keys)) < 2:
        return None
    return retrieve(values.image, text, keys, values.labels, values.patient, resamples=resamples)


def write_answers(answers: BundleAnswers, folder: Path, *, resamples: int = 1000) -> str:
    """Write scores, tables and plots into ``folder`` and return the tables as one Markdown text."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    known = answers.probe_thresholds or None
    for name, scores, thresholds in (("zero-shot", answers.zero_shot, None), ("probe", answers.probe, known)):
        if scores is not None and scores.answered:
            write_scores(scores, folder / f"{name}.jsonl")
            figures = classify(scores, thresholds, resamples=resamples)
            parts.append((name, f"Findings, {name}", figures.to_json(), classification_table(figures)))
            plot_roc(scores, folder / f"{name}-roc.png")
    if answers.masks:
        table = mask_table(answers.masks, resamples=resamples)
        parts.append(("masks", "Masks", table.to_json(), mask_markdown(table)))
    if answers.embeddings is not None:
        write_embeddings(answers.embeddings, folder)
        for sizes, name, title in ((True, "retrieval", "Retrieval"), (False, *_SIZELESS)):
            found = retrieval_of(answers.embeddings, sizes=sizes, resamples=resamples)
            if found is not None:
                parts.append((name, title, found.to_json(), retrieval_table(found)))
    if answers.reports:
        lines = [json.dumps(_pair_json(pair), ensure_ascii=False) for pair in answers.reports]
        write_text(folder / "reports.jsonl", "\n".join(lines) + "\n")
        told = evaluate_reports(answers.reports, resamples=resamples)
        parts.append(("reports", "Generated reports", told.to_json(), report_table(told)))
    for name, _, values_json, markdown in parts:
        write_figures(folder, name, values_json, markdown)
    text = "\n".join(f"### {title}\n\n{markdown}" for _, title, _, markdown in parts)
    write_text(folder / "figures.md", text)
    return text


def _pair_json(pair: ReportPair) -> dict[str, Any]:
    facts = None if pair.facts is None else [vars(fact) for fact in pair.facts]
    return {**vars(pair), "facts": facts}
