"""Commands about one study: demo, open, analyse, passport, forget; and the place of review."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_colipri import RESEARCH_USE_ONLY
from napari_colipri.cli.console import (
    USAGE,
    cancellable,
    existing,
    guarded,
    print_json,
    say,
    show_progress,
    stop,
)

if TYPE_CHECKING:
    from napari_colipri.ct.passport import Passport
    from napari_colipri.export.result import AnalysisResult

__all__ = ["register", "run_analysis"]

Study = Annotated[Path, typer.Argument(metavar="STUDY", help="A study on disk.")]
Bundle = Annotated[str | None, typer.Option("--bundle", help="Name or folder of a model; the embedded one without it.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
WindowBundle = Annotated[str | None, typer.Option("--bundle", help="Name or folder of a model; else as chosen there.")]
WindowDevice = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps; else as chosen there.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    for command in (demo, open_study, analyse, passport, review, forget):
        name = {"open_study": "open"}.get(command.__name__, command.__name__)
        app.command(name)(command)


def run_analysis(
    study: Path, *, bundle: str | None, library: Path | None, device: str, prompts: list[str]
) -> AnalysisResult:
    """Open, encode and answer; what ``analyse`` and ``demo`` share.

    The bundle is opened before the study: a wrong name should not cost the reading of a study.
    """
    from napari_colipri.engine.bundle import open_bundle

    opened = open_bundle(bundle)
    with cancellable() as cancel, show_progress() as progress:
        from napari_colipri.analysis import analyse as analyse_volume
        from napari_colipri.analysis import fitting_library
        from napari_colipri.ct.open import open_volume
        from napari_colipri.engine.session import Session
        from napari_colipri.library import open_library

        chosen, why = (open_library(library), "") if library is not None else fitting_library(opened.hash)
        volume = open_volume(study, progress=lambda part, text: progress(0.2 * part, text), cancel=cancel)
        return analyse_volume(
            volume,
            Session(opened, device=device),
            chosen,
            prompts=prompts,
            no_library=why,
            progress=lambda part, text: progress(0.2 + 0.75 * part, text),
            cancel=cancel,
        )


def _write(folder: Path, result: AnalysisResult) -> None:
    from napari_colipri.export.analysis import write_analysis

    with cancellable() as cancel, show_progress() as progress:
        write_analysis(folder, result, progress=progress, cancel=cancel)


@guarded
def analyse(
    study: Study,
    out: Annotated[Path, typer.Option("--out", help="Folder for the answers; created if needed.")],
    bundle: Bundle = None,
    library: Annotated[Path | None, typer.Option("--library", help="Folder of a case library.")] = None,
    device: Device = "auto",
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="A question of your own; repeatable.")] = None,
    json: Json = False,
) -> None:
    """Write findings, masks, similar cases and a report draft of a study into a folder, whole or not at all."""
    existing(study)
    if out.exists() and not out.is_dir():
        raise stop(USAGE, f"--out {out} is a file, not a folder.")
    result = run_analysis(study, bundle=bundle, library=library, device=device, prompts=prompt or [])
    _write(out, result)
    if json:
        print_json(_objects(result))
    else:
        _print_summary(result, out)


def _objects(result: AnalysisResult) -> dict[str, Any]:
    return {
        "passport": result.passport.to_json(),
        "findings": result.findings_json(),
        "segmentation": result.segmentation_json(),
        "similar": result.similar_json(),
        "report": result.draft.to_json(),
        "run": result.record.to_json(),
    }


def _print_summary(result: AnalysisResult, out: Path) -> None:
    calibrated = all(item.calibration is not None for item in result.findings.items if item.probability is not None)
    print(f"Model {result.findings.bundle}, {result.record.device}. {RESEARCH_USE_ONLY}")
    for note in result.findings.notes:
        print(f"Note: {note}.")
    for odd in result.passport.reasons:
        print(f"Passport: {odd.code}: {odd.message}")
    print(f"\nFindings (probabilities{'' if calibrated else ', uncalibrated'})")
    for finding in result.findings.items:
        value = "   -" if finding.probability is None else f"{finding.probability:.2f}"
        print(f"  {value}  {finding.name}{f' ({finding.note})' if finding.note else ''}")
    print("\nMasks")
    for item in result.segmentation.classes if result.segmentation is not None else ():
        cut = ", touches the border of the volume" if item.touches_border else ""
        print(f"  {item.volume_ml:9.1f} ml  {item.display_name}{cut}")
    if result.segmentation is None:
        print(f"  {result.no_segmentation}")
    print("\nSimilar cases")
    for hit in result.similar or ():
        print(f"  {hit.similarity:+.2f}  {hit.case_id}  {hit.excerpt}")
    if result.similar is None:
        print(f"  {result.no_similar}")
    print(f"\nWritten to {out}")


@guarded
def passport(study: Study, json: Json = False) -> None:
    """Say whether a study may be shown and analysed, and what is odd about it."""
    from napari_colipri.ct.open import read_passport

    found = read_passport(existing(study))
    if json:
        print_json(found.to_json())
    else:
        _print_passport(found)
    refusal = found.blocking("analyse")
    if refusal is not None:
        raise stop(3, f"{refusal.code}: {refusal.message}")


def _print_passport(found: Passport) -> None:
    print(f"Display: {found.display}. Analysis: {found.analyse}.")
    for item in found.reasons:
        print(f"  {item.code} ({item.affects}): {item.message}")
    for name, value in {**found.geometry, **found.study}.items():
        print(f"  {name}: {value}")


def has_display() -> bool:
    """Whether a window can be shown here."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_window(study: Path, *, analyse: bool, bundle: str | None, device: str | None) -> None:
    from importlib.util import find_spec

    if not any(find_spec(name) for name in ("PySide6", "PyQt6", "PyQt5")):
        raise stop(USAGE, "There is no Qt here: install one with  pip install 'napari-colipri[qt]'")
    from napari_colipri.desktop.launch import run
    from napari_colipri.desktop.preferences import DEVICES, load_preferences

    if device is not None and device not in DEVICES:
        raise stop(USAGE, f"There is no device called {device!r}: use auto, cpu, cuda or mps.")
    chosen = load_preferences()
    if bundle is not None:
        from napari_colipri.engine.bundle import EMBEDDED, find_folder

        find_folder(bundle)  # a wrong name is told here, before a window opens
        chosen = replace(chosen, model=None if bundle == EMBEDDED else bundle)
    run(str(study), analyse, chosen if device is None else replace(chosen, device=device))


