"""What the user chose about models, kept in one small file of the configuration folder. No Qt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from napari_colipri.atomic import write_json
from napari_colipri.paths import config_dir

__all__ = ["DEVICES", "PRECISIONS", "Preferences", "load_preferences", "preferences_path", "save_preferences"]

_FORMAT = 1

#: Names that the engine takes, with the words on screen.
DEVICES = {"auto": "Automatic", "cuda": "NVIDIA GPU (CUDA)", "mps": "Apple GPU (MPS)", "cpu": "CPU"}
PRECISIONS = {"auto": "Automatic", "float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}


@dataclass(frozen=True)
class Preferences:
    """Which model runs where, and how precisely.

    Attributes
    ----------
    model
        Name of an added bundle, or its folder; None is the one that ships.
    device
        Key of :data:`DEVICES`.
    precision
        Key of :data:`PRECISIONS`.
    """

    model: str | None = None
    device: str = "auto"
    precision: str = "auto"


def preferences_path() -> Path:
    """Return the file; it need not exist."""
    return config_dir() / "desktop.json"


def load_preferences() -> Preferences:
    """Return what was saved; whatever of it is absent, unreadable or unknown to this version is as at first."""
    try:
        value = json.loads(preferences_path().read_text(encoding="utf-8"))
        if value["format"] != _FORMAT:
            return Preferences()
    except (OSError, ValueError, KeyError, TypeError):
        return Preferences()
    model, device, precision = value.get("model"), value.get("device"), value.get("precision")
    return Preferences(
        model if isinstance(model, str) and model else None,
        device if isinstance(device, str) and device in DEVICES else "auto",
        precision if isinstance(precision, str) and precision in PRECISIONS else "auto",
    )


def save_preferences(preferences: Preferences) -> None:
    """Write them, whole or not at all.

    Raises
    ------
    OSError
        If they cannot be written; the file keeps its last content.
    """
    write_json(preferences_path(), {"format": _FORMAT, **vars(preferences)}, private=True)
