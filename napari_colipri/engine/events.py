"""What an engine client tells its owner: frozen values, numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_colipri.engine.types import Encoding, Findings, GeneratedReport, HeatMap, Segmentation
from napari_colipri.errors import ColipriError, WorkerDied

__all__ = [
    "Absent",
    "Answer",
    "Answered",
    "Died",
    "Done",
    "Event",
    "Failed",
    "Loaded",
    "Progressed",
    "Unloaded",
]


@dataclass(frozen=True)
class Absent:
    """An answer that this bundle cannot give, with the sentence that stands in its place.

    Attributes
    ----------
    what
        ``"segmentation"``.
    message, code
        Of the error.
    """

    what: str
    message: str
    code: str


Answer: TypeAlias = Encoding | Findings | HeatMap | Segmentation | GeneratedReport | Absent | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Loaded:
    """A model is ready (with whichever request needed it first), or moved to another device when memory ran out.

    Attributes
    ----------
    request
        Its id.
    device
        Such as ``"cpu"`` or ``"cuda:0"``.
    precision, description
        Such as ``"float32"`` and ``"CPU, float32"``.
    devices
        What could be chosen on this machine, such as ``("cuda", "cpu")``.
    """

    request: int
    device: str
    precision: str
    description: str
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progressed:
    """Progress of a request: fraction in [0, 1], never falling, and a short phrase."""

    request: int
    fraction: float
    text: str


@dataclass(frozen=True, eq=False)
class Answered:
    """One result of a request; :class:`Analyse` gives several."""

    request: int
    value: Answer


@dataclass(frozen=True)
class Done:
    """A request is complete."""

    request: int


@dataclass(frozen=True, eq=False)
class Failed:
    """A request ended without its answer (``Cancelled`` where that was wished)."""

    request: int
    error: ColipriError


@dataclass(frozen=True, eq=False)
class Died:
    """The engine's process ended unexpectedly. Its requests fail too; the next one starts it again."""

    error: WorkerDied


@dataclass(frozen=True)
class Unloaded:
    """The engine's process was ended on request and its device memory is free."""


Event: TypeAlias = Loaded | Progressed | Answered | Done | Failed | Died | Unloaded
