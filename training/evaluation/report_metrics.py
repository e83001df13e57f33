"""Metrics of reports that need more than the reports: a classifier, a judge, annotations; each where asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_colipri.atomic import write_text
from napari_colipri.progress import CancelToken, Progress, report_nothing
from training.evaluation.bootstrap import RESAMPLES
from training.evaluation.green import PROMPT, green_table, parse_answer, read_prompt
from training.evaluation.green_judge import ask_judge
from training.evaluation.local_models import LocalModel, describe_model
from training.evaluation.radbert import classify_reports, label_table, read_label_names
from training.evaluation.radgraph import graph_table
from training.evaluation.reports import ReportPair
from training.evaluation.scores import EvaluationError
from training.evaluation.tables import graph_markdown, green_markdown, label_markdown

__all__ = ["Further", "Wanted", "further_metrics"]

_ANSWERS = "green-answers.jsonl"


@dataclass(frozen=True)
class Wanted:
    """What to compute besides the metrics that need nothing.

    Attributes
    ----------
    radbert, radbert_labels
        Folder of a classifier, and JSON list of its outputs' names where its configuration has others.
    green, green_prompt, green_tokens
        Folder of a judge, a question other than ours, longest answer.
    radgraph
        Annotations of the generated and of the reference reports.
    device
        Of the models.
    """

    radbert: Path | None = None
    radbert_labels: Path | None = None
    green: Path | None = None
    green_prompt: Path | None = None
    green_tokens: int = 1024
    radgraph: tuple[Path, Path] | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        for option, model in (("radbert_labels", "radbert"), ("green_prompt", "green")):
            if getattr(self, option) is not None and getattr(self, model) is None:
                name = option.replace("_", "-")
                raise EvaluationError(f"--{name} says something about --{model}, which is not given.", code="usage")


@dataclass(frozen=True)
class Further:
    """Figures beyond those of :func:`~training.evaluation.reports.evaluate_reports`.

    Attributes
    ----------
    values
        For the JSON: ``radgraph``, ``radbert``, ``green``, those that were asked for.
    markdown
        Their tables.
    answers
        The judge's, one JSON object per line; empty without a judge.
    """

    values: dict[str, Any] = field(default_factory=dict)
    markdown: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    def write_answers(self, folder: Path) -> None:
        """Write ``green-answers.jsonl`` into ``folder``, which is made, where there was a judge."""
        if self.answers:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / _ANSWERS, "\n".join(self.answers) + "\n")


def _answer_lines(pairs: Sequence[ReportPair], answers: Sequence[str | None]) -> tuple[str, ...]:
    lines = []
    for pair, answer in zip(pairs, answers, strict=True):
        counts = None if answer is None else parse_answer(answer)
        judged: dict[str, Any] = dict.fromkeys(("score", "matched", "errors"))
        if counts is not None:
            judged = {"score": counts.score, "matched": counts.matched, "errors": list(counts.errors)}
        lines.append(json.dumps({"study": pair.study, **judged, "answer": answer}, ensure_ascii=False))
    return tuple(lines)


def _by_radgraph(pairs: Sequence[ReportPair], files: tuple[Path, Path], resamples: int) -> Further:
    figures = graph_table(pairs, *files, resamples=resamples)
    return Further({"radgraph": figures.to_json()}, (graph_markdown(figures),))


def _by_radbert(
    pairs: Sequence[ReportPair], model: LocalModel, wanted: Wanted, resamples: int, **asking: Any
) -> Further:
    names = None if wanted.radbert_labels is None else read_label_names(wanted.radbert_labels)
    texts = [text for pair in pairs for text in (pair.generated, pair.reference)]
    figures = label_table(pairs, classify_reports(texts, model, names, **asking), model, resamples=resamples)
    return Further({"radbert": figures.to_json()}, (label_markdown(figures),))


def _by_green(
    pairs: Sequence[ReportPair], model: LocalModel, prompt: str, limit: int, resamples: int, **asking: Any
) -> Further:
    answers = ask_judge(pairs, model, prompt=prompt, limit=limit, **asking)
    figures = green_table(pairs, answers, model, prompt=prompt, resamples=resamples)
    return Further({"green": figures.to_json()}, (green_markdown(figures),), _answer_lines(pairs, answers))


def _part(progress: Progress, start: float, stop: float) -> Progress:
    return lambda done, words: progress(start + (stop - start) * done, words)


def further_metrics(
    pairs: Sequence[ReportPair],
    wanted: Wanted,
    *,
    resamples: int = RESAMPLES,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> Further:
    """Compute what is wanted; every folder and file is looked at before the first model is asked.

    Parameters
    ----------
    pairs
        Reports.
    wanted
        Which metrics, by what.
    resamples
        Of the bootstrap over patients.
    progress, cancel
        As everywhere.

    Raises
    ------
    EvaluationError
        If there is no report, or a folder or file does not fit; it is named.
    Cancelled
        If asked to stop.
    """
    if not pairs:
        raise EvaluationError("There is no report to score.", code="empty")
    prompt = PROMPT if wanted.green_prompt is None else read_prompt(wanted.green_prompt)
    reader, judge = (None if each is None else describe_model(each) for each in (wanted.radbert, wanted.green))
    asking: dict[str, Any] = {"cancel": cancel or CancelToken()}
    if reader or judge:
        from napari_colipri.engine.device import choose

        asking["device"] = choose(wanted.device).device
    parts = []
    if wanted.radgraph is not None:
        parts.append(_by_radgraph(pairs, wanted.radgraph, resamples))
    read = (0.1 if judge else 1.0) if reader else 0.0  # share of the time: a judge writes, a classifier only reads
    if reader:
        parts.append(_by_radbert(pairs, reader, wanted, resamples, progress=_part(progress, 0.0, read), **asking))
    if judge:
        asking["progress"] = _part(progress, read, 1.0)
        parts.append(_by_green(pairs, judge, prompt, wanted.green_tokens, resamples, **asking))
    return Further(
        {name: value for part in parts for name, value in part.values.items()},
        tuple(text for part in parts for text in part.markdown),
        tuple(line for part in parts for line in part.answers),
    )
