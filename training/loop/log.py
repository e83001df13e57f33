"""What a run says about itself: one JSON line per entry, TensorBoard scalars, and a callback for the screen."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from napari_colipri.atomic import write_text

__all__ = ["RunLog", "Watch"]

log = logging.getLogger(__name__)

Watch = Callable[[int, Mapping[str, float]], None]


class RunLog:
    """``log.jsonl`` and ``tensorboard/`` of a run's folder; only the first process writes.

    Parameters
    ----------
    folder
        Of the run.
    active
        False on all other processes.
    tensorboard
        Whether to write event files, where the package is installed.
    step
        Step from which the run goes on: lines of later steps, left over from before, are dropped.
    watch
        Called with step and figures of every entry.
    """

    def __init__(
        self, folder: Path, *, active: bool = True, tensorboard: bool = True, step: int = 0, watch: Watch | None = None
    ) -> None:
        self._path = folder / "log.jsonl"
        self._active, self._watch = active, watch
        self._board: Any = None
        if not active:
            return
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            write_text(self._path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step))
        if tensorboard:
            self._board = _board(folder / "tensorboard", step)

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step; what is not finite becomes null."""
        if not self._active:
            return
        shown = {key: float(f"{value:.6g}") if math.isfinite(value) else None for key, value in values.items()}
        self._line({"step": step, "time": round(time.time(), 1), **shown})
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)
        if self._watch is not None:
            self._watch(step, values)

    def event(self, step: int, name: str, **details: Any) -> None:
        """Write that something happened."""
        if self._active:
            log.info("step %d: %s", step, name)
            self._line({"step": step, "time": round(time.time(), 1), "event": name, **details})

    def _line(self, entry: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, allow_nan=False) + "\n")
        except OSError as error:  # a full disk costs lines of the log, not the run
            log.warning("log.jsonl: %s", error)

    def close(self) -> None:
        """Flush the event file."""
        if self._board is not None:
            self._board.close()


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut short by the end of a process
        return 2**62


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("tensorboard is not installed: figures go to log.jsonl only")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
