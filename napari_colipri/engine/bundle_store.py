"""The user's bundles: listed, added, settings noted, removed. No torch, nothing executed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_colipri.atomic import write_json
from napari_colipri.engine.bundle import (
    BUNDLE_NAME,
    EMBEDDED,
    Bundle,
    bundles_dir,
    disk_errors,
    embedded_dir,
    open_bundle,
)
from napari_colipri.engine.bundle_files import CONFIG, copy_files, parse_config, read_config
from napari_colipri.engine.official import official_config
from napari_colipri.errors import BundleError
from napari_colipri.paths import private_dir
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["BundleInfo", "add_bundle", "install", "list_bundles", "record_verified", "remove_bundle"]

_OFFICIAL_FILES = ("model.safetensors", "vocab.txt", "tokenizer.json", "README.md", "LICENSE")


@dataclass(frozen=True)
class BundleInfo:
    """What a list of bundles shows. Nothing but ``config.json`` was read: only :func:`open_bundle` verifies.

    Attributes
    ----------
    name, title, licence
        From the configuration.
    path
        Folder.
    embedded, demonstration
        Whether it ships in the package, whether it is a demonstration model.
    size_bytes
        Of all files.
    settings
        Which choices are ``verified`` and which ``assumed``.
    problem
        One sentence if the configuration cannot be read, else None.
    """

    name: str
    title: str
    path: Path
    embedded: bool
    demonstration: bool
    size_bytes: int
    licence: str
    settings: dict[str, str]
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {**vars(self), "path": str(self.path)}


def _info(folder: Path, *, embedded: bool) -> BundleInfo:
    size = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False))
    try:
        values = read_config(folder)
        if values is None:
            raise BundleError("config.json is missing.", code="missing_file")
        config = parse_config(values)
    except BundleError as error:
        return BundleInfo(folder.name, folder.name, folder, embedded, False, size, "", {}, error.message)
    name = EMBEDDED if embedded else folder.name
    settings = config.settings.model_dump()
    return BundleInfo(name, config.title, folder, embedded, config.demonstration, size, config.licence, settings)


def list_bundles() -> tuple[BundleInfo, ...]:
    """Return the embedded bundle and those that the user added, by name. Files are not verified here."""
    found: list[BundleInfo] = []
    with contextlib.suppress(BundleError):  # a package built without it still lists the others
        found.append(_info(embedded_dir(), embedded=True))
    if bundles_dir().is_dir():
        folders = sorted(
            entry for entry in bundles_dir().iterdir() if entry.is_dir() and BUNDLE_NAME.fullmatch(entry.name)
        )
        found.extend(_info(folder, embedded=False) for folder in folders)
    return tuple(found)


@contextlib.contextmanager
def install(name: str, *, staging: Path | None = None) -> Iterator[Path]:
    """Yield a folder to fill; it becomes the bundle ``name`` in one rename if the block ends well, else it goes.

    Parameters
    ----------
    name
        Of the new bundle.
    staging
        A folder in :func:`bundles_dir` that is filled already and stays for another try when the block fails.

    Raises
    ------
    BundleError
        If the name is taken or not a plain name.
    """
    if not BUNDLE_NAME.fullmatch(name) or name == EMBEDDED:
        raise BundleError(
            f"{name!r} cannot be the name of a bundle: use letters, digits, '-' and '_'.", code="bad_name"
        )
    final = private_dir(bundles_dir()) / name
    if final.exists():
        raise BundleError(f"There is already a bundle {name!r}: remove it first, or add under --name.", code="exists")
    folder = staging or private_dir(bundles_dir() / f".{name}.{secrets.token_hex(4)}.part")
    try:
        yield folder
        with disk_errors("Adding the bundle"):
            os.rename(folder, final)
    finally:
        if staging is None:
            shutil.rmtree(folder, ignore_errors=True)  # gone already after the rename


def add_bundle(
    folder: str | os.PathLike[str],
    name: str | None = None,
    axis_order: str | None = None,
    pooling: str | None = None,
    preset: str | None = None,
    *,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> Bundle:
    """Copy a bundle, or a raw official folder, into the user's data folder; the original is never written to.

    Parameters
    ----------
    folder
        Where it lies now.
    name
        Under which it is added; by default its own.
    axis_order, pooling, preset
        Settings of a raw official folder that its weights do not reveal. One that is given is recorded as verified,
        one that is not as assumed.
    progress, cancel
        Told and asked every few MiB; nothing is added when it is cancelled.

    Returns
    -------
    Bundle
        The added one, verified after copying.

    Raises
    ------
    BundleError
        As :func:`open_bundle`; code ``settings_fixed`` where the bundle states its own settings.
    """
    source = Path(folder).expanduser()
    if not source.is_dir():
        raise BundleError(f"There is no folder {source.name!r} to add.", code="not_found")
    token = cancel or CancelToken()
    progress(0.0, "Checking the model")
    with disk_errors("Adding the bundle"):
        raw = read_config(source) is None
        if raw:
            config = official_config(source, axis_order=axis_order, pooling=pooling, preset=preset)
        elif axis_order or pooling or preset:
            raise BundleError(
                "This bundle states its own axis order, pooling and preset: they cannot be changed while adding it.",
                code="settings_fixed",
            )
        else:
            config = open_bundle(source).config
        config = config.model_copy(update={"name": name or config.name})
        with install(config.name) as staging:
            extra = [name for name in (_OFFICIAL_FILES if raw else ("README.md",)) if (source / name).is_file()]
            copy_files(source, staging, config, extra, blobs=raw, progress=progress, cancel=token)
    progress(1.0, "Added")
    return open_bundle(bundles_dir() / config.name)


def record_verified(name: str, *settings: str) -> Bundle:
    """Note in an added bundle's ``config.json`` that ``settings`` (``"axis_order"`` …) are verified.

    Raises
    ------
    BundleError
        If it is not one of the user's bundles.
    """
    folder = bundles_dir() / name
    if not BUNDLE_NAME.fullmatch(name) or not folder.is_dir():
        raise BundleError(f"{name!r} is not an added bundle.", code="not_found")
    config = open_bundle(folder).config
    states = config.settings.model_copy(update=dict.fromkeys(settings, "verified"))
    changed = parse_config(config.model_copy(update={"settings": states}).model_dump(mode="json"))
    with disk_errors("Writing config.json"):
        write_json(folder / CONFIG, changed.model_dump(mode="json"))
    return open_bundle(folder)


def remove_bundle(name: str) -> None:
    """Remove an added bundle.

    Raises
    ------
    BundleError
        If it is not one of the user's bundles (the embedded one cannot be removed).
    """
    folder = bundles_dir() / name
    if not BUNDLE_NAME.fullmatch(name) or not folder.is_dir():
        what = "is part of the package and stays" if name == EMBEDDED else "is not an added bundle"
        raise BundleError(f"{name!r} {what}.", code="not_found")
    doomed = folder.with_name(f".{name}.{secrets.token_hex(4)}.gone")
    with disk_errors("Removing the bundle"):
        os.rename(folder, doomed)  # at once and whole; deleting 1 GB may be interrupted
        shutil.rmtree(doomed)
