"""``python -m training adapt``: cache tokens, then probes, calibration, segmentation and report decoders on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from training.data.records import Split

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

BundleName = Annotated[str, typer.Argument(help="Name or folder of the bundle whose towers stay as they are.")]
Train = Annotated[Path, typer.Argument(help="Cached tokens to learn from.")]
Valid = Annotated[Path, typer.Argument(help="Cached tokens of other patients: the best weights are chosen on them.")]
Out = Annotated[Path, typer.Argument(help="Folder that takes the adapter.")]


@app.command()
def tokens(
    bundle: BundleName,
    studies: Annotated[str, typer.Argument(help="A manifest, or phantom[-held-out]:START:COUNT[:MM].")],
    out: Annotated[Path, typer.Argument(help="Folder of the tokens; studies that are there are kept.")],
    split: Annotated[Split, typer.Option(help="Of the manifest.")] = "train",
    classes: Annotated[Path | None, typer.Option(help="JSON list of the masks' class names, background first.")] = None,
    images: Annotated[bool, typer.Option(help="Keep images and masks too, for segmentation.")] = False,
    device: str = "auto",
) -> None:
    """Encode studies once; every adapter reads what this writes."""
    from rich.console import Console

    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.adapters.tokens import cache_tokens
    from training.evaluation.studies import studies_of

    session = Session(open_bundle(bundle), device=device, cache_bytes=0)
    source = studies_of(studies, split=split, classes=classes)
    with Console(stderr=True).status("Loading") as status:
        made = cache_tokens(session, source, out, images=images, progress=lambda _, words: status.update(words))
    typer.echo(f"{len(made)} studies in {out}")


@app.command()
def probes(
    train: Train,
    valid: Valid,
    out: Out,
    test: Annotated[Path | None, typer.Option(help="Cached tokens to score: writes OUT/test.jsonl.")] = None,
    steps: int = 12_500,
    batch: int = 16,
    seed: int = 0,
) -> None:
    """Four rates × five poolings; the best by validation AUPRC is kept, with a threshold per finding."""
    from rich.console import Console

    from training.adapters.probes import ProbeRecipe, probe_scores, save_probe, train_probes
    from training.adapters.tokens import TokenSet
    from training.evaluation.scores import write_scores

    recipe = ProbeRecipe(steps=steps, batch=batch, seed=seed)
    known = TokenSet(train)
    with Console(stderr=True).status("Training probes") as status:
        trained = train_probes(
            known, TokenSet(valid), recipe, progress=lambda done, _: status.update(f"Training probes: {done:.0%}")
        )
    save_probe(out, trained, recipe, towers=known.towers, studies=len(known))
    write_scores(probe_scores(trained, TokenSet(valid)), out / "valid.jsonl")
    if test is not None:
        write_scores(probe_scores(trained, TokenSet(test)), out / "test.jsonl")
    for (pooling, rate), value in trained.grid.items():
        typer.echo(f"{pooling:<12} {rate:<6g} {value:.4f}")
    typer.echo(f"kept {trained.probe.pooling} at {trained.rate:g} for {len(trained.findings)} findings")


@app.command()
def calibrate(
    fitting: Annotated[Path, typer.Argument(help="Scores to fit on (JSONL), neither trained on nor tested on.")],
    judging: Annotated[Path, typer.Argument(help="Scores of other patients, to judge the fit.")],
    out: Annotated[Path, typer.Argument(help="calibration.json; entries for another origin are kept.")],
    set_name: Annotated[str, typer.Option("--set", help="Name of the studies as it stands beside every number.")],
    domain: Annotated[Literal["phantom", "real"], typer.Option(help="What the studies are.")],
    origin: Annotated[Literal["zero-shot", "probe"], typer.Option(help="Which answer the scores are.")] = "zero-shot",
    method: Annotated[
        Literal["auto", "temperature", "logistic", "isotonic"], typer.Option(help="auto: by cross-validation.")
    ] = "auto",
    resamples: int = 1000,
) -> None:
    """Fit per finding on one set, judge on another; what has no sure skill over the prevalence is left out."""
    from napari_colipri.engine.calibration import read_calibration
    from training.adapters.calibration import calibrate as fit_all
    from training.adapters.calibration import write_calibration
    from training.evaluation.plots import plot_reliability
    from training.evaluation.results import write_figures
    from training.evaluation.scores import read_scores
    from training.evaluation.tables import reliability_table

    made, figures, left_out = fit_all(
        read_scores(fitting),
        read_scores(judging),
        domain=domain,
        name=set_name,
        origin=origin,
        method=None if method == "auto" else method,
        resamples=resamples,
    )
    parts = [made]
    if out.is_file():
        before = read_calibration(out)
        others = tuple(entry for entry in before.entries if entry.origin != origin)
        parts = [before.model_copy(update={"entries": others}), made]
    write_calibration(parts, out)
    text = reliability_table(figures)
    values = {"findings": {name: row.to_json() for name, row in figures.items()}, "left_out": left_out}
    write_figures(out.parent, f"calibration-{origin}", values, text)
    if figures:
        plot_reliability(figures, out.parent / f"calibration-{origin}.png")
    typer.echo(text)
    for name, reason in left_out.items():
        typer.echo(f"left out: {name}: {reason}")


@app.command()
def segmentation(
    train: Train,
    valid: Valid,
    out: Out,
    classes: Annotated[Path, typer.Option(help="JSON list of label, name, display_name, code; no background.")],
    architecture: Literal["patch-conv", "patch"] = "patch-conv",
    width: int = 32,
    steps: int = 2000,
    batch: int = 2,
    seed: int = 0,
) -> None:
    """Train a mask decoder on cached tokens and images: Dice and cross-entropy."""
    import json

    from rich.console import Console

    from training.adapters.fitting import Schedule
    from training.adapters.segmentation import SegmentationRecipe, save_segmentation, train_segmentation
    from training.adapters.tokens import TokenSet

    table = json.loads(classes.read_text(encoding="utf-8"))
    recipe = SegmentationRecipe(architecture, width, Schedule(steps=steps, batch=batch, seed=seed))
    known = TokenSet(train)
    with Console(stderr=True).status("Training") as status:
        decoder, fitted = train_segmentation(
            known,
            TokenSet(valid),
            len(table) + 1,
            recipe,
            log=out / "log.jsonl",
            progress=lambda done, words: status.update(f"{done:.0%}, {words}"),
        )
    save_segmentation(out, decoder, table, recipe, fitted, towers=known.towers, studies=len(known))
    typer.echo(f"kept step {fitted.step}, validation loss {fitted.valid_loss:.4f}")


@app.command()
def report(
    bundle: BundleName,
    train: Train,
    valid: Valid,
    out: Out,
    width: int = 192,
    depth: int = 3,
    heads: int = 4,
    steps: int = 2000,
    batch: int = 16,
    seed: int = 0,
) -> None:
    """Train the report decoder on cached tokens of studies that have a report."""
    from rich.console import Console

    from napari_colipri.engine.bundle import open_bundle
    from training.adapters.fitting import Schedule
    from training.adapters.report import ReportRecipe, save_report, train_report
    from training.adapters.tokens import TokenSet

    recipe = ReportRecipe(width=width, depth=depth, heads=heads, schedule=Schedule(steps=steps, batch=batch, seed=seed))
    known = TokenSet(train)
    with Console(stderr=True).status("Training") as status:
        decoder, fitted = train_report(
            open_bundle(bundle),
            known,
            TokenSet(valid),
            recipe,
            log=out / "log.jsonl",
            progress=lambda done, words: status.update(f"{done:.0%}, {words}"),
        )
    save_report(out, decoder, recipe, fitted, towers=known.towers, studies=len(known))
    typer.echo(f"kept step {fitted.step}, validation loss per word {fitted.valid_loss:.4f}")


@app.command("from-run")
def from_run(
    run: Annotated[Path, typer.Argument(help="Folder of a run whose towers stayed as they were.")],
    out: Out,
    classes: Annotated[
        Path | None,
        typer.Option(help="JSON list of label, name, display_name, code; default: the phantoms' short list."),
    ] = None,
) -> None:
    """Take the mask or report decoder that `train` made (presets embedded-masks, embedded-report)."""
    import json

    from training.loop.export import export_adapter
    from training.phantom.classes import class_table

    table = class_table() if classes is None else json.loads(classes.read_text(encoding="utf-8"))
    made = export_adapter(run, out, table)
    typer.echo(f"{made.name} in {out}")


@app.command()
def write(
    run: Annotated[Path, typer.Argument(help="Folder of a run with a language model (objectives.llm).")],
    studies: Annotated[str, typer.Argument(help="A manifest, or phantom[-held-out]:START:COUNT[:MM].")],
    out: Annotated[Path, typer.Argument(help="JSONL for `evaluate reports`.")],
    split: Annotated[Split, typer.Option(help="Of the manifest.")] = "test",
    length: Annotated[int | None, typer.Option(help="Longest report, tokens; default and most: as trained.")] = None,
    averaged: Annotated[bool, typer.Option(help="Take the averaged weights.")] = True,
    cpu: Annotated[bool, typer.Option("--cpu", help="Keep off the GPU.")] = False,
) -> None:
    """Let the language model of a run write the reports of studies."""
    import torch
    from rich.console import Console

    from napari_colipri.cli.console import cancellable
    from training.adapters.language import open_writer, write_reports
    from training.evaluation.studies import studies_of

    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    source = studies_of(studies, split=split)
    writer, model = open_writer(run, averaged=averaged, length=length, device=device)
    with cancellable() as cancel, Console(stderr=True).status("Loading") as status:
        count = write_reports(writer, model, source, out, progress=lambda _, words: status.update(words), cancel=cancel)
    typer.echo(f"{count} reports in {out}")
