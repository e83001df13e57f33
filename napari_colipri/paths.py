"""Folders of the user: data (bundles, adapters), cache (derived files), configuration (settings, secret)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import platformdirs

__all__ = ["HOME_VARIABLE", "cache_dir", "config_dir", "data_dir", "private_dir"]

#: Environment variable that puts all three folders below one (a hospital PC without a profile, tests).
HOME_VARIABLE = "NAPARI_COLIPRI_HOME"

_APP = "napari-colipri"


def private_dir(path: Path) -> Path:
    """Create ``path`` and its parents if needed, readable by its owner only, and return it.

    Parameters
    ----------
    path
        Folder to create; an existing one is narrowed to mode 0700 where the file system allows it.

    Raises
    ------
    OSError
        If the folder cannot be created.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Windows and network shares keep their own access lists: a folder that cannot be narrowed is still usable.
    with contextlib.suppress(OSError):
        if path.stat().st_mode & 0o777 != 0o700:
            path.chmod(0o700)
    return path


def _folder(kind: str, usual: str) -> Path:
    home = os.environ.get(HOME_VARIABLE)
    return private_dir(Path(home).expanduser() / kind if home else Path(usual))


def data_dir() -> Path:
    """Return the folder of added bundles, taught adapters and the user's libraries."""
    return _folder("data", platformdirs.user_data_dir(_APP, appauthor=False))


def cache_dir() -> Path:
    """Return the folder of derived files that can be made again; everything in it may be deleted."""
    return _folder("cache", platformdirs.user_cache_dir(_APP, appauthor=False))


def config_dir() -> Path:
    """Return the folder of settings and of this installation's secret."""
    return _folder("config", platformdirs.user_config_dir(_APP, appauthor=False))
