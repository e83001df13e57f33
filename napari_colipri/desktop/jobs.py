"""Work off the main thread: plain daemon threads, a signal back, ids that drop what nobody waits for any more.

napari's own workers keep their arguments alive until the window closes and cannot be cancelled; these hold nothing once
they have ended.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from qtpy.QtCore import QObject, Signal

from napari_colipri.progress import CancelToken, Progress

__all__ = ["Jobs", "Work"]

#: ``work(progress, cancel)`` runs in the thread; it may raise.
Work: TypeAlias = Callable[[Progress, CancelToken], Any]


def _ignore(*_values: Any) -> None:
    return None


@dataclass(frozen=True)
class _Job:
    cancel: CancelToken
    done: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    progress: Callable[[float, str], None]


class Jobs(QObject):
    """Runs work in threads and calls back on the thread that owns this object."""

    _arrived = Signal(int, str, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._ids = itertools.count(1)
        self._jobs: dict[int, _Job] = {}
        self._arrived.connect(self._on_arrived)

    def start(
        self,
        work: Work,
        *,
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
        progress: Callable[[float, str], None] = _ignore,
    ) -> int:
        """Run ``work`` in a thread of its own.

        Parameters
        ----------
        work
            Gets a progress callback and a cancel token.
        done, failed, progress
            Called on the owner's thread; never after :meth:`cancel` of this job.

        Returns
        -------
        int
            Number of the job.
        """
        number = next(self._ids)
        token = CancelToken()
        self._jobs[number] = _Job(token, done, failed, progress)
        threading.Thread(
            target=self._run, args=(number, work, token), name=f"napari-colipri job {number}", daemon=True
        ).start()
        return number

    def cancel(self, number: int) -> None:
        """Ask a job to stop and forget it: none of its callbacks will be called."""
        job = self._jobs.pop(number, None)
        if job is not None:
            job.cancel.cancel()

    def close(self) -> None:
        """Cancel everything."""
        for number in list(self._jobs):
            self.cancel(number)

    @property
    def running(self) -> int:
        """How many jobs somebody still waits for."""
        return len(self._jobs)

    def _run(self, number: int, work: Work, token: CancelToken) -> None:
        said: tuple[float, str] = (-1.0, "")

        def progress(fraction: float, text: str) -> None:
            nonlocal said
            # A percent at a time: a reader that reports each slice must not flood the event loop.
            if text != said[1] or fraction - said[0] >= 0.01:
                said = (fraction, text)
                self._tell(number, "progress", (fraction, text))

        try:
            value = work(progress, token)
        except Exception as error:
            self._tell(number, "failed", error.with_traceback(None))
            return
        self._tell(number, "done", value)

    def _tell(self, number: int, kind: str, value: Any) -> None:
        try:
            self._arrived.emit(number, kind, value)
        except RuntimeError:
            return  # the window was closed while the thread ran: its Qt object is gone, nobody waits

    def _on_arrived(self, number: int, kind: str, value: Any) -> None:
        job = self._jobs.get(number) if kind == "progress" else self._jobs.pop(number, None)
        if job is None:
            return
        if kind == "progress":
            job.progress(*value)
        elif kind == "done":
            job.done(value)
        else:
            job.failed(value)
