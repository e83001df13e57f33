"""``python -m training evaluate``: protocols on files of scores, embeddings, masks and reports; tables and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_colipri.cli.console import guarded
from training.data.records import Split

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Out = Annotated[Path, typer.Option(help="Folder that takes tables (Markdown, JSON) and plots (PNG).")]
Resamples = Annotated[int, typer.Option(help="Draws of the bootstrap over patients.")]


@app.command()
def findings(
    scores: Annotated[Path, typer.Argument(help="JSONL of study, patient, scores, labels.")],
    out: Out,
    validation: Annotated[Path | None, typer.Option(help="Same form: thresholds are chosen on these studies.")] = None,
    rad_chestct: Annotated[bool, typer.Option(help="Score as RAD-ChestCT: 16 classes.")] = False,
    probabilities: Annotated[bool, typer.Option(help="Scores are probabilities: add reliability.")] = True,
    resamples: Resamples = 1000,
) -> None:
    """AUROC, AUPRC, F1 and balanced accuracy per finding with intervals, ROC curves, reliability."""
    import numpy as np

    from training.evaluation.classification import classify, thresholds_of, to_rad_chestct
    from training.evaluation.plots import plot_reliability, plot_roc
    from training.evaluation.reliability import reliability_rows
    from training.evaluation.results import write_figures
    from training.evaluation.scores import EvaluationError, read_scores
    from training.evaluation.tables import classification_table, reliability_table

    table = read_scores(scores)
    other = read_scores(validation) if validation else None
    if other is not None and (shared := set(other.patient) & set(table.patient)):
        raise EvaluationError(
            f"{len(shared)} patients stand in both files: thresholds chosen on them would flatter the result.",
            code="shared_patients",
        )
    if rad_chestct:
        table, other = to_rad_chestct(table), to_rad_chestct(other) if other is not None else None
    figures = classify(table, thresholds_of(other) if other is not None else None, resamples=resamples)
    text = classification_table(figures)
    write_figures(out, "findings", figures.to_json(), text)
    plot_roc(table, out / "roc.png")
    typer.echo(text)
    if probabilities and np.nanmin(table.scores) >= 0 and np.nanmax(table.scores) <= 1:
        rows = reliability_rows(table, resamples=resamples)
        text = reliability_table(rows)
        write_figures(out, "reliability", {name: row.to_json() for name, row in rows.items()}, text)
        plot_reliability(rows, out / "reliability.png")
        typer.echo(text)


@app.command()
def retrieval(
    folder: Annotated[Path, typer.Argument(help="Folder with embeddings.npz and facts.jsonl.")],
    out: Out,
    sizes: Annotated[bool, typer.Option(help="Without: neither facts nor texts have sizes.")] = True,
    resamples: Resamples = 1000,
) -> None:
    """Image-to-report and report-to-image R@1/5/10/50 beside chance and a label-overlap oracle."""
    from training.evaluation.bundle import retrieval_of
    from training.evaluation.files import read_embeddings
    from training.evaluation.results import write_figures
    from training.evaluation.scores import EvaluationError
    from training.evaluation.tables import retrieval_table

    figures = retrieval_of(read_embeddings(folder), sizes=sizes, resamples=resamples)
    if figures is None:
        raise EvaluationError("Retrieval needs at least two studies whose facts differ.", code="empty")
    text = retrieval_table(figures)
    write_figures(out, "retrieval" if sizes else "retrieval-without-sizes", figures.to_json(), text)
    typer.echo(text)


@app.command()
def masks(
    predicted: Annotated[Path, typer.Argument(help="Folder of label NIfTIs.")],
    reference: Annotated[Path, typer.Argument(help="Folder of references with the same file names.")],
    classes: Annotated[Path, typer.Option(help="JSON of name: label, or a segmentation.json.")],
    out: Out,
    tolerance_mm: float = 3.0,
    resamples: Resamples = 1000,
) -> None:
    """Dice and normalised surface distance per class; each file counts as a patient."""
    from training.evaluation.files import mask_pairs, read_classes
    from training.evaluation.masks import compare_case, mask_table
    from training.evaluation.results import write_figures
    from training.evaluation.tables import mask_markdown

    names = read_classes(classes)
    cases = [
        compare_case(ours, theirs, names, spacing, case=case, patient=case, tolerance_mm=tolerance_mm)
        for case, ours, theirs, spacing in mask_pairs(predicted, reference)
    ]
    figures = mask_table(cases, tolerance_mm=tolerance_mm, resamples=resamples)
    text = mask_markdown(figures)
    write_figures(out, "masks", figures.to_json(), text)
    typer.echo(text)


@app.command()
@guarded
def reports(
    pairs: Annotated[Path, typer.Argument(help="JSONL of study, patient, generated, reference, facts (optional).")],
    out: Out,
    radbert: Annotated[Path | None, typer.Option(help="Folder of a report classifier (safetensors).")] = None,
    radbert_labels: Annotated[Path | None, typer.Option(help="JSON list: names of its outputs.")] = None,
    green: Annotated[Path | None, typer.Option(help="Folder of a language model that judges (safetensors).")] = None,
    green_prompt: Annotated[Path | None, typer.Option(help="Text with {reference} and {candidate}.")] = None,
    green_tokens: Annotated[int, typer.Option(help="Longest answer of the judge.", min=1)] = 1024,
    radgraph: Annotated[
        tuple[Path, Path] | None, typer.Option(help="RadGraph's JSON of the generated and of the reference reports.")
    ] = None,
    device: Annotated[str, typer.Option(help="Of the two models.")] = "auto",
    resamples: Resamples = 1000,
) -> None:
    """BLEU, ROUGE-L, clinical F1, wrong sides and sizes, earlier scans; RadBERT, GREEN and RadGraph where asked for."""
    from napari_colipri.cli.console import cancellable, show_progress
    from training.evaluation.report_metrics import Wanted, further_metrics
    from training.evaluation.reports import evaluate_reports, read_reports
    from training.evaluation.results import write_figures
    from training.evaluation.tables import report_table

    wanted = Wanted(radbert, radbert_labels, green, green_prompt, green_tokens, radgraph, device)
    with cancellable() as cancel, show_progress() as progress:
        read = read_reports(pairs)
        further = further_metrics(read, wanted, resamples=resamples, progress=progress, cancel=cancel)
        figures = evaluate_reports(read, resamples=resamples)
    text = "\n".join([report_table(figures), *further.markdown])
    further.write_answers(out)
    write_figures(out, "reports", figures.to_json() | further.values, text)
    typer.echo(text)


@app.command()
def planted(
    pairs: Annotated[Path, typer.Argument(help="JSONL of patient, volume, finding, unplanted, planted, sham.")],
    out: Out,
    resamples: Resamples = 1000,
) -> None:
    """Paired differences of planted, unplanted and sham-edited volumes: a description, patients counted."""
    from training.evaluation.planted import paired_differences, read_planted
    from training.evaluation.results import write_figures
    from training.evaluation.tables import planted_table

    rows = paired_differences(read_planted(pairs), resamples=resamples)
    text = planted_table(rows)
    write_figures(out, "planted", [row.to_json() for row in rows], text)
    typer.echo(text)


@app.command()
def bundle(
    bundle: Annotated[str, typer.Argument(help="Name or folder of a bundle.")],
    studies: Annotated[str, typer.Argument(help="A manifest, or phantom[-held-out]:START:COUNT[:MM].")],
    out: Out,
    split: Annotated[Split, typer.Option(help="Of the manifest.")] = "test",
    classes: Annotated[Path | None, typer.Option(help="JSON list of the masks' class names, background first.")] = None,
    masks_on: Annotated[int | None, typer.Option(help="Segment the first so many studies only.")] = None,
    reports_on: Annotated[int | None, typer.Option(help="Write about the first so many studies only.")] = None,
    device: str = "auto",
    resamples: Resamples = 1000,
) -> None:
    """Score a bundle through the product's own session: findings, probe, masks, retrieval, written reports."""
    from rich.console import Console

    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.evaluation.bundle import Limits, score_bundle, write_answers
    from training.evaluation.studies import studies_of

    session = Session(open_bundle(bundle), device=device, cache_bytes=0)
    source = studies_of(studies, split=split, classes=classes)
    with Console(stderr=True).status("Loading") as status:
        answers = score_bundle(
            session, source, limits=Limits(masks_on, reports_on), progress=lambda _, words: status.update(words)
        )
    typer.echo(write_answers(answers, out, resamples=resamples))


