"""``python -m training data``: manifests, their check, preparation once, and what a prepared folder holds."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from napari_colipri.atomic import write_text
from napari_colipri.cli.console import guarded
from napari_colipri.text.findings import FINDING_NAMES
from training.data.converters.tables import Converted
from training.data.errors import DataError
from training.data.manifest import Counts, Line, check_manifest, read_manifest, summary, write_manifest
from training.data.records import SPLITS, Record

if TYPE_CHECKING:
    from training.data.store import Prepared as Study

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
manifest_app = typer.Typer(no_args_is_help=True, help="Make a manifest of a data set on this disk.")
app.add_typer(manifest_app, name="manifest")

_SHOWN = 20

Folder = Annotated[Path, typer.Argument(help="Folder of the data set.")]
Target = Annotated[Path, typer.Argument(help="Manifest to write (.jsonl).")]
Manifest = Annotated[Path, typer.Argument(help="Manifest (.jsonl).")]
Prepared = Annotated[Path, typer.Argument(help="Prepared folder.")]


def _console() -> Console:
    return Console(soft_wrap=True)


def _table(rows: dict[tuple[str, str], Counts]) -> Table:
    table = Table("source", "split", "studies", "patients", "reports", "labelled", "masks")
    for (source, split), row in rows.items():
        numbers = (row.studies, row.patients, row.reports, row.labelled, row.masks)
        table.add_row(source, split, *(str(value) for value in numbers))
    return table


def _write(converted: Converted, target: Path) -> None:
    """Write a manifest and say what is in it, and what is not."""
    console = _console()
    target.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(target, converted.records)
    for name, text in converted.beside.items():
        write_text(target.parent / name, text, private=True)
    console.print(_table(summary(converted.records)))
    for reason, count in converted.left_out.items():
        if count:
            console.print(f"left out, {reason}: {count}", highlight=False)
    for note in converted.notes[:_SHOWN]:
        console.print(note, highlight=False, markup=False)
    console.print(f"wrote {target}", highlight=False, markup=False)


@manifest_app.command("ctrate")
@guarded
def ctrate(
    folder: Folder,
    target: Target,
    hold_out: Annotated[float, typer.Option(help="Share of training patients that become split valid.")] = 0.02,
    section: Annotated[list[str] | None, typer.Option(help="Section of the reports, repeatable, in order.")] = None,
) -> None:
    """Take CT-RATE, either edition; its validation volumes become split test."""
    from training.data.converters.ct_rate import convert

    _write(convert(folder, target, hold_out=hold_out, sections=section or ("Findings", "Impression")), target)


@manifest_app.command("folder")
@guarded
def plain(
    folder: Folder,
    target: Target,
    source: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    valid: float = 0.05,
    test: float = 0.10,
) -> None:
    """Take a plain folder: images, reports.csv, labels.csv, masks."""
    from training.data.converters.folder import convert
    from training.data.converters.tables import Shares

    _write(convert(folder, target, source=source, shares=Shares(valid, test)), target)


@manifest_app.command("merlin")
@guarded
def merlin(folder: Folder, target: Target) -> None:
    """Take Merlin (abdomen), its report sheet saved as CSV."""
    from training.data.converters.merlin import convert

    _write(convert(folder, target), target)


@manifest_app.command("radchestct")
@guarded
def radchestct(folder: Folder, target: Target) -> None:
    """Take RAD-ChestCT's archives and tables; labels as the field scores them come as a table beside."""
    from training.data.converters.rad_chestct import convert

    _write(convert(folder, target), target)


@manifest_app.command("nlst")
@guarded
def nlst(folder: Folder, target: Target, valid: float = 0.05, test: float = 0.10) -> None:
    """Take NLST as The Cancer Imaging Archive hands it out; image-only."""
    from training.data.converters.nlst import convert
    from training.data.converters.tables import Shares

    _write(convert(folder, target, shares=Shares(valid, test)), target)


