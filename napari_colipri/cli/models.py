"""Commands about bundles: models on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_colipri.cli.console import USAGE, cancellable, existing, guarded, print_json, say, show_progress, stop
from napari_colipri.cli.studies import Device, Json

if TYPE_CHECKING:
    from napari_colipri.engine.bundle import Bundle
    from napari_colipri.engine.download import DownloadPlan

__all__ = ["app"]

app = typer.Typer(help="Models on disk (bundles).", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
@guarded
def list_models(json: Json = False) -> None:
    """List the embedded bundle and those that were added."""
    from napari_colipri.engine.bundle_store import list_bundles

    listed = list_bundles()
    if json:
        print_json([info.to_json() for info in listed])
        return
    for info in listed:
        kind = "embedded" if info.embedded else "added"
        marks = [kind, f"{info.size_bytes / 1e6:.1f} MB", *(["demonstration"] if info.demonstration else [])]
        marks += [f"{name} {state}" for name, state in info.settings.items() if state == "assumed"]
        print(f"{info.name}: {info.title} ({', '.join(marks)})")
        if info.problem:
            print(f"  {info.problem}")


@app.command("add")
@guarded
def add_model(
    source: Annotated[
        str, typer.Argument(metavar="DIR|REPO", help="A folder, or a Hugging Face repository owner/name.")
    ],
    name: Annotated[str | None, typer.Option("--name", help="Under which to add it.")] = None,
    axis_order: Annotated[str | None, typer.Option("--axis-order", help="Of an official folder: RAS or SAR.")] = None,
    pooling: Annotated[str | None, typer.Option("--pooling", help="Of an official folder: masked or unmasked.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Of an official folder: colipri-0.1.3 or stitched-1mm.")
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Of a repository.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Download without asking.")] = False,
) -> None:
    """Copy a bundle into the user's folder, or download one; the original is never written to.

    An official folder holds model.safetensors of the public colipri layout and the vocab.txt of CXR-BERT. What its
    weights do not reveal is recorded as verified if it is given here, and as assumed if not.
    """
    if Path(source).expanduser().is_dir():
        from napari_colipri.engine.bundle_store import add_bundle

        with cancellable() as cancel, show_progress() as progress:
            added = add_bundle(source, name, axis_order, pooling, preset, progress=progress, cancel=cancel)
    else:
        added = _download(source, name, revision, (axis_order, pooling, preset), yes)
    print(f"Added {added.name}: {added.title} (hash {added.hash[:12]}).")
    for note in added.notes:
        print(f"Note: {note}.")


def _download(
    repo: str, name: str | None, revision: str | None, settings: tuple[str | None, str | None, str | None], yes: bool
) -> Bundle:
    from napari_colipri.engine.download import download_bundle

    def confirm(plan: DownloadPlan) -> bool:
        say(plan.describe())
        return yes or typer.confirm("Download this?", err=True)

    axis_order, pooling, preset = settings
    with cancellable() as cancel, show_progress() as progress:
        return download_bundle(
            repo,
            confirm=confirm,
            name=name,
            revision=revision,
            axis_order=axis_order,
            pooling=pooling,
            preset=preset,
            progress=progress,
            cancel=cancel,
        )


@app.command("remove")
@guarded
def remove_model(name: Annotated[str, typer.Argument(metavar="NAME", help="An added bundle.")]) -> None:
    """Remove an added bundle."""
    from napari_colipri.engine.bundle_store import remove_bundle

    remove_bundle(name)
    print(f"Removed {name}.")


@app.command("check")
@guarded
def check_model(
    name: Annotated[str, typer.Argument(metavar="NAME|DIR", help="A bundle.")],
    studies: Annotated[Path, typer.Option("--studies", help="Folder of studies to score it on.")],
    labels: Annotated[Path | None, typer.Option("--labels", help="CSV: a column study, then one per finding.")] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Say whether the axis order that a bundle states is right, wrong or cannot be told, by scoring each.

    A right axis order of an added bundle is recorded as verified. Exit status 4 if it is wrong.
    """
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.check import check_axis_order

    if not studies.is_dir():
        raise stop(USAGE, f"--studies {studies} is not a folder.")
    bundle = open_bundle(name)
    with cancellable() as cancel, show_progress() as progress:
        found = check_axis_order(
            bundle,
            studies,
            existing(labels) if labels is not None else None,
            device=device,
            progress=progress,
            cancel=cancel,
        )
    if json:
        print_json(found.to_json())
    else:
        print(found.sentence())
        for sentence in found.skipped:
            print(f"  Skipped: {sentence}")
    if found.answer == "right":
        _record(bundle)
    elif found.answer == "wrong":
        raise stop(4, f"wrong_axis_order: {bundle.name} is not to be used with axis order {found.axis_order}.")


def _record(bundle: Bundle) -> None:
    """Note that the axis order is verified, where the bundle is one of the user's and does not say so yet."""
    from napari_colipri.engine.bundle import bundles_dir
    from napari_colipri.engine.bundle_store import record_verified

    if bundle.path.parent == bundles_dir() and bundle.config.settings.axis_order == "assumed":
        record_verified(bundle.path.name, "axis_order")
        say(f"Recorded in {bundle.name}: its axis order is verified.")
