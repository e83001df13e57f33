"""Checkpoints: one folder a step, safetensors and JSON only, there whole or not at all.

A folder is written beside its final name, flushed, and renamed; the one before stays until then. Nothing in it is ever
executed or unpickled.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_colipri.atomic import to_json_text
from napari_colipri.errors import OutOfResources
from training.loop.errors import CheckpointError

__all__ = ["Checkpoint", "latest", "save"]

_NAME = "step-{:08d}"
_STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk.

    Attributes
    ----------
    folder
        ``…/checkpoints/step-00000120``.
    state
        What ``state.json`` holds: step, volumes, seconds, configuration, position in the data.
    """

    folder: Path
    state: dict[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of ``weights``, ``average`` or ``optimiser``.

        Raises
        ------
        CheckpointError
            If the file is missing or no whole safetensors file.
        """
        path = self.folder / f"{name}.safetensors"
        try:
            found: dict[str, Tensor] = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.folder.name}/{path.name} cannot be read: {error}") from error
        return found


def save(
    run: Path, step: int, files: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int
) -> Checkpoint:
    """Write the checkpoint of a step, then remove all but the newest ``keep``.

    Parameters
    ----------
    run
        Folder of the run.
    step
        Steps done.
    files
        Tensors by file name, without ending.
    state
        For ``state.json``.
    keep
        Checkpoints that stay.

    Raises
    ------
    OutOfResources
        If the disk is full or refuses; the checkpoints before are whole.
    """
    place = run / "checkpoints"
    target = place / _NAME.format(step)
    beside = place / f".{target.name}.part"
    try:
        place.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        for name, tensors in files.items():
            save_file({key: value.detach().contiguous() for key, value in tensors.items()}, _part(beside, name))
        (beside / _STATE).write_text(to_json_text(state), encoding="utf-8")
        for path in beside.iterdir():
            with path.open("rb+") as handle:
                os.fsync(handle.fileno())
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "the disk is full" if full or "No space" in str(error) else str(error)
        message = f"The checkpoint of step {step} could not be written: {what}. The one before is whole."
        raise OutOfResources(message, code="checkpoint_not_written") from error
    for old in _folders(run)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return Checkpoint(target, dict(state))


def _part(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _folders(run: Path) -> list[Path]:
    return sorted(path for path in (run / "checkpoints").glob("step-*") if (path / _STATE).is_file())


def latest(run: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of a run, if there is any.

    Raises
    ------
    CheckpointError
        If its ``state.json`` is not JSON.
    """
    folders = _folders(run)
    if not folders:
        return None
    try:
        state = json.loads((folders[-1] / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folders[-1].name}/{_STATE} cannot be read: {error}") from error
    return Checkpoint(folders[-1], state)
