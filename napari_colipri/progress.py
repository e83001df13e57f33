"""Progress and cancellation, passed down to everything that can take more than a second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from napari_colipri.errors import Cancelled

__all__ = ["CancelToken", "Progress", "report_nothing"]

#: ``progress(fraction, text)``: fraction in [0, 1], text a short phrase such as "Encoding".
Progress: TypeAlias = Callable[[float, str], None]


def report_nothing(fraction: float, text: str) -> None:
    """Progress callback that ignores what it is told."""


class CancelToken:
    """Set from one thread, checked in another between steps (slices, transformer blocks)."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work that holds this token to stop at its next check."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` has been called."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise :class:`~napari_colipri.errors.Cancelled` if cancelled."""
        if self.cancelled:
            raise Cancelled
