"""What the dock gets from the rooms behind it; tests put others in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from napari_colipri.desktop.engine_bridge import Client
from napari_colipri.engine.events import Event

if TYPE_CHECKING:
    from napari_colipri.engine.bundle import Bundle
    from napari_colipri.engine.types import Encoding
    from napari_colipri.library.search import SimilarCases

__all__ = ["Searchable", "Services"]


class Searchable(Protocol):
    """A case library."""

    def search(self, encoding: Encoding, k: int = 5, *, patient_key: str | None = None) -> SimilarCases: ...  # noqa: D102


def _client(on_event: Callable[[Event], None]) -> Client:
    from napari_colipri.engine.client import EngineClient

    return EngineClient(on_event)


def _bundle() -> Bundle:
    from napari_colipri.engine.bundle import open_bundle

    return open_bundle()


def _library() -> Searchable:
    from napari_colipri.library.search import open_library

    return open_library()


@dataclass(frozen=True)
class Services:
    """Makers of what the dock needs.

    Attributes
    ----------
    client
        Makes the engine's client from the callback that takes its events.
    bundle
        Opens, and so verifies, the model; runs in a thread.
    library
        Opens the case library; runs in a thread.
    """

    client: Callable[[Callable[[Event], None]], Client] = _client
    bundle: Callable[[], Bundle] = _bundle
    library: Callable[[], Searchable] = _library
