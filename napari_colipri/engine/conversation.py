"""What the client's one thread does: it owns the child process, its pipes and every block of shared memory.

Other threads only leave word (:meth:`Conversation.leave`), so nothing here needs a lock but the bell that wakes it.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe, connection
from typing import Any

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine import events, protocol, wire
from napari_colipri.engine.child import Child, sentence_of
from napari_colipri.engine.factory import WorkerOptions
from napari_colipri.engine.lending import Lending
from napari_colipri.engine.shared import unpack
from napari_colipri.errors import Cancelled, ColipriError, OutOfResources, WorkerDied

__all__ = ["Conversation", "Graces"]

_log = logging.getLogger(__name__)

#: Seconds for an idle process to leave by itself once its pipe is closed.
_PATIENCE_S = 0.5

_NEEDS_VOLUME = (protocol.Analyse, protocol.AskFindings, protocol.Localise, protocol.Segment)


@dataclasses.dataclass(frozen=True)
class Graces:
    """Seconds that a cancelled request may go on before its process is ended, by where it runs."""

    accelerator_s: float
    cpu_s: float


@dataclasses.dataclass
class _Ticket:
    request: protocol.AnyRequest
    sent: bool = False


class Conversation:
    """The life of one client.

    Parameters
    ----------
    on_event
        Gets every event.
    options
        For the worker process.
    graces
        See :class:`Graces`.

    Attributes
    ----------
    stopping
        Set once no more events may be told.
    """

    def __init__(self, on_event: Callable[[events.Event], None], options: WorkerOptions, graces: Graces) -> None:
        self.stopping = threading.Event()
        self._on_event, self._options, self._graces = on_event, options, graces
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._woken, self._bell = Pipe(duplex=False)
        self._bell_lock = threading.Lock()
        # From here on: touched by the client's thread only.
        self._child: Child | None = None
        self._wanted: protocol.Configure | None = None
        self._configured: protocol.Configure | None = None
        self._volume: CTVolume | None = None
        self._may_share = False
        self._lending = Lending()
        self._open: dict[int, _Ticket] = {}
        self._winding_down: dict[int, float] = {}
        self._running: int | None = None
        self._device: str | None = None

    # -------------------------------------------------------------------- from any thread

    @property
    def pid(self) -> int | None:
        """Number of the engine's process, or None while there is none."""
        child = self._child
        return None if child is None else child.pid

    def leave(self, command: Callable[[], None]) -> None:
        """Leave a command (one of the methods below) for the client's thread."""
        self._commands.put(command)
        self._ring()

    def stop(self) -> None:
        """Ask :meth:`run` to return."""
        self.stopping.set()
        self._ring()

    def _ring(self) -> None:
        with self._bell_lock:
            if not self._bell.closed:
                self._bell.send_bytes(b"!")

    # ---------------------------------------------------------------- the client's thread

    def run(self) -> None:
        """Talk until :meth:`stop`, then end the process and remove every block."""
        try:
            while not self.stopping.is_set():
                self._step()
        finally:
            self._end_child()
            self._lending.clear()
            with self._bell_lock:
                self._bell.close()
            self._woken.close()
            # Whoever keeps this object must not thereby keep a volume or a window.
            self._open.clear()
            self._volume = self._wanted = None
            self._commands = queue.SimpleQueue()
            self._on_event = _to_nobody

    def _step(self) -> None:
        child = self._child
        watched: list[Any] = [self._woken]
        if child is not None:
            watched += [child.messages, child.sentinel]
        deadline = min(self._winding_down.values(), default=None)
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = connection.wait(watched, timeout)
        if child is not None and (child.messages in ready or child.sentinel in ready):
            self._read(child)
        if self._woken in ready:
            self._woken.recv_bytes()
            if not self.stopping.is_set():
                self._commands.get()()
        if deadline is not None and time.monotonic() >= deadline and deadline in self._winding_down.values():
            self._end_child()
        self._send_out()
        self._share_ahead()

    def _emit(self, event: events.Event) -> None:
        if self.stopping.is_set():
            return
        try:
            self._on_event(event)
        except Exception as error:  # a defect in the owner's callback must not cut it off from all later events
            _log.error("the owner of the engine raised %s on %s", type(error).__name__, type(event).__name__)

    # -------------------------------------------------------------------------- commands

    def configure(self, wanted: protocol.Configure) -> None:
        """Use another model from now on."""
        self.give_up(list(self._open))
        self._wanted = wanted

    def put(self, volume: CTVolume | None) -> None:
        """Talk about another volume from now on."""
        if volume is self._volume:
            return
        self.give_up([number for number, ticket in self._open.items() if isinstance(ticket.request, _NEEDS_VOLUME)])
        self._volume = volume
        self._may_share = volume is not None and volume.passport.blocking("analyse") is None
        message = self._lending.withdraw()
        if message is not None:
            self._send(message)

    def ask(self, request: protocol.AnyRequest) -> None:
        """Take a request; it is sent at the end of this step."""
        self._open[request.id] = _Ticket(request)

    def give_up(self, numbers: list[int]) -> None:
        """Cancel requests; those that are not open are ignored."""
        for number in numbers:
            ticket = self._open.pop(number, None)
            if ticket is None:
                continue
            if ticket.sent:
                self._send(protocol.Cancel(number))
            if number == self._running:
                self._winding_down[number] = time.monotonic() + self._grace()
            self._emit(events.Failed(number, Cancelled()))

    def _grace(self) -> float:
        # While a model is being loaded its device is not known, and killing it would only make that start again.
        slow = self._device is None or self._device.startswith("cpu")
        return self._graces.cpu_s if slow else self._graces.accelerator_s

    def unload(self) -> None:
        """End the process; the next request starts it again."""
        self.give_up(list(self._open))
        self._end_child()
        self._lending.clear()
        self._emit(events.Unloaded())

    # ----------------------------------------------------------------------- to the worker

    def _send(self, message: protocol.ToWorker) -> None:
        if self._child is None:
            return
        try:
            self._child.send(message)
        except OSError:
            _log.debug("the engine's process is gone")  # its end is read and told in the next step

    def _send_out(self) -> None:
        for number, ticket in list(self._open.items()):
            if ticket.sent:
                continue
            try:
                self._prepare(ticket.request)
            except Exception as error:  # a volume that cannot be sent costs its request, not the client's thread
                self._open.pop(number, None)
                self._emit(events.Failed(number, protocol.failure_of(error).error()))
                continue
            ticket.sent = True
            self._send(ticket.request)

    def _prepare(self, request: protocol.Request) -> None:
        if self._child is None:
            self._emit(events.Progressed(request.id, 0.0, "Starting the engine"))
            try:
                self._child = Child(self._options)
            except OSError as error:
                raise OutOfResources(f"The engine's process could not be started ({error.strerror}).") from error
        if self._wanted is not None and self._configured is not self._wanted:
            self._device = None
            self._send(self._wanted)
            self._configured = self._wanted
        if self._volume is not None and isinstance(request, _NEEDS_VOLUME):
            message = self._lending.show(self._volume, self.stopping.is_set)
            if message is not None:
                self._send(message)

    def _share_ahead(self) -> None:
        """Copy a new volume while nobody waits for it yet, so that the first question costs the window nothing."""
        if self._volume is None or not self._may_share or not self._commands.empty():
            return
        self._may_share = False
        try:
            self._lending.share(self._volume, self.stopping.is_set)
        except ColipriError as error:
            _log.debug("not shared ahead of the first request: %s", error.code)  # which tries again, and tells

    # --------------------------------------------------------------------- from the worker

    def _read(self, child: Child) -> None:
        sentence = None
        try:
            while child.messages.poll():
                self._take(wire.receive(child.messages, protocol.Message))
            if child.sentinel not in connection.wait([child.sentinel], 0):
                return
        except (EOFError, OSError):
            _log.debug("the engine's process closed its pipe")
        except Exception as error:  # whatever a damaged or foreign message provokes ends its sender, not this thread
            _log.error("the engine's process sent something unreadable (%s)", type(error).__name__)
            sentence = "The engine's process answered what cannot be understood; it starts again with the next request."
        lost = list(self._open)
        died = WorkerDied(sentence or sentence_of(self._end_child(_PATIENCE_S)))
        self._end_child()
        self._emit(events.Died(died))
        for number in lost:
            self._open.pop(number, None)
            self._emit(events.Failed(number, died))

    def _take(self, message: protocol.Message) -> None:
        match message:
            case protocol.Started(number):
                self._running = number
                if number not in self._open:  # given up on its way
                    self._winding_down[number] = time.monotonic() + self._grace()
            case protocol.Advanced(number, fraction, text):
                if number in self._open:
                    self._emit(events.Progressed(number, fraction, text))
            case events.Loaded():
                self._device = message.device
                self._emit(message)
            case protocol.Need(number, nbytes):
                self._send(self._lending.lend(number, nbytes, wanted=number in self._open))
            case protocol.Delivered():
                self._deliver(message)
            case protocol.Finished(number):
                if self._settle(number):
                    self._emit(events.Done(number))
            case protocol.Broke(number, failure):
                if self._settle(number):
                    self._emit(events.Failed(number, failure.error()))
            case protocol.Holding(serial):
                self._lending.let_go(serial)

    def _deliver(self, message: protocol.Delivered) -> None:
        name = message.parcel.block
        block = None if name is None else self._lending.take_back(name)
        try:
            if message.request in self._open:
                value = unpack(message.parcel, block, events.Answer)
                self._emit(events.Answered(message.request, value))
        finally:
            if block is not None:
                block.release()

    def _settle(self, number: int) -> bool:
        """Forget a request that the worker is through with; whether anybody still waited for it."""
        self._running = None
        self._winding_down.pop(number, None)
        self._lending.settle(number)
        return self._open.pop(number, None) is not None

    # ------------------------------------------------------------------------------ an end

    def _end_child(self, patience_s: float = 0.0) -> int | None:
        """End the process, if there is one; requests that are still open go to the next one."""
        child, self._child = self._child, None
        status = None if child is None else child.end(patience_s)
        self._lending.worker_gone()  # only now, when nobody else can be looking into the blocks
        self._configured = self._running = self._device = None
        self._winding_down.clear()
        for ticket in self._open.values():
            ticket.sent = False
        return status


def _to_nobody(_event: events.Event) -> None:
    """Stand in for the owner's callback after the end, so that nothing of the owner is kept alive."""
