"""Labels of reports by a classifier that somebody else trained, such as RadBERT on CT-RATE's labels.

RadBERT: Yan et al., Radiology: Artificial Intelligence 2022. Its use on the 18 findings: Hamamci et al. (CT-RATE),
arXiv 2403.17834. A finding is stated where its sigmoid reaches 0.5. Both reports are read, and nothing but their words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_colipri.progress import CancelToken, Progress, report_nothing
from napari_colipri.text.findings import FINDING_NAMES, finding_term
from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap, mean_known
from training.evaluation.files import read_json
from training.evaluation.local_models import LocalModel, load_model, memory_watched
from training.evaluation.reports import Extract, ReportPair, Said, evaluate_reports
from training.evaluation.scores import EvaluationError

__all__ = [
    "Agreement",
    "LabelTable",
    "Labelled",
    "classify_reports",
    "label_columns",
    "label_table",
    "read_label_names",
]

_BATCH = 16


@dataclass(frozen=True)
class Agreement:
    """Precision, recall and F1; NaN where one is not defined."""

    precision: Interval
    recall: Interval
    f1: Interval

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {name: value.to_json() for name, value in vars(self).items()}


@dataclass(frozen=True)
class Labelled:
    """What a classifier reads in a set of texts.

    Attributes
    ----------
    findings
        Those that the classifier knows, in canonical order.
    labels
        Text to the findings that it states.
    shortened
        Texts of which the end was cut off because the model takes no longer ones.
    """

    findings: tuple[str, ...]
    labels: Mapping[str, frozenset[str]]
    shortened: frozenset[str] = frozenset()

    def read(self, report: str) -> dict[str, Said]:
        """Return what a report states, as a reader for :func:`~training.evaluation.reports.evaluate_reports`."""
        return {name: Said() for name in self.labels[report]}


@dataclass(frozen=True)
class LabelTable:
    """How the labels of generated reports agree with those of the references.

    Attributes
    ----------
    model
        That gave the labels.
    reports, patients
        How many.
    findings
        Finding to (references that state it, generated reports that do, figures).
    macro
        Means over the findings in which each figure is defined.
    micro
        Over all decisions.
    unknown
        Findings that the model does not know.
    shortened
        Reports, generated or reference, that the model read in part only.
    """

    model: LocalModel
    reports: int
    patients: int
    findings: dict[str, tuple[int, int, Agreement]]
    macro: Agreement
    micro: Agreement
    unknown: tuple[str, ...]
    shortened: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        rows = {name: {"true": t, "said": s, **v.to_json()} for name, (t, s, v) in self.findings.items()}
        return {
            **self.model.to_json(),
            "reports": self.reports,
            "patients": self.patients,
            "macro": self.macro.to_json(),
            "micro": self.micro.to_json(),
            "findings": rows,
            "unknown": list(self.unknown),
            "shortened": self.shortened,
        }


def read_label_names(path: Path) -> tuple[str | None, ...]:
    """Read a JSON list of one name per output of the classifier; null for an output that is none of the findings.

    Raises
    ------
    EvaluationError
        Naming the file.
    """
    values = read_json(path)
    if not isinstance(values, list) or not all(isinstance(value, str | None) for value in values):
        raise EvaluationError(f"{path.name} is not a JSON list of names.", code="bad_labels")
    return tuple(values)


def label_columns(names: Sequence[str | None], source: str) -> dict[str, int]:
    """Return canonical finding to output of the classifier, in canonical order; any case, and _ for a space.

    Parameters
    ----------
    names
        Of the outputs; None for one that is left out.
    source
        Named in errors.

    Raises
    ------
    EvaluationError
        If a name is none of the 18 or stands twice, or there is none at all.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if name is None:
            continue
        term = finding_term(" ".join(name.replace("_", " ").split()))
        if term is None or term.name in places:
            reason = "is none of the 18 findings" if term is None else "stands twice"
            raise EvaluationError(
                f"{source}: {name!r} {reason}; give a JSON list of the outputs' names with --radbert-labels.",
                code="bad_labels",
            )
        places[term.name] = place
    if not places:
        raise EvaluationError(f"{source} names none of the 18 findings.", code="bad_labels")
    return {name: places[name] for name in FINDING_NAMES if name in places}


def _outputs(config: Any, names: Sequence[str | None] | None, model: LocalModel) -> dict[str, int]:
    count = int(config.num_labels)
    if config.problem_type == "single_label_classification":
        raise EvaluationError(f"{model.name} gives one label per report, not several.", code="bad_model")
    if names is None:
        return label_columns([config.id2label.get(place) for place in range(count)], model.name)
    if len(names) != count:
        raise EvaluationError(f"{model.name} has {count} outputs, but {len(names)} names are given.", code="bad_labels")
    return label_columns(names, "The list of names")


