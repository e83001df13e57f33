"""What works on this machine and what does not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import typer

from napari_colipri.cli.console import guarded, print_json, stop
from napari_colipri.cli.studies import Json, has_display
from napari_colipri.errors import ColipriError

__all__ = ["register"]

_QT = ("PySide6", "PyQt6", "PyQt5")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes
    ----------
    what
        What was looked at.
    works
        True, False, or None where it is only worth knowing.
    text
        What was found, and what to do where it does not work.
    """

    what: str
    works: bool | None
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return dict(vars(self))


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command("doctor")(doctor)


@guarded
def doctor(json: Json = False) -> None:
    """Show device, versions, weights and caches: what works here and what does not."""
    found = [*_versions(), *_device(), *_bundles(), *_library(), *_window(), *_folders()]
    if json:
        print_json({"findings": [item.to_json() for item in found], "works": all(i.works is not False for i in found)})
    else:
        for item in found:
            mark = {True: "ok  ", False: "FAIL", None: "    "}[item.works]
            print(f"{mark}  {item.what}: {item.text}")
    broken = [item.what for item in found if item.works is False]
    if broken:
        raise stop(4, f"does not work here: {', '.join(broken)}.")


def _versions() -> Iterator[Finding]:
    from napari_colipri.export.result import versions

    for name, version in versions().items():
        yield Finding(name, None, version)
    with contextlib.suppress(metadata.PackageNotFoundError):
        yield Finding("napari", None, metadata.version("napari"))


def _device() -> Iterator[Finding]:
    try:
        from napari_colipri.engine.device import choose

        yield Finding("device", True, choose().description)
    except ColipriError as error:
        yield Finding("device", False, error.message)
    except ImportError as error:
        yield Finding("device", False, f"PyTorch cannot be loaded ({error.name or 'unknown module'}).")


def _bundles() -> Iterator[Finding]:
    from napari_colipri.engine.bundle import EMBEDDED, open_bundle
    from napari_colipri.engine.bundle_store import list_bundles

    listed = list_bundles()
    if not any(info.embedded for info in listed):
        yield Finding(f"bundle {EMBEDDED}", False, "missing: install napari-colipri again")
    for info in listed:
        try:
            bundle = open_bundle(info.path)
        except ColipriError as error:
            yield Finding(f"bundle {info.name}", False, error.message)
            continue
        notes = f"; {'; '.join(bundle.notes)}" if bundle.notes else ""
        yield Finding(f"bundle {info.name}", True, f"{bundle.title}, every file verified{notes}")


def _library() -> Iterator[Finding]:
    from napari_colipri import library

    try:
        folder = library.shipped_library_dir()
        problems = library.check(folder)
        cases = library.stats(folder).cases
    except ColipriError as error:
        yield Finding("shipped library", False, error.message)
        return
    yield Finding("shipped library", not problems, " ".join(problems) or f"{cases} cases, sound")


def _window() -> Iterator[Finding]:
    binding = next((name for name in _QT if find_spec(name)), None)
    missing = "no Qt here: pip install 'napari-colipri[qt]' brings one; the command line works without"
    yield Finding("Qt", None, binding or missing)
    yield Finding("display", None, "there is one" if has_display() else "none: 'analyse' and 'demo --headless' work")


def _folders() -> Iterator[Finding]:
    from napari_colipri.paths import cache_dir, config_dir, data_dir

    for name, folder in (("data", data_dir), ("cache", cache_dir), ("configuration", config_dir)):
        try:
            path = folder()
        except OSError as error:
            yield Finding(f"{name} folder", False, f"cannot be made: {error.strerror}")
            continue
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        writeable = os.access(path, os.W_OK)
        text = f"{path}, {size / 1e6:.1f} MB" if writeable else f"{path} cannot be written"
        yield Finding(f"{name} folder", writeable, text)
