"""A run that is asked to stop finishes its step, writes a checkpoint and leaves."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

__all__ = ["StopRequest"]


class StopRequest:
    """While active, SIGINT, SIGTERM (and SIGUSR1, which schedulers send ahead of time) are noted instead of obeyed.

    A second SIGINT is obeyed at once.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def exit_status(self) -> int:
        """130 after SIGINT, as the shell has it; 0 after a signal that asks for an orderly end."""
        return 130 if self.received is signal.SIGINT else 0

    def __enter__(self) -> StopRequest:
        names = ("SIGINT", "SIGTERM", "SIGUSR1")
        for each in (getattr(signal, name) for name in names if hasattr(signal, name)):
            try:
                self._before[each] = signal.signal(each, self._note)
            except ValueError:  # not the main thread: whoever runs us there must stop us in another way
                return self
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before.clear()

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