def _longest(config: Any, tokenizer: Any) -> int:
    """Tokens that the model takes; RoBERTa counts its positions from behind the padding's own."""
    places = int(getattr(config, "max_position_embeddings", tokenizer.model_max_length))
    if "roberta" in config.model_type or config.model_type == "camembert":
        places -= int(config.pad_token_id) + 1
    return min(places, int(tokenizer.model_max_length))


def classify_reports(
    texts: Sequence[str],
    model: LocalModel,
    names: Sequence[str | None] | None = None,
    *,
    device: str = "cpu",
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> Labelled:
    """Ask a classifier about each distinct text.

    Parameters
    ----------
    texts
        Reports.
    model
        A folder of a classifier of sequences with a sigmoid per label.
    names
        Of its outputs, where its own configuration does not say.
    device, progress, cancel
        As everywhere.

    Raises
    ------
    EvaluationError
        If the folder or the names do not fit.
    Cancelled
        If asked to stop.
    """
    import torch

    network, tokenizer = load_model(model, "classifier", device)
    places = _outputs(network.config, names, model)
    longest = _longest(network.config, tokenizer)
    wanted = list(dict.fromkeys(texts))
    stated: dict[str, frozenset[str]] = {}
    shortened = set()
    with memory_watched(model), torch.inference_mode():
        for start in range(0, len(wanted), _BATCH):
            (cancel or CancelToken()).check()
            progress(start / len(wanted), f"Labels by {model.name}")
            batch = wanted[start : start + _BATCH]
            sizes = [len(ids) for ids in tokenizer(batch, verbose=False)["input_ids"]]
            shortened |= {text for text, size in zip(batch, sizes, strict=True) if size > longest}
            tokens = tokenizer(batch, padding=True, truncation=True, max_length=longest, return_tensors="pt")
            logits_NF = network(**tokens.to(device)).logits.float().cpu()
            for text, row in zip(batch, logits_NF.tolist(), strict=True):
                stated[text] = frozenset(name for name, place in places.items() if row[place] >= 0)
    return Labelled(tuple(places), stated, frozenset(shortened))


def _precision_recall(
    pairs: Sequence[ReportPair], read: Extract, findings: Sequence[str], *, resamples: int, seed: int
) -> tuple[tuple[Interval, ...], tuple[Interval, ...]]:
    """Precision and recall of every finding, then macro, then micro."""
    ours, theirs = (
        np.array([[name in each for name in findings] for each in map(read, side)], dtype=np.float64)
        for side in ([pair.generated for pair in pairs], [pair.reference for pair in pairs])
    )

    def share(hits: Floats, whole: Floats) -> Floats:
        per = np.where(whole > 0, hits / np.maximum(whole, 1), np.nan)
        total = whole.sum(axis=1)
        pooled = np.where(total > 0, hits.sum(axis=1) / np.maximum(total, 1), np.nan)
        return np.concatenate([per, mean_known(per)[:, None], pooled[:, None]], axis=1)

    def statistic(weights: Floats) -> Floats:
        hits = weights @ (ours * theirs)
        return np.concatenate([share(hits, weights @ ours), share(hits, weights @ theirs)], axis=1)

    figures = bootstrap(statistic, [pair.patient for pair in pairs], resamples=resamples, seed=seed)
    half = len(findings) + 2
    return figures[:half], figures[half:]


def label_table(
    pairs: Sequence[ReportPair],
    labelled: Labelled,
    model: LocalModel,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LabelTable:
    """Compare labels of generated reports with those of the references; facts, where known, play no part.

    Parameters
    ----------
    pairs
        Reports.
    labelled
        Labels of all their texts.
    model
        That gave the labels.
    resamples, seed
        Of the bootstrap over patients.

    Raises
    ------
    ValueError
        Without a report.
    """
    words = [replace(pair, facts=None) for pair in pairs]
    known = labelled.findings
    table = evaluate_reports(words, labelled.read, known, resamples=resamples, seed=seed)
    precision, recall = _precision_recall(words, labelled.read, known, resamples=resamples, seed=seed)
    rows = {
        name: (true, said, Agreement(precision[place], recall[place], f1))
        for place, (name, (true, said, f1)) in enumerate(table.findings.items())
    }
    texts = [text for pair in pairs for text in (pair.generated, pair.reference)]
    return LabelTable(
        model=model,
        reports=table.reports,
        patients=table.patients,
        findings=rows,
        macro=Agreement(precision[-2], recall[-2], table.macro),
        micro=Agreement(precision[-1], recall[-1], table.micro),
        unknown=tuple(name for name in FINDING_NAMES if name not in known),
        shortened=sum(text in labelled.shortened for text in texts),
    )
