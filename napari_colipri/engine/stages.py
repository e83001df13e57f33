"""Progress of work that has several steps."""

from __future__ import annotations

from collections.abc import Callable

from napari_colipri.progress import Progress

__all__ = ["Stages"]

#: Of a progress bar; finer steps cannot be seen.
_SEND_EVERY = 0.005


class Stages:
    """One progress for all steps: never falling, and told only where a bar would move.

    Parameters
    ----------
    send
        Gets what is told.
    """

    def __init__(self, send: Callable[[float, str], None]) -> None:
        self._send = send
        self._last = (-1.0, "")

    def __call__(self, fraction: float, text: str) -> None:
        """Tell how far the whole is."""
        fraction = max(min(float(fraction), 1.0), self._last[0], 0.0)
        if text != self._last[1] or fraction - self._last[0] >= _SEND_EVERY:
            self._last = (fraction, text)
            self._send(fraction, text)

    def part(self, start: float, stop: float) -> Progress:
        """Progress of a step that takes the bar from ``start`` to ``stop``."""

        def progress(fraction: float, text: str) -> None:
            self(start + (stop - start) * fraction, text)

        return progress
