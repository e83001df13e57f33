"""Helpers of the tests of the client: a volume, and a box that collects events."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.volume import CTVolume, Geometry, Source
from napari_colipri.engine import events
from napari_colipri.engine.client import EngineClient
from napari_colipri.engine.factory import WorkerOptions

Wanted = TypeVar("Wanted")

OPTIONS = WorkerOptions(session_factory="tests.fake_session:FakeSession")
TIMEOUT_S = 60.0


class Box:
    """Collects events; waiting for one returns it and keeps all that came before."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
        self.seen: list[events.Event] = []

    def __call__(self, event: events.Event) -> None:
        self._queue.put(event)

    def wait(self, kind: type[Wanted], request: int | None = None) -> Wanted:
        """Wait for the next event of a kind, of one request where given."""
        while True:
            event = self._queue.get(timeout=TIMEOUT_S)
            self.seen.append(event)
            if isinstance(event, kind) and request in (None, getattr(event, "request", None)):
                return event

    def end(self, request: int) -> events.Done | events.Failed:
        """Wait until a request is done or has failed."""
        return self.wait(events.Done | events.Failed, request)  # type: ignore[arg-type]

    def answers(self, request: int) -> list[events.Answer]:
        """Answers seen so far."""
        return [item.value for item in self.seen if isinstance(item, events.Answered) and item.request == request]

    def drain(self) -> list[events.Event]:
        """Everything that has arrived, without waiting."""
        while not self._queue.empty():
            self.seen.append(self._queue.get())
        return self.seen


@contextmanager
def engine(**values: float) -> Iterator[tuple[EngineClient, Box]]:
    """A client with the fake session, closed at the end."""
    box = Box()
    client = EngineClient(box, options=OPTIONS, **values)
    try:
        yield client, box
    finally:
        client.close()


def volume_of(hu: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> CTVolume:
    """A volume with 1 mm voxels and a path that must not travel."""
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    geometry = Geometry(shape, (1.0, 1.0, 1.0), ("R", "A", "S"), True, 0.0, 0.0)
    return CTVolume(hu, np.eye(4), geometry, Source("nifti", "/home/DOE^JANE/scan.nii.gz"))


def small_volume(seed: int = 0) -> CTVolume:
    """Sixteen voxels a side."""
    values = np.random.default_rng(seed).integers(-1000, 1000, (16, 15, 14))
    return volume_of(values.astype(np.int16))