@manifest_app.command("totalsegmentator")
@guarded
def totalsegmentator(
    folder: Folder,
    target: Target,
    classes: Annotated[Path | None, typer.Option(help="JSON: class to a list of mask names, * for anything.")] = None,
) -> None:
    """Take the TotalSegmentator set; its masks become one label map a subject."""
    import json

    from training.data.converters.totalsegmentator import convert

    chosen = None
    if classes is not None:
        try:
            chosen = {
                str(name): [str(item) for item in items] for name, items in json.loads(classes.read_text()).items()
            }
        except (ValueError, AttributeError, TypeError):
            raise DataError(f"{classes.name} is no JSON object of class to a list of mask names.") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(convert(folder, target, classes=chosen), target)


@app.command()
@guarded
def check(
    manifest: Manifest,
    files: Annotated[bool, typer.Option(help="Look for the files it names.")] = True,
    labels: Annotated[bool, typer.Option(help="Compare labels with what the rules read in the reports.")] = False,
) -> None:
    """Check a manifest: every problem with its line and field, then a table per source and split."""
    from napari_colipri.text.extract import plain_findings

    lines, problems = check_manifest(manifest, files=files, read_findings=plain_findings if labels else None)
    console = _console()
    console.print(_table(summary(line.record for line in lines)))
    for problem in problems[:_SHOWN]:
        console.print(f"{manifest.name}, {problem}", highlight=False, markup=False)
    if problems:
        counts = Counter(problem.code for problem in problems)
        raise DataError(f"{len(problems)} problems: {', '.join(f'{n} {code}' for code, n in counts.items())}.")


@app.command()
@guarded
def preprocess(
    manifest: Manifest,
    out: Annotated[Path, typer.Argument(help="Folder that takes the prepared studies.")],
    bundle: Annotated[Path | None, typer.Option(help="Bundle whose input to serve; default: embedded.")] = None,
    spacing: Annotated[float | None, typer.Option(help="Voxel size in mm instead of a bundle's input.")] = None,
    whole: Annotated[
        bool, typer.Option(help="Keep the whole field of view, so that random crops are possible.")
    ] = True,
    shard: Annotated[str, typer.Option(help="Part of the studies, such as 2/8.")] = "1/1",
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    prune: Annotated[bool, typer.Option(help="Remove prepared studies that the manifest does not name.")] = False,
    log: Annotated[bool, typer.Option(help="Log what the readers say.")] = False,
) -> None:
    """Prepare every study once; finished ones are kept, bad ones recorded in skipped.jsonl."""
    from training.data.plan import Plan, plan_for
    from training.data.preprocess import Outcome, Shard, skipped_file
    from training.data.preprocess import preprocess as run
    from training.data.store import key_of

    if log:
        logging.basicConfig(level=logging.INFO)
    if spacing is not None:
        plan = Plan(axis_order="RAS", spacing_mm=(spacing,) * 3)
    else:
        from napari_colipri.engine.bundle import open_bundle

        plan = plan_for(open_bundle(bundle).config.input.spec(), whole=whole)
    part = Shard.parse(shard)
    lines = read_manifest(manifest)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        total = sum(part.holds(key_of(line.record.source, line.record.study)) for line in lines)
        task = progress.add_task("Preparing", total=total)

        def done(_outcome: Outcome) -> None:
            progress.advance(task)

        counts = run(lines, manifest.parent, out, plan, shard=part, jobs=jobs, done=done)
    console = _console()
    console.print(", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to do")
    if counts["skipped"]:
        console.print(f"why studies were skipped: {skipped_file(out, part)}", highlight=False, markup=False)
    _strangers(out, lines, prune=prune)


def _strangers(out: Path, lines: list[Line], *, prune: bool) -> None:
    """Say how many studies of a folder its manifest does not name, or remove them."""
    from training.data.verify import prune as remove
    from training.data.verify import unnamed

    names = [(line.record.source, line.record.study) for line in lines]
    if prune:
        typer.echo(f"{remove(out, names)} studies removed that the manifest does not name")
    elif count := len(unnamed(out, names)):
        typer.echo(f"{count} prepared studies are not in this manifest and stay; --prune removes them")


@app.command()
@guarded
def verify(folder: Prepared) -> None:
    """Inflate every prepared study, and look for patients and voxels that stand in two splits."""
    from training.data.store import studies_in
    from training.data.verify import verify as look

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    total = len(studies_in(folder))
    if not total:
        raise DataError(f"There is no prepared study in {folder}.")
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Inflating", total=total)
        found = look(folder, done=lambda _study: progress.advance(task))
    for item in found[:_SHOWN]:
        typer.echo(f"{item.key}: {item.message}")
    if found:
        counts = Counter(item.code for item in found)
        raise DataError(f"{len(found)} problems: {', '.join(f'{n} {code}' for code, n in counts.items())}.")
    typer.echo(f"{total} studies are whole, and no patient or scan stands in two splits")


