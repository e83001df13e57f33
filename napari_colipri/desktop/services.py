"""What the dock gets from the rooms behind it; tests put others in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from napari_colipri.desktop.engine_bridge import Client
from napari_colipri.engine.events import Event

if TYPE_CHECKING:
    from napari_colipri.engine.bundle import Bundle
    from napari_colipri.engine.bundle_store import BundleInfo
    from napari_colipri.engine.types import Encoding
    from napari_colipri.library.search import SimilarCases
    from napari_colipri.progress import CancelToken, Progress

__all__ = ["Searchable", "Services"]


class Searchable(Protocol):
    """A case library."""

    def search(self, encoding: Encoding, k: int = 5, *, patient_key: str | None = None) -> SimilarCases: ...  # noqa: D102


def _client(on_event: Callable[[Event], None]) -> Client:
    from napari_colipri.engine.client import EngineClient

    return EngineClient(on_event)


def _bundle(name: str | None) -> Bundle:
    from napari_colipri.engine.bundle import open_bundle

    return open_bundle(name)


def _bundles() -> tuple[BundleInfo, ...]:
    from napari_colipri.engine.bundle_store import list_bundles

    return list_bundles()


def _add(folder: str, progress: Progress, cancel: CancelToken) -> Bundle:
    from napari_colipri.engine.bundle_store import add_bundle

    return add_bundle(folder, progress=progress, cancel=cancel)


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
        Opens, and so verifies, a model by name or folder (None: the one that ships); runs in a thread.
    bundles
        Lists the models on disk; runs in a thread.
    add
        Adds a folder as a model; runs in a thread.
    library
        Opens the case library; runs in a thread.
    """

    client: Callable[[Callable[[Event], None]], Client] = _client
    bundle: Callable[[str | None], Bundle] = _bundle
    bundles: Callable[[], tuple[BundleInfo, ...]] = _bundles
    add: Callable[[str, Progress, CancelToken], Bundle] = _add
    library: Callable[[], Searchable] = _library
