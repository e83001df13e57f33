"""The window's side of the engine: requests go out, events come back, and a dead process costs one sentence.

No torch, no Qt, no napari. One thread owns the child process, its pipes and every block of shared memory; the public
methods only leave word for it and return at once, so they may be called from a window's main thread.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine import events, protocol
from napari_colipri.engine.conversation import Conversation, Graces
from napari_colipri.engine.factory import WorkerOptions
from napari_colipri.errors import ColipriError

if TYPE_CHECKING:
    from napari_colipri.engine.bundle import Bundle

__all__ = ["EngineClient"]

#: Seconds that a cancelled request may go on before its process is ended.
_GRACE_S = 3.0
#: The same where a block of a transformer is slow: 260 s for the 16 blocks of the largest tower on two cores.
_CPU_GRACE_S = 20.0
#: Seconds for an engine to end when it is closed; it takes far less unless its process is stuck.
_CLOSE_S = 3.0


class EngineClient:
    """Asks the engine's process and tells its owner what came of it.

    Parameters
    ----------
    on_event
        Called with each :data:`~napari_colipri.engine.events.Event`, from the client's own thread: it must not
        block. Every request ends in exactly one ``Done`` or ``Failed``; nothing comes after :meth:`close`.
    options
        For the worker process; tests run another session in it.
    grace_s, cpu_grace_s
        How long a cancelled request may go on, on an accelerator and on a CPU, before its process is ended.
    """

    def __init__(
        self,
        on_event: Callable[[events.Event], None],
        *,
        options: WorkerOptions | None = None,
        grace_s: float = _GRACE_S,
        cpu_grace_s: float = _CPU_GRACE_S,
    ) -> None:
        self._ids = itertools.count(1)
        self._conversation = Conversation(on_event, options or WorkerOptions(), Graces(grace_s, cpu_grace_s))
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Number of the engine's process, or None while there is none."""
        return self._conversation.pid

    def start(
        self, bundle: Bundle | str | os.PathLike[str] | None = None, device: str = "auto", precision: str = "auto"
    ) -> int:
        """Choose a model, start the process and load it, without waiting.

        Parameters
        ----------
        bundle
            A ``Bundle``, or a name or folder of one; None is the embedded bundle.
        device, precision
            As the session takes them.

        Returns
        -------
        int
            Id of the request that loads it.
        """
        wanted = os.fspath(bundle) if isinstance(bundle, os.PathLike) else bundle
        self._post(partial(self._conversation.configure, protocol.Configure(wanted, device, precision)))
        return self.submit("load")

    def put(self, volume: CTVolume | None) -> None:
        """Make this the volume that requests are about; requests about the one before are cancelled."""
        self._post(partial(self._conversation.put, volume))

    def submit(self, kind: str, **values: Any) -> int:
        """Ask something.

        Parameters
        ----------
        kind
            Key of :data:`~napari_colipri.engine.protocol.REQUESTS`.
        **values
            Fields of its class besides the id; lists of texts are taken as tuples.

        Returns
        -------
        int
            Id that its events will carry.

        Raises
        ------
        ValueError
            For an unknown kind.
        ColipriError
            After :meth:`close`.
        """
        if kind not in protocol.REQUESTS:
            raise ValueError(f"unknown kind of request: {kind}")
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        make: Callable[..., protocol.AnyRequest] = protocol.REQUESTS[kind]
        request = make(next(self._ids), **plain)
        self._post(partial(self._conversation.ask, request))
        return request.id

    def cancel(self, request: int) -> None:
        """Give up a request: it fails with ``Cancelled`` at once and stops in the process soon after."""
        self._post(partial(self._conversation.give_up, [request]))

    def unload(self) -> None:
        """End the process and free its device; the next request starts it again."""
        self._post(self._conversation.unload)

    def close(self) -> None:
        """End everything and remove every block; waits for about a second, three where the process is stuck."""
        talk = self._conversation
        if not talk.stopping.is_set():
            talk.stop()
            atexit.unregister(self.close)
        with self._starting:
            thread = self._thread
        if thread is None:
            talk.run()  # nothing was ever asked: it only tidies up
        elif thread is not threading.current_thread():
            thread.join(_CLOSE_S)
            pid = self.pid
            if thread.is_alive() and pid is not None:
                # It waits for the rest of a message that a stuck process began: the end of that process is its end too.
                with contextlib.suppress(OSError):
                    os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            thread.join()

    def _post(self, command: Callable[[], None]) -> None:
        talk = self._conversation
        if talk.stopping.is_set():
            raise ColipriError("The engine has been closed.", code="closed")
        with self._starting:
            if self._thread is None:
                atexit.register(self.close)
                self._thread = threading.Thread(target=talk.run, name="napari-colipri client", daemon=True)
                self._thread.start()
        talk.leave(command)
