"""Figures as Markdown: what a reader pastes into a model card or a results page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from training.evaluation.classification import METRICS, Classification
from training.evaluation.green import GreenTable
from training.evaluation.masks import MaskTable
from training.evaluation.planted import PlantedRow
from training.evaluation.radbert import LabelTable
from training.evaluation.radgraph import GraphTable
from training.evaluation.reliability import Reliability
from training.evaluation.reports import ReportTable
from training.evaluation.retrieval import Retrieval

__all__ = [
    "classification_table",
    "graph_markdown",
    "green_markdown",
    "heads_table",
    "label_markdown",
    "mask_markdown",
    "planted_table",
    "reliability_table",
    "report_table",
    "retrieval_table",
]

_INTERVAL = "95 % bootstrap interval over patients"


def _rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def classification_table(figures: Classification) -> str:
    """One row per finding, the macro mean last."""
    head = ["finding", "AUROC", "AUPRC", "F1", "balanced accuracy", "positives / studies"]
    rows: list[list[object]] = [
        [row.finding, *(row.metrics[m] for m in METRICS), f"{row.positives} / {row.studies}"] for row in figures.rows
    ]
    rows.append(["**macro**", *(f"**{figures.macro[m]}**" for m in METRICS), ""])
    text = f"{figures.studies} studies of {figures.patients} patients; {_INTERVAL}; threshold: "
    text += f"{figures.threshold_source}.\n\n" + _rows(head, rows)
    if figures.silent:
        text += f"\nNo number from this model for: {', '.join(figures.silent)}.\n"
    return text


def heads_table(figures: Mapping[str, Classification]) -> str:
    """AUROC of each head, one row per finding, the macro mean last."""
    first = next(iter(figures.values()))
    columns = {name: {row.finding: row.metrics["auroc"] for row in each.rows} for name, each in figures.items()}
    rows: list[list[object]] = [
        [row.finding, *(column[row.finding] for column in columns.values()), f"{row.positives} / {row.studies}"]
        for row in first.rows
    ]
    rows.append(["**macro**", *(f"**{each.macro['auroc']}**" for each in figures.values()), ""])
    head = ["finding", *(f"AUROC, {name}" for name in figures), "positives / studies"]
    return f"{first.studies} studies; {_INTERVAL}.\n\n" + _rows(head, rows)


def retrieval_table(figures: Retrieval) -> str:
    """One row per direction and reference."""
    cuts = list(figures.chance)
    rows: list[list[object]] = [
        ["image → report", *(figures.image_to_report[k] for k in cuts)],
        ["report → image", *(figures.report_to_image[k] for k in cuts)],
        ["chance", *(f"{figures.chance[k]:.3f}" for k in cuts)],
        ["oracle: label overlap", *(f"{figures.oracle[k]:.3f}" for k in cuts)],
        ["image → report, where the oracle is certain", *(figures.resolved[k][1] for k in cuts)],
        ["queries of which the oracle is certain", *(figures.resolved[k][0] for k in cuts)],
    ]
    text = f"{figures.items} items; {figures.dropped} studies left out because another has the same facts; {_INTERVAL}."
    return text + "\n\n" + _rows(["", *(f"R@{k}" for k in cuts)], rows)


def mask_markdown(figures: MaskTable) -> str:
    """One row per class, the mean last."""
    rows: list[list[object]] = [[name, dice, nsd, n] for name, (n, dice, nsd) in figures.classes.items()]
    rows.append(["**mean of classes**", f"**{figures.macro[0]}**", f"**{figures.macro[1]}**", ""])
    text = f"{figures.cases} cases of {figures.patients} patients; {_INTERVAL}.\n\n"
    text += _rows(["class", "Dice", f"NSD at {figures.tolerance_mm:g} mm", "cases with it"], rows)
    drawn = [f"{name} {ml:.1f} ml (n = {n})" for name, (ml, n) in figures.invented_ml.items() if ml > 0]
    if drawn:
        text += f"\nDrawn where the reference has none, mean: {', '.join(drawn)}.\n"
    return text


def report_table(figures: ReportTable) -> str:
    """Totals, then one row per finding."""

    def share(part: int, whole: int) -> str:
        return f"{part} of {whole}" + (f" ({100 * part / whole:.1f} %)" if whole else "")

    totals: list[list[object]] = [
        ["clinical F1, macro", figures.macro],
        ["clinical F1, micro", figures.micro],
        ["wrong side", share(figures.wrong_side, figures.sided)],
        ["wrong size", share(figures.wrong_size, figures.sized)],
        ["sentences that compare with an earlier scan", share(figures.comparing, figures.sentences)],
        ["BLEU (0–100)", f"{figures.bleu:.1f}"],
        ["ROUGE-L", figures.rouge_l],
    ]
    rows = [[name, value, said, true] for name, (true, said, value) in figures.findings.items() if true or said]
    text = f"{figures.reports} reports of {figures.patients} patients; {_INTERVAL}.\n\n" + _rows(["", "value"], totals)
    return text + "\n" + _rows(["finding", "F1", "stated", "true"], rows)


def reliability_table(figures: Mapping[str, Reliability]) -> str:
    """One row per finding."""
    rows = [
        [name, each.ece, each.brier_skill, f"{each.prevalence:.3f}", each.studies] for name, each in figures.items()
    ]
    head = ["finding", "adaptive-bin ECE", "Brier skill", "prevalence", "studies"]
    return f"{_INTERVAL.capitalize()}.\n\n" + _rows(head, rows)


def planted_table(rows: Sequence[PlantedRow]) -> str:
    """One row per finding; says that few patients make a description."""
    head = [
        "finding",
        "planted − unplanted",
        "sham − unplanted",
        "planted − sham",
        "planted above sham",
        "pairs",
        "patients",
    ]
    cells = [[r.finding, r.planted, r.sham, r.over_sham, r.ranked, r.pairs, r.patients] for r in rows]
    text = f"Paired differences of the score; {_INTERVAL}. A description of these patients, not a test.\n\n"
    return text + _rows(head, cells)


def label_markdown(figures: LabelTable) -> str:
    """One row per finding, macro and micro last; which model gave the labels."""
    rows: list[list[object]] = [
        [name, each.precision, each.recall, each.f1, said, true]
        for name, (true, said, each) in figures.findings.items()
        if true or said
    ]
    for name, each in (("macro", figures.macro), ("micro", figures.micro)):
        rows.append([f"**{name}**", *(f"**{value}**" for value in (each.precision, each.recall, each.f1)), "", ""])
    text = (
        f"Labels by {figures.model.words}. {figures.reports} reports of {figures.patients} patients; {_INTERVAL}.\n\n"
    )
    text += _rows(["finding", "precision", "recall", "F1", "stated", "true"], rows)
    if figures.unknown:
        text += f"\nThis model does not know: {', '.join(figures.unknown)}.\n"
    if figures.shortened:
        text += f"\nThe ends of {figures.shortened} of {2 * figures.reports} texts were not read: they are too long.\n"
    return text


def green_markdown(figures: GreenTable) -> str:
    """GREEN, what it counts, and how many reports have no score."""
    rows: list[list[object]] = [["GREEN", figures.score], ["matched findings per report", figures.matched]]
    rows += [[f"significant errors per report: {name}", value] for name, value in figures.errors.items()]
    unscored = figures.unparsable + figures.too_long
    text = f"GREEN by {figures.model.words}, question sha256 `{figures.prompt_sha256[:12]}`. "
    text += f"{figures.reports} reports of {figures.patients} patients; {_INTERVAL}.\n\n" + _rows(["", "value"], rows)
    return text + (
        f"\nWithout a score: {unscored} of {figures.reports} reports "
        f"({figures.unparsable} answers that cannot be read, {figures.too_long} questions too long for the model).\n"
    )


def graph_markdown(figures: GraphTable) -> str:
    """One row per reward; which files hold the annotations."""
    files = ", ".join(f"`{name}` sha256 `{digest[:12]}`" for name, digest in figures.files)
    text = f"RadGraph F1 from {files}. {figures.reports} reports of {figures.patients} patients; {_INTERVAL}.\n\n"
    text += _rows(["reward", "F1", "precision", "recall"], [[name, *each] for name, each in figures.rewards.items()])
    if figures.empty:
        text += f"\n{figures.empty} reports have no entity on one side or both, and score 0.\n"
    return text