@app.command()
def plant(
    bundle: Annotated[str, typer.Argument(help="Name or folder of a bundle.")],
    manifest: Annotated[Path, typer.Argument(help="Real scans whose masks hold 1 left lung, 2 right lung.")],
    out: Out,
    split: Annotated[Split, typer.Option(help="Of the manifest; never one that was trained on.")] = "test",
    seeds: Annotated[int, typer.Option(help="Plantings of each finding per scan.")] = 1,
    device: str = "auto",
    resamples: Resamples = 1000,
) -> None:
    """Plant findings into real scans and compare with the plain scan and a sham edit: a description."""
    import json

    from rich.console import Console

    from napari_colipri.atomic import write_text
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.evaluation.phantoms import planted_scores
    from training.evaluation.planted import paired_differences
    from training.evaluation.results import write_figures
    from training.evaluation.studies import manifest_studies
    from training.evaluation.tables import planted_table

    session = Session(open_bundle(bundle), device=device, cache_bytes=0)
    with Console(stderr=True).status("Loading") as status:
        pairs = planted_scores(
            session,
            manifest_studies(manifest, split),
            seeds=range(seeds),
            progress=lambda _, words: status.update(words),
        )
    rows = paired_differences(pairs, resamples=resamples)
    text = planted_table(rows)
    write_figures(out, "planted", [row.to_json() for row in rows], text)
    write_text(out / "pairs.jsonl", "".join(json.dumps(vars(pair)) + "\n" for pair in pairs))
    typer.echo(text)


@app.command()
@guarded
def heads(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or under way.")],
    pool: Annotated[Path, typer.Argument(help="Folder of phantoms; those that training leaves out are asked.")],
    out: Out,
    count: Annotated[int, typer.Option(help="Phantoms at most.", min=2)] = 200,
    resamples: Resamples = 1000,
) -> None:
    """Ask the heads of a run for findings, per cell, per patch and per volume: to watch a run, not a result."""
    from napari_colipri.cli.console import cancellable, show_progress
    from training.evaluation.classification import classify
    from training.evaluation.heads import head_scores, load_run
    from training.evaluation.results import write_figures
    from training.evaluation.tables import heads_table

    task, config, step = load_run(run)
    with cancellable() as cancel, show_progress() as progress:
        scores = head_scores(task, config, pool, count, progress, cancel)
    figures = {name: classify(table, None, resamples=resamples) for name, table in scores.items()}
    text = f"{config.name}, step {step}.\n\n{heads_table(figures)}"
    write_figures(out, "heads", {"step": step} | {name: each.to_json() for name, each in figures.items()}, text)
    typer.echo(text)


@app.command()
def curves(
    logs: Annotated[list[Path], typer.Argument(help="log.jsonl of one or more runs.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    smooth: int = 20,
) -> None:
    """Learning curves of one or more runs."""
    from training.evaluation.plots import learning_curves

    typer.echo(f"wrote {learning_curves(logs, out, smooth=smooth)}")
