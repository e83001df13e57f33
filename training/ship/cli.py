"""``python -m training ship``: towers and adapters become a bundle with its card; a worse one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ship"]


def ship(
    plan: Annotated[Path, typer.Argument(help="JSON: base, adapters, calibration, card, benchmark.")],
    out: Annotated[Path, typer.Argument(help="Bundle folder to write or to replace.")],
    against: Annotated[str | None, typer.Option(help="Bundle not to fall behind; default: the one at OUT.")] = None,
    even_if_worse: Annotated[bool, typer.Option("--even-if-worse", help="Write it although figures fall.")] = False,
    figures: Annotated[Path | None, typer.Option(help="Folder that takes tables and plots.")] = None,
) -> None:
    """Join, score on held-out studies, compare with the bundle it replaces, write with card and checksums."""
    from napari_colipri.engine.bundle import find_folder, open_bundle
    from training.adapters.artifact import read_adapter
    from training.ship.compose import compose
    from training.ship.plan import read_plan
    from training.ship.shipping import ship_bundle
    from training.ship.writing import EMBEDDED_LIMITS

    wanted, folder = read_plan(plan), plan.resolve().parent
    base = folder / wanted.base
    older = against or (str(out) if (out / "config.json").is_file() else None)
    parts = compose(
        open_bundle(base if base.is_dir() else find_folder(wanted.base)),
        [read_adapter(folder / each) for each in wanted.adapters],
        calibration=None if wanted.calibration is None else folder / wanted.calibration,
        changes=wanted.changes,
    )
    result = ship_bundle(
        parts,
        out,
        wanted.card,
        wanted.benchmark.benchmark(folder),
        against=open_bundle(older) if older is not None else None,
        even_if_worse=even_if_worse,
        limits=EMBEDDED_LIMITS if wanted.small else None,
        figures=figures,
    )
    if result.verdict is not None:
        typer.echo(result.verdict.markdown())
    typer.echo(f"wrote {result.bundle.path} (hash {result.bundle.hash[:12]})")
