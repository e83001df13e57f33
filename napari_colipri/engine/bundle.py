"""A bundle: found by name or folder, opened verified. No torch, nothing executed."""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_colipri.engine.bundle_files import CONFIG, bundle_hash, parse_config, read_config, safe_file, verify_files
from napari_colipri.engine.config import BundleConfig, InputSpec
from napari_colipri.engine.official import official_config
from napari_colipri.errors import BundleError, OutOfResources
from napari_colipri.paths import data_dir

__all__ = [
    "BUNDLE_NAME",
    "EMBEDDED",
    "Bundle",
    "bundles_dir",
    "disk_errors",
    "embedded_dir",
    "find_folder",
    "open_bundle",
]

#: Name of the bundle inside the package.
EMBEDDED = "demo"
#: A plain name: no path, nothing hidden.
BUNDLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Bundle:
    """A verified model folder.

    Attributes
    ----------
    path
        The folder.
    config
        Its ``config.json``, or the one made for a raw official folder.
    hash
        64 hexadecimal digits over every file and every setting that decides results.
    raw
        Whether the folder is a raw official one, whose configuration exists in memory only.
    """

    path: Path
    config: BundleConfig
    hash: str
    raw: bool = False

    @property
    def name(self) -> str:
        """Short name."""
        return self.config.name

    @property
    def title(self) -> str:
        """Words on screen."""
        return self.config.title

    @property
    def input_spec(self) -> InputSpec:
        """What preprocessing takes."""
        return self.config.input.spec()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that must stand beside every result."""
        notes = []
        if self.config.demonstration:
            notes.append("demonstration model trained on phantoms: not for patients")
        if self.config.settings.assumed:
            notes.append("settings not verified")
        return tuple(notes)

    @property
    def has_decoder(self) -> bool:
        """Whether the bundle can segment."""
        return self.config.adapters.segmentation is not None

    @property
    def has_report_decoder(self) -> bool:
        """Whether the bundle can write text."""
        return self.config.adapters.report is not None

    def file(self, name: str) -> Path:
        """Return the path of one of the bundle's files."""
        return safe_file(self.path, name, blobs=self.raw)


def bundles_dir() -> Path:
    """Return the folder of added bundles."""
    return data_dir() / "bundles"


def embedded_dir() -> Path:
    """Return the folder of the bundle that ships in the package.

    Raises
    ------
    BundleError
        If the package was installed without it, or inside a zip archive.
    """
    folder = importlib.resources.files("napari_colipri").joinpath("bundles", EMBEDDED)
    if not isinstance(folder, Path) or not (folder / CONFIG).is_file():
        raise BundleError("This installation lacks the embedded model: install napari-colipri again.", code="not_found")
    return folder


def find_folder(name_or_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a bundle by name (added ones first) or by path; None means the embedded one.

    Raises
    ------
    BundleError
        With code ``not_found``.
    """
    if name_or_dir is None:
        return embedded_dir()
    text = os.fspath(name_or_dir)
    if isinstance(name_or_dir, str) and BUNDLE_NAME.fullmatch(text):
        if (bundles_dir() / text / CONFIG).is_file():
            return bundles_dir() / text
        if text == EMBEDDED:
            return embedded_dir()
    folder = Path(text).expanduser()
    if folder.is_file() and folder.name in {CONFIG, "model.safetensors"}:
        folder = folder.parent
    if not folder.is_dir():
        raise BundleError(
            f"There is no bundle {Path(text).name!r}: 'napari-colipri model list' names those there are, "
            "or give a folder.",
            code="not_found",
        )
    return folder


@contextlib.contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn what a disk refuses while ``doing`` something into ``OutOfResources`` or ``BundleError``."""
    try:
        yield
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise OutOfResources(f"The disk is full: {doing} was given up.", code="disk_full") from error
        raise BundleError(f"{doing} failed: {error.strerror or error}.", code="unreadable") from error


def open_bundle(name_or_dir: str | os.PathLike[str] | None = None) -> Bundle:
    """Open a bundle and verify every file in it.

    Parameters
    ----------
    name_or_dir
        Name of an added bundle, ``"demo"``, a folder (a bundle's or a raw official one), or None for the embedded one.

    Raises
    ------
    BundleError
        If there is no such bundle, or naming the file that changed, is missing or unexpected.
    """
    folder = find_folder(name_or_dir)
    with disk_errors("Reading the bundle"):
        values = read_config(folder)
        if values is None:
            config = official_config(folder)
            return Bundle(folder, config, bundle_hash(config), raw=True)
        config = parse_config(values)
        verify_files(folder, config)
    return Bundle(folder, config, bundle_hash(config))
