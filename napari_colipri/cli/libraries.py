"""Commands about case libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_colipri.cli.console import cancellable, existing, guarded, print_json, show_progress, stop
from napari_colipri.cli.studies import Bundle, Device, Json, Study

__all__ = ["app"]

app = typer.Typer(help="Libraries of similar cases.", no_args_is_help=True, rich_markup_mode=None)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the library.")]


@app.command()
@guarded
def create(
    folder: Folder,
    name: Annotated[str | None, typer.Option("--name", help="Its name; the folder's name without it.")] = None,
    bundle: Bundle = None,
) -> None:
    """Create an empty library for the vectors of one bundle."""
    from napari_colipri import library
    from napari_colipri.engine.bundle import open_bundle

    opened = open_bundle(bundle)
    library.create(folder, name or folder.resolve().name, opened.hash, opened.config.vision.projection_dim)
    print(f"Created a library for the bundle {opened.name} in {folder}.")


@app.command()
@guarded
def add(
    folder: Folder,
    study: Study,
    case: Annotated[str, typer.Option("--case", help="Name of the case; it appears in reports, so no patient names.")],
    report: Annotated[Path | None, typer.Option("--report", help="Text file with its report.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="A finding that is present; repeatable. Without it, the report is read by rule."),
    ] = None,
    origin: Annotated[str, typer.Option("--origin", help="Where it comes from, and under which licence.")] = "local",
    bundle: Bundle = None,
    device: Device = "auto",
) -> None:
    """Encode a study and add it to a library."""
    from napari_colipri import library
    from napari_colipri.ct.open import open_volume
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from napari_colipri.export.picture import thumbnail_png
    from napari_colipri.text.extract import plain_findings

    existing(study)
    text = existing(report).read_text(encoding="utf-8") if report is not None else ""
    labels = label or [name for name, present in plain_findings(text).items() if present]
    opened = open_bundle(bundle)
    if not library.open_library(folder).fits(opened.hash):
        raise stop(4, "bundle_mismatch: This library was made with another bundle: name it with --bundle.")
    with cancellable() as cancel, show_progress() as progress:
        volume = open_volume(study, progress=lambda part, said: progress(0.3 * part, said), cancel=cancel)
        encoding = Session(opened, device=device).encode(
            volume, lambda part, said: progress(0.3 + 0.7 * part, said), cancel
        )
    library.add_case(
        folder,
        case_id=case,
        vector=encoding.pooled,
        text=text,
        labels=labels,
        thumbnail_png=thumbnail_png(volume),
        origin=origin,
        patient_key=volume.source.patient_key,
        fingerprint=volume.fingerprint,
        bundle_hash=encoding.bundle_hash,
    )
    read = f" Read from its report: {', '.join(labels)}." if labels and not label else ""
    print(f"Added {case}.{read}")


@app.command()
@guarded
def search(
    folder: Folder,
    study: Study,
    k: Annotated[int, typer.Option("-k", help="How many.", min=1, max=1000)] = 5,
    bundle: Bundle = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find the cases that are most similar to a study."""
    from napari_colipri import library
    from napari_colipri.ct.open import open_volume
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session

    opened = library.open_library(folder)
    session = Session(open_bundle(bundle), device=device)
    with cancellable() as cancel, show_progress() as progress:
        volume = open_volume(existing(study), progress=lambda part, said: progress(0.3 * part, said), cancel=cancel)
        encoding = session.encode(volume, lambda part, said: progress(0.3 + 0.7 * part, said), cancel)
    found = opened.search(encoding, k, patient_key=volume.source.patient_key)
    if json:
        print_json(found.to_json())
        return
    for hit in found:
        labels = f" [{', '.join(hit.labels)}]" if hit.labels else ""
        print(f"{hit.similarity:+.3f}  {hit.case_id}  ({hit.origin}){labels}  {hit.excerpt}")
    for note in found.notes:
        print(f"Note: {note}")


@app.command()
@guarded
def remove(folder: Folder, case: Annotated[str, typer.Argument(metavar="CASE", help="Name of the case.")]) -> None:
    """Remove a case and overwrite its data."""
    from napari_colipri import library

    library.remove_case(folder, case)
    print(f"Removed {case}.")


@app.command()
@guarded
def stats(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="The shipped library without it.")] = None,
    json: Json = False,
) -> None:
    """Count what a library holds."""
    from napari_colipri import library

    found = library.stats(folder or library.shipped_library_dir())
    if json:
        print_json(found.to_json())
        return
    print(f"{found.name}: {found.cases} cases, vectors of length {found.dim}, {found.size_bytes / 1e6:.1f} MB")
    print(f"  bundle {found.bundle_hash[:12]}; {found.with_patient_key} with a patient key")
    for title, counts in (("origins", found.origins), ("labels", found.labels)):
        print(f"  {title}: {', '.join(f'{name} {n}' for name, n in counts.items()) or 'none'}")


@app.command()
@guarded
def check(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="The shipped library without it.")] = None,
    json: Json = False,
) -> None:
    """Look for damage in a library."""
    from napari_colipri import library

    problems = library.check(folder or library.shipped_library_dir())
    if json:
        print_json({"sound": not problems, "problems": list(problems)})
    elif not problems:
        print("The library is sound.")
    for problem in problems if not json else ():
        print(problem)
    if problems:
        raise stop(4, f"damaged: {len(problems)} problems in this library.")
