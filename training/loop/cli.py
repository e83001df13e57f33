"""``python -m training train``, ``resume`` and ``bundle``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from napari_colipri.atomic import write_json
from napari_colipri.cli.console import guarded

if TYPE_CHECKING:
    from training.loop.config import TrainingConfig
    from training.loop.dry_run import DryRun

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

_CONFIG = "config.json"

Data = Annotated[
    list[str] | None, typer.Option("--data", help="Prepared folder (may repeat), folder of phantoms, or noise.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="key=value, such as run.steps=100; may repeat.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Keep off the GPU.")]


@app.command()
@guarded
def train(
    config: Annotated[str, typer.Argument(help="Preset (c, cr, cm, crm, …-toy, embedded) or YAML file.")],
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; must not hold one.")] = None,
    overrides: Overrides = None,
    vocabulary: Annotated[
        str | None, typer.Option(help="Folder with vocab.txt; default: the embedded bundle's.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="Bundle, by name or folder, or run to begin with.")] = None,
    cpu: Cpu = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print weights, memory and time; train nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: JSON.")] = False,
) -> None:
    """Train a model from the beginning."""
    from training.loop import checkpoint
    from training.loop.config import load_config
    from training.loop.errors import ConfigError

    given = {"vocabulary": vocabulary, "start": start}
    added = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    chosen = load_config(config, [*(overrides or []), *added])
    if dry_run:
        _show(chosen, cpu=cpu, as_json=as_json)
        return
    if out is None or not data:
        raise ConfigError("Training needs --data and --out (or --dry-run).")
    if checkpoint.latest(out) is not None:
        raise ConfigError(f"{out} holds a run already: python -m training resume {out}, or take another folder.")
    _run(chosen, data, out, cpu=cpu)


@app.command()
@guarded
def resume(
    out: Annotated[Path, typer.Argument(help="Folder of the run.")],
    data: Data = None,
    overrides: Overrides = None,
    cpu: Cpu = False,
) -> None:
    """Go on with a run where its newest checkpoint stands; its own settings hold unless --set changes them."""
    from training.loop.config import override, parse_config
    from training.loop.errors import CheckpointError

    try:
        kept = json.loads((out / _CONFIG).read_text(encoding="utf-8"))
        values, before = kept["config"], kept["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{out} holds no run: its {_CONFIG} cannot be read.") from error
    for assignment in overrides or []:
        values = override(values, assignment)
    _run(parse_config(values, _CONFIG), data or before, out, cpu=cpu)


@app.command()
@guarded
def bundle(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path, typer.Argument(help="Bundle folder to write or to replace.")],
    licence: Annotated[str, typer.Option(help="Under which the weights may be used, with attributions.")],
    name: Annotated[str, typer.Option(help="Of the bundle.")] = "own",
    title: Annotated[str, typer.Option(help="As it is shown.")] = "Model of our own",
    averaged: Annotated[bool, typer.Option(help="Take the averaged weights.")] = True,
) -> None:
    """Write a run's towers (and its report decoder) as a bundle: the viewer opens it, adapters are trained on it."""
    from training.loop.export import export_bundle

    made = export_bundle(run, out, name=name, title=title, licence=licence, averaged=averaged)
    typer.echo(f"wrote {made.path} (hash {made.hash[:12]})")


def _run(config: TrainingConfig, data: Sequence[str], out: Path, *, cpu: bool) -> None:
    import torch

    from training.loop.data import open_source
    from training.loop.engine import Trainer
    from training.loop.start import launch
    from training.objectives.ranks import rank, world

    logging.basicConfig(level=logging.WARNING)
    accelerator = launch(config, cpu=cpu)
    place: dict[str, Any] = {"rank": rank(), "world": world(), "device": accelerator.device}
    source = open_source(data, config, **place)
    valid = open_source(data, config, **place, valid=True) if config.run.validate_every else None
    with _bar(active=accelerator.is_main_process) as bar:
        shown = bar.add_task(config.name, total=config.run.steps, figures="")

        def watch(step: int, figures: Mapping[str, float]) -> None:
            if "loss" in figures:
                bar.update(shown, completed=step, figures=_figures(figures))

        trainer = Trainer(config, source, out, accelerator=accelerator, valid=valid, watch=watch)
        if accelerator.is_main_process:
            write_json(out / _CONFIG, {"config": config.as_dict(), "data": [_absolute(each) for each in data]})
        bar.update(shown, completed=trainer.step_count)
        outcome = trainer.run()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if accelerator.is_main_process:
        typer.echo(f"{outcome.reason} after step {outcome.step}; checkpoints in {out / 'checkpoints'}", err=True)
    if outcome.exit_status:
        raise typer.Exit(outcome.exit_status)


def _absolute(data: str) -> str:
    from training.loop.data import NOISE

    return data if data == NOISE else str(Path(data).resolve())


def _bar(*, active: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not active)


def _figures(figures: Mapping[str, float]) -> str:
    speed = f"{figures['volumes_per_s']:.2f} volumes/s, {figures['tflop_per_s']:.2f} TFLOP/s"
    return f"loss {figures['loss']:.4g}, {speed}, {figures['memory_gb']:.1f} GB"


def _show(config: TrainingConfig, *, cpu: bool, as_json: bool) -> None:
    from training.loop.dry_run import dry_run

    found = dry_run(config, cpu=cpu)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
        return
    Console().print(_table(config, found))


def _table(config: TrainingConfig, found: DryRun) -> Table:
    table = Table(title=f"{config.name} on {found.device}", show_header=False)
    for name, count in found.weights.items():
        table.add_row(f"weights, {name}", f"{count / 1e6:.2f} M")
    table.add_row("weights in all", f"{sum(found.weights.values()) / 1e6:.2f} M")
    held = found.memory
    fixed = held.weights + held.gradients + held.optimiser + held.average
    table.add_row("weights, gradients, optimiser, average", _gb(fixed))
    table.add_row("activations, kept", _gb(held.kept))
    table.add_row("activations, checkpointing", _gb(held.recomputed))
    chosen = "with" if found.checkpointing else "without"
    fits = "fits" if found.fits else "does not fit"
    total = held.total(checkpointing=found.checkpointing)
    table.add_row(f"in all, {chosen} checkpointing", f"{_gb(total)} of {_gb(found.device_bytes)} free: {fits}")
    table.add_row("forward pass of the vision tower", f"{found.forward / 1e12:.3g} TFLOP a volume")
    table.add_row("step", f"{found.step / 1e12:.3g} TFLOP a volume")
    table.add_row("measured speed of a block", f"{found.speed / 1e12:.3g} TFLOP/s")
    table.add_row("step of one process", f"{found.volumes_per_step} volumes, about {found.seconds_per_step:.3g} s")
    if found.hours is not None:
        table.add_row(f"{config.run.steps} steps", f"about {found.hours:.3g} h")
    return table


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
