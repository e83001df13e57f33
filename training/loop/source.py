"""Where batches come from: anything that answers ``source[number]`` with the batch of that number.

A batch depends on its number alone, never on those before it, so the position of a run is one number, workers may read
ahead in any number, and a run that goes on sees what it would have seen.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

from training.objectives.base import Batch

__all__ = ["Repeated", "Source", "batches_from"]


class Source(Protocol):
    """Batches of this process by number: pass ``a`` of step ``s`` has the number ``s * accumulate + a``."""

    def __getitem__(self, number: int) -> Batch:
        """Return a batch (see :mod:`training.objectives.base`)."""


class Repeated:
    """The same batches again and again; for tests, measurements and trials.

    Parameters
    ----------
    batches
        At least one.
    """

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches

    def __getitem__(self, number: int) -> Batch:
        return dict(self._batches[number % len(self._batches)])


class _Numbered(Dataset[Batch]):
    def __init__(self, source: Source) -> None:
        self._source = source

    def __getitem__(self, number: int) -> Batch:
        return self._source[number]


class _From:
    """Numbers from ``start`` on, without end."""

    def __init__(self, start: int) -> None:
        self._start = start

    def __iter__(self) -> Iterator[int]:
        number = self._start
        while True:
            yield number
            number += 1


def _as_it_is(batch: Any) -> Any:
    return batch


def _deaf(_: int) -> None:
    """Leave signals to the run: one that reaches all processes would take the readers away from the last step."""
    for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def batches_from(source: Source, start: int, *, workers: int, pin_memory: bool) -> Iterator[Batch]:
    """Yield batches from number ``start`` on.

    Parameters
    ----------
    source
        Of this process.
    start
        First number.
    workers
        Processes that read ahead; 0 reads in this one.
    pin_memory
        For faster copies to a GPU.
    """
    loader: DataLoader[Batch] = DataLoader(
        _Numbered(source),
        batch_size=None,
        sampler=_From(start),
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_deaf,
        pin_memory=pin_memory,
    )
    return iter(loader)
