"""What the engine's process runs: the interface of a session, and how one is made by name. No torch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.types import Encoding, Findings, GeneratedReport, HeatMap, Segmentation
from napari_colipri.progress import CancelToken, Progress

__all__ = ["DEFAULT_SESSION", "EngineSession", "WorkerOptions", "make_session"]

#: Dotted name of what runs the models.
DEFAULT_SESSION = "napari_colipri.engine.session:open_session"

#: Steps of ``os.nice``: the window draws first, also where the engine uses every core.
_NICE = 5


class EngineSession(Protocol):
    """What the worker asks of :class:`napari_colipri.engine.session.Session`."""

    @property
    def device(self) -> object:
        """Where it computes, such as ``cpu``."""

    @property
    def precision(self) -> str:
        """Such as ``float32``."""

    @property
    def description(self) -> str:
        """Both in words."""

    @property
    def devices(self) -> tuple[str, ...]:
        """What could be chosen on this machine."""

    def load(self, progress: Progress) -> None:
        """Read weights."""

    def encode(self, volume: CTVolume, progress: Progress, cancel: CancelToken) -> Encoding:
        """Encode, or take the encoding from memory."""

    def findings(self, encoding: Encoding, prompts: Sequence[str]) -> Findings:
        """Answer the bundle's findings and further prompts."""

    def localise(self, encoding: Encoding, text: str) -> HeatMap:
        """Heat map for a text."""

    def segment(self, volume: CTVolume, encoding: Encoding, progress: Progress, cancel: CancelToken) -> Segmentation:
        """Masks on the source grid."""

    def generate_report(self, encoding: Encoding, progress: Progress, cancel: CancelToken) -> GeneratedReport:
        """Text from the report decoder; a bundle without one answers with ``no_report_decoder``."""

    def embed_text(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Text vectors [n, D]."""

    def unload(self) -> None:
        """Free the device."""


@dataclass(frozen=True)
class WorkerOptions:
    """How the child process behaves.

    Attributes
    ----------
    session_factory
        ``"module:name"`` of what is called with ``(bundle, device=..., precision=...)``, where the bundle is an opened
        one, a name, a folder or None.
    nice
        Steps of lower priority.
    """

    session_factory: str = DEFAULT_SESSION
    nice: int = _NICE


def make_session(options: WorkerOptions, bundle: Bundle | str | None, *, device: str, precision: str) -> EngineSession:
    """Make the session that ``options`` names."""
    module, _, name = options.session_factory.partition(":")
    factory = getattr(importlib.import_module(module), name)
    session: EngineSession = factory(bundle, device=device, precision=precision)
    return session
