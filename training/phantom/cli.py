"""``python -m training phantom``: make pools of phantoms, look at one, list them for training."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

_Regime = Annotated[str, typer.Option(help="Scanner settings: train or held_out.")]


def _follow_the_parent() -> None:
    """End this process with its parent, however that one ends: a killed command leaves nobody at work."""
    import os
    import threading
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _work(folder: Path, seeds: list[int], grid: int, spacing: float, how: dict[str, Any]) -> int:
    from training.phantom.pool import fill_pool

    made = fill_pool(folder, seeds, shape=(grid, grid, grid), spacing_mm=(spacing, spacing, spacing), **how)
    return sum(1 for _ in made)


@app.command()
def make(
    pool: Annotated[Path, typer.Argument(help="Folder that takes the phantoms.")],
    count: Annotated[int, typer.Option(min=1)] = 1000,
    start: Annotated[int, typer.Option(min=0, help="First seed.")] = 0,
    grid: Annotated[int, typer.Option(min=16, help="Voxels along each edge.")] = 72,
    spacing: Annotated[float, typer.Option(min=0.5, help="mm.")] = 5.0,
    regime: _Regime = "train",
    randomised: Annotated[bool, typer.Option(help="Random densities and textures of each class.")] = False,
    chance: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of each finding; default: 0.21.")] = 0.21,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; one core each.")] = 1,
    device: Annotated[str, typer.Option(help="Such as cpu or cuda.")] = "cpu",
) -> None:
    """Make phantoms of consecutive seeds; those that are there already are kept."""
    from rich.progress import Progress

    from training.phantom.protocol import REGIMES

    if regime not in REGIMES:
        raise typer.BadParameter(f"Regime must be one of {', '.join(REGIMES)}.")
    how = {"regime": regime, "randomised": randomised, "chance": chance, "device": device}
    seeds = list(range(start, start + count))
    parts = [seeds[n : n + 8] for n in range(0, count, 8)]
    with Progress(transient=True) as progress:
        task = progress.add_task("Phantoms", total=count)
        if jobs == 1:
            for part in parts:
                progress.advance(task, _work(pool, part, grid, spacing, how))
        else:
            with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_follow_the_parent) as workers:
                waiting = [workers.submit(_work, pool, part, grid, spacing, how) for part in parts]
                for done in as_completed(waiting):
                    progress.advance(task, done.result())
    typer.echo(f"{count} phantoms in {pool}")


@app.command()
def show(
    seed: int,
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    grid: Annotated[int, typer.Option(min=16)] = 128,
    extent: Annotated[float, typer.Option(help="Edge of the volume, mm.")] = 380.0,
    finding: Annotated[list[str] | None, typer.Option(help="Exactly these findings; may be repeated.")] = None,
    regime: _Regime = "train",
    quiet: Annotated[bool, typer.Option(help="Whole chest with little noise.")] = False,
) -> None:
    """Draw a phantom on one page and print its findings and its report."""
    from training.phantom.generate import make_phantom
    from training.phantom.picture import write_picture
    from training.phantom.report import write_report

    mm = extent / grid
    try:
        phantom = make_phantom(
            seed,
            shape=(grid, grid, grid),
            spacing_mm=(mm, mm, mm),
            wanted=finding or None,
            regime=regime,  # type: ignore[arg-type]
            quiet=quiet,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    write_picture(phantom.hu, out)
    for item in phantom.findings:
        typer.echo(
            f"{item.name}: {item.severity}, {item.place}, {item.size_mm:.0f} mm, {item.volume_ml:.1f} ml, {item.kind}"
        )
    typer.echo(write_report(phantom.findings, phantom.undecided, seed).text)


@app.command()
def manifest(
    pool: Annotated[Path, typer.Argument(help="Folder of phantoms.")],
    out: Annotated[Path, typer.Argument(help="JSON Lines file to write.")],
    split: str = "train",
    wording: Annotated[str, typer.Option(help="Words of the reports: train or held_out.")] = "train",
    variant: Annotated[int, typer.Option(min=0, help="Which of the stored reports.")] = 0,
    nifti: Annotated[bool, typer.Option(help="Also write images and masks that every reader takes.")] = True,
) -> None:
    """Write one manifest line per phantom, and beside the pool's files the images and masks it names."""
    from napari_colipri.atomic import write_text
    from training.phantom.pool import manifest_record, read_phantom, write_nifti

    lines = []
    for path in sorted(pool.glob("[0-9]*.npz")):
        stored = read_phantom(path)
        stem = path.with_suffix("").resolve()
        image, masks = (str(part) for part in write_nifti(stored, stem)) if nifti else (str(path.resolve()), None)
        lines.append(json.dumps(manifest_record(stored, image, masks, split=split, wording=wording, variant=variant)))
    if not lines:
        raise typer.BadParameter(f"{pool} holds no phantom.")
    write_text(out, "\n".join(lines) + "\n")
    typer.echo(f"{len(lines)} lines in {out}")


@app.command()
def plant(
    study: Annotated[Path, typer.Argument(help="Scan: any study that the product reads.")],
    lungs: Annotated[Path, typer.Argument(help="NIfTI mask of both lungs: 1 left and 2 right, or one label.")],
    out: Annotated[Path, typer.Argument(help="Folder that takes unplanted, planted, sham and truth.")],
    finding: Annotated[list[str], typer.Option(help="What to plant; may be repeated.")],
    seed: int = 0,
) -> None:
    """Plant findings into a real scan, and write the sham edit of equal extent beside it.

    Volumes of the evaluation split may only be used for evaluation.
    """
    from dataclasses import asdict

    import nibabel
    import numpy as np

    from napari_colipri.atomic import replace_file, write_json
    from napari_colipri.ct.open import open_volume
    from training.phantom.plant import plant_into, sham_edit
    from training.phantom.real_scan import lung_sides

    volume = open_volume(study)
    stored = np.asarray(nibabel.load(lungs).dataobj)  # type: ignore[attr-defined]
    try:
        mask = stored.astype(np.uint8) if stored.max() > 1 else lung_sides(stored > 0, volume.affine)
        made = plant_into(volume.hu, volume.affine, mask, finding, seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    out.mkdir(parents=True, exist_ok=True)
    files = {
        "unplanted": volume.hu,
        "planted": made.hu,
        "sham": sham_edit(volume.hu, made, mask, seed),
        "truth": made.truth.astype(np.int32),
    }
    for name, values in files.items():
        with replace_file(out / f"{name}.nii.gz") as beside:
            nibabel.save(nibabel.Nifti1Image(values, volume.affine), beside)
    write_json(out / "findings.json", [asdict(item) for item in made.findings])
    typer.echo(f"{len(made.findings)} of {len(finding)} findings planted in {out}")


@app.command()
def samples(
    out: Annotated[Path, typer.Argument(help="The sample_data folder.")],
    bundle: Annotated[str | None, typer.Option(help="Bundle that encodes the library; default: embedded.")] = None,
    studies: Annotated[bool, typer.Option(help="Write the studies anew too.")] = True,
) -> None:
    """Write the shipped studies and the case library."""
    import shutil

    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.phantom.samples import write_library, write_studies

    if studies:
        write_studies(out)
    session = Session(open_bundle(bundle))
    session.load()
    shutil.rmtree(out / "library", ignore_errors=True)
    write_library(out, session)
