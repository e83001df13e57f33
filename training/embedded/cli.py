"""``python -m training embedded``: phantoms, training, bundle and shipped samples of the embedded model."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command()
def phantom(
    pool: Annotated[Path, typer.Argument(help="Folder that takes the phantoms.")],
    count: int = 1000,
    start: int = 0,
    step: int = 1,
) -> None:
    """Fill a pool with phantoms of consecutive seeds; finished ones are kept."""
    from training.embedded.pool import fill_pool

    for seed in track(range(start, start + count, step), description="Phantoms"):
        fill_pool(pool, [seed])


@app.command()
def train(
    pool: Annotated[Path, typer.Argument(help="Folder of phantoms.")],
    out: Annotated[Path, typer.Argument(help="Folder of the run; an interrupted one continues.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the real volumes marked as trainable.")] = None,
    minutes: float = 90.0,
    threads: int = 2,
) -> None:
    """Train the embedded bundle for so many minutes."""
    import torch

    from training.embedded.config import Recipe, Sizes
    from training.embedded.real import load_real
    from training.embedded.ship import input_spec
    from training.embedded.train import run

    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(threads)
    sizes = Sizes()
    real = load_real(data, input_spec(sizes)) if data else []
    run(out, pool, sizes, Recipe(minutes=minutes), real)


@app.command()
def align(
    run: Annotated[Path, typer.Argument(help="Folder of the finished run, or a bundle to go on from.")],
    pool: Annotated[Path, typer.Argument(help="Folder of phantoms.")],
    out: Annotated[Path, typer.Argument(help="Folder that takes the aligned checkpoint, or the new bundle.")],
    minutes: float = 6.0,
    limit: int = 5000,
    threads: int = 2,
) -> None:
    """Align image and text in large batches of cached tokens; the vision tower stays as it is."""
    import torch

    from training.embedded import align as second_stage

    torch.set_num_threads(threads)
    if (run / "config.json").exists():
        second_stage.align_bundle(run, pool, out, minutes=minutes, limit=limit)
    else:
        second_stage.align(run, pool, out, minutes=minutes, limit=limit)


@app.command()
def decode(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder to start from.")],
    pool: Annotated[Path, typer.Argument(help="Folder of phantoms.")],
    out: Annotated[Path, typer.Argument(help="Bundle folder to write.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the real volumes marked as trainable.")] = None,
    minutes: float = 40.0,
    rate: float = 2.0e-3,
    threads: int = 2,
) -> None:
    """Train the decoder of a bundle further; its towers stay as they are."""
    import torch

    from training.embedded.config import Sizes
    from training.embedded.decode import DecoderRecipe, train_decoder
    from training.embedded.real import load_real
    from training.embedded.ship import input_spec

    torch.set_num_threads(threads)
    real = load_real(data, input_spec(Sizes())) if data else []
    train_decoder(bundle, pool, out, DecoderRecipe(minutes=minutes, learning_rate=rate), real)


@app.command()
def card(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    figures: Annotated[Path, typer.Argument(help="Markdown table of `evaluate --table`.")],
) -> None:
    """Write the model card again, with these figures."""
    import json

    from training.embedded.ship import seal

    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    seal(bundle, config, figures.read_text(encoding="utf-8"))


@app.command()
def ship(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    pool: Annotated[Path, typer.Argument(help="Phantoms it was trained on.")],
    target: Annotated[Path, typer.Argument(help="Bundle folder to write.")],
    figures: Annotated[Path | None, typer.Option(help="Markdown table for the model card.")] = None,
) -> None:
    """Write a bundle from a run's averaged weights."""
    from training.embedded.ship import ship as write

    text = figures.read_text(encoding="utf-8") if figures else ""
    typer.echo(f"wrote {write(run, pool, target, text)}")


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    count: int = 400,
    skip: int = 0,
    table: Annotated[Path | None, typer.Option(help="Write the Markdown table here.")] = None,
) -> None:
    """Score a bundle on phantoms whose seeds were never trained on."""
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.embedded import evaluate as figures

    session = Session(open_bundle(bundle))
    session.load()
    result = figures.evaluate(session, count, skip=skip)
    text = figures.table(result)
    if table is not None:
        table.write_text(text, encoding="utf-8")
    typer.echo(text)


@app.command()
def samples(
    out: Annotated[Path, typer.Argument(help="The sample_data folder.")],
    bundle: Annotated[Path | None, typer.Option(help="Bundle that encodes the library; default: embedded.")] = None,
    studies: bool = True,
) -> None:
    """Write the shipped studies and the case library."""
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.embedded.samples import write_library, write_studies

    if studies:
        write_studies(out)
    session = Session(open_bundle(bundle))
    session.load()
    shutil.rmtree(out / "library", ignore_errors=True)
    write_library(out, session)