@app.command()
@guarded
def show(
    folder: Prepared,
    size: Annotated[int, typer.Option(help="Edge of the model grid, voxels.")] = 72,
    crop: Annotated[str, typer.Option(help="centre or random.")] = "centre",
    batch: int = 8,
    seconds: Annotated[float, typer.Option(help="How long to measure.")] = 5.0,
    workers: int = 0,
    augment: bool = False,
) -> None:
    """Say what a prepared folder holds, and how many volumes a second can be read from it."""
    from training.data.augment import Augmentation
    from training.data.dataset import Batches, loader
    from training.data.sampling import Mixture, Part
    from training.data.store import studies_in

    if crop not in ("centre", "random"):
        raise DataError(f"A crop is centre or random, not {crop!r}.")
    studies = studies_in(folder)
    if not studies:
        raise DataError(f"There is no prepared study in {folder}.")
    console = _console()
    console.print(_table(summary(_as_record(study) for study in studies)))
    if any(value is not None for study in studies for value in study.labels.values()):
        console.print(_findings_table(studies))
    stored = sum(study.image_file.stat().st_size for study in studies)
    console.print(f"{stored / 2**20 / len(studies):.1f} MiB a study, {stored / 2**30:.2f} GiB in all")
    codes = Counter(code for study in studies for code in study.codes)
    if codes:
        console.print("passport: " + ", ".join(f"{code} {count}" for code, count in codes.most_common()))
    batches = Batches(
        Mixture((Part("all", studies),), batch),
        (size, size, size),
        10**9,
        crop="random" if crop == "random" else "centre",
        augment=Augmentation() if augment else None,
    )
    _first = batches[0]  # imports and caches are not what is measured
    began, read = time.perf_counter(), 0
    for item in loader(batches, start=1, workers=workers):
        read += len(item["study"])
        if time.perf_counter() - began > seconds:
            break
    rate = read / (time.perf_counter() - began)
    console.print(f"{rate:.1f} volumes/s at {size}³, {max(workers, 1)} process(es)")


def _findings_table(studies: list[Study]) -> Table:
    """Say how often each finding is present and absent in each split."""
    splits = [split for split in SPLITS if any(study.split == split for study in studies)]
    table = Table("finding", *(f"{split}: present, absent" for split in splits))
    for name in FINDING_NAMES:
        cells = []
        for split in splits:
            counts = Counter(study.labels.get(name) for study in studies if study.split == split)
            cells.append(f"{counts[1]}, {counts[0]}")
        table.add_row(name, *cells)
    return table


def _as_record(study: Study) -> Record:
    """Return a prepared study as a manifest's record, for counting."""
    return Record(
        image=study.key,
        report=study.report or None,
        labels=study.labels,
        masks=study.key if study.has_mask else None,
        patient=study.patient,
        study=study.study,
        split=study.split,
        source=study.source,
    )


@app.command()
@guarded
def lungs(
    out: Annotated[Path, typer.Argument(help="Folder that takes the scans.")],
    scans: Annotated[list[Path], typer.Argument(help="CT volumes that may train.")],
    bundle: Annotated[str, typer.Option(help="Bundle whose grid they are sampled on.")] = "demo",
    bases_only: Annotated[bool, typer.Option(help="Scans of the abdomen: lung is what reaches the top.")] = False,
) -> None:
    """Outline the lungs of real scans by threshold, for the data.outlines of a run."""
    from napari_colipri.engine.bundle import open_bundle
    from training.data.lungs import write_outline

    spec = open_bundle(bundle).input_spec
    out.mkdir(parents=True, exist_ok=True)
    for scan in scans:
        name = scan.name.removesuffix(".gz").removesuffix(".nii")
        volume_ml = write_outline(scan, out / f"{name}.npz", spec, bases_only=bases_only)
        typer.echo(f"{scan.name}: {volume_ml:.0f} ml of lung")