@guarded
def open_study(study: Study, bundle: WindowBundle = None, device: WindowDevice = None) -> None:
    """Open the viewer on a study."""
    existing(study)
    if not has_display():
        raise stop(USAGE, "There is no display here: use 'napari-colipri analyse' instead.")
    _open_window(study, analyse=False, bundle=bundle, device=device)


def sample_study() -> Path:
    """Return the shipped study with findings."""
    from importlib.resources import files

    folder = Path(str(files("napari_colipri") / "sample_data" / "studies" / "findings"))
    found = folder / "ct.nii.gz"
    if not found.is_file():
        raise stop(4, "This installation lacks its sample studies: install napari-colipri again.")
    return found


@guarded
def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Write files instead of opening a window.")] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("demo-output"),
    bundle: WindowBundle = None,
    device: WindowDevice = None,
) -> None:
    """Open the viewer on a shipped study, analysed; without a display write report, masks and a picture."""
    study = sample_study()
    if has_display() and not headless:
        _open_window(study, analyse=True, bundle=bundle, device=device)
        return
    if not headless:
        say(f"There is no display here: writing the answers to {out} instead.")
    result = run_analysis(study, bundle=bundle, library=None, device=device or "auto", prompts=[])
    _write(out, result)
    from napari_colipri.atomic import write_bytes
    from napari_colipri.export.picture import analysis_png

    write_bytes(out / "picture.png", analysis_png(result))
    _print_summary(result, out)
    print(f"Read {out / 'report.md'}; see {out / 'picture.png'}.")


def review() -> None:
    """Annotation worklists: come with a later version."""
    raise stop(USAGE, "Annotation worklists come with a later version of napari-colipri.")


@guarded
def forget(study: Annotated[str, typer.Argument(metavar="STUDY", help="A study, or its fingerprint.")]) -> None:
    """Remove every derived file of a study: drafts and caches; the study itself is not touched."""
    from napari_colipri.paths import cache_dir

    if _FINGERPRINT.fullmatch(study):
        fingerprint = study
    else:
        from napari_colipri.ct.open import open_volume

        with cancellable() as cancel, show_progress() as progress:
            fingerprint = open_volume(existing(Path(study)), progress=progress, cancel=cancel).fingerprint
    found = [path for path in sorted(cache_dir().rglob("*")) if fingerprint in path.name and not path.is_dir()]
    for path in found:
        path.unlink(missing_ok=True)
    print(f"{len(found)} derived {'file' if len(found) == 1 else 'files'} removed for fingerprint {fingerprint}.")
