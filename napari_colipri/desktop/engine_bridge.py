"""The engine as Qt signals: events arrive on the client's thread and leave on the main thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtCore import QObject, Signal

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine import events
from napari_colipri.errors import ColipriError

if TYPE_CHECKING:
    from napari_colipri.engine.bundle import Bundle

__all__ = ["Client", "EngineBridge"]


class Client(Protocol):
    """What the desktop uses of :class:`~napari_colipri.engine.client.EngineClient`; every method returns at once."""

    def start(self, bundle: Bundle | str | None = None, device: str = "auto", precision: str = "auto") -> int: ...  # noqa: D102
    def put(self, volume: CTVolume | None) -> None: ...  # noqa: D102
    def submit(self, kind: str, **values: Any) -> int: ...  # noqa: D102
    def cancel(self, request: int) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class EngineBridge(QObject):
    """Owns one engine client.

    Parameters
    ----------
    make_client
        Makes the client from the callback that takes its events; not called before something is asked.
    """

    loaded = Signal(object)
    progressed = Signal(int, float, str)
    answered = Signal(int, object)
    done = Signal(int)
    failed = Signal(int, object)
    died = Signal(str)

    _event = Signal(object)

    def __init__(
        self, make_client: Callable[[Callable[[events.Event], None]], Client], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._make_client = make_client
        self._client: Client | None = None
        self._closed = False
        self._event.connect(self._on_event)

    def start(self, bundle: Bundle | str | None, device: str = "auto", precision: str = "auto") -> int:
        """Choose a model and start the engine's process; ``loaded`` or ``failed`` follows.

        What was asked of another model is given up; the process keeps the volume.
        """
        return self._engine().start(bundle, device, precision)

    def put(self, volume: CTVolume | None) -> None:
        """Say which volume questions are about."""
        if volume is not None or self._client is not None:
            self._engine().put(volume)

    def submit(self, kind: str, **values: Any) -> int:
        """Ask something; return the id that the signals will carry."""
        return self._engine().submit(kind, **values)

    def cancel(self, request: int) -> None:
        """Give a request up."""
        if self._client is not None:
            self._client.cancel(request)

    def close(self) -> None:
        """End the engine's process; no signal comes after this."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _engine(self) -> Client:
        if self._closed:
            raise ColipriError("The engine has been closed.", code="closed")
        if self._client is None:
            self._client = self._make_client(self._receive)
        return self._client

    def _receive(self, event: events.Event) -> None:
        """Hand an event from the client's thread over to the main thread."""
        try:
            self._event.emit(event)
        except RuntimeError:
            return  # the window is being closed: the Qt object is gone, and so is everybody who waited

    def _on_event(self, event: events.Event) -> None:
        if self._closed:
            return
        match event:
            case events.Loaded():
                self.loaded.emit(event)
            case events.Progressed():
                self.progressed.emit(event.request, event.fraction, event.text)
            case events.Answered():
                self.answered.emit(event.request, event.value)
            case events.Done():
                self.done.emit(event.request)
            case events.Failed():
                self.failed.emit(event.request, event.error)
            case events.Died():
                self.died.emit(event.error.message)
            case events.Unloaded():
                return
