"""The engine's own process: one main thread that computes, one that listens.

Only this process imports torch. It owns no memory block and writes no file, so it can be ended at any moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import sys
import threading
import traceback
import warnings
from multiprocessing import connection, parent_process
from typing import Any

import numpy as np

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine import events, protocol, wire
from napari_colipri.engine.factory import EngineSession, WorkerOptions, make_session
from napari_colipri.engine.shared import AttachedArray, pack
from napari_colipri.engine.stages import Stages
from napari_colipri.engine.types import Encoding, Segmentation
from napari_colipri.errors import BundleError, Cancelled, ColipriError, ProtocolError, StudyRefused
from napari_colipri.progress import CancelToken, Progress

__all__ = ["serve"]

_log = logging.getLogger(__name__)


def serve(requests: connection.Connection, messages: connection.Connection, options: WorkerOptions) -> None:
    """Run until the other side closes ``requests``: the target of the child process.

    Parameters
    ----------
    requests
        Read end; carries :data:`~napari_colipri.engine.protocol.ToWorker`.
    messages
        Write end; carries :data:`~napari_colipri.engine.protocol.Message`.
    options
        See :class:`WorkerOptions`.
    """
    _settle(options)
    worker = _Worker(messages, options)
    threading.Thread(target=_listen, args=(requests, worker), name="listen", daemon=True).start()
    worker.run()


def _settle(options: WorkerOptions) -> None:
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, about each other: this process has no reader
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Threads of a finished parallel region sleep instead of spinning on the cores that the window draws with.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            import psutil

            psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            os.nice(options.nice)


def _leave_room() -> None:
    """Keep one core for the window where torch would take all of more than two."""
    torch: Any = sys.modules.get("torch")
    if torch is None or "OMP_NUM_THREADS" in os.environ:
        return
    cores = os.cpu_count() or 1
    if cores > 2:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))


def _listen(requests: connection.Connection, worker: _Worker) -> None:
    parent = parent_process()
    watched: list[Any] = [requests] if parent is None else [requests, parent.sentinel]
    try:
        while requests in connection.wait(watched):
            worker.receive(wire.receive(requests, protocol.ToWorker))
    except (EOFError, OSError, ProtocolError):
        _log.debug("the other side is gone")
    # Nothing here needs tidying and the main thread may be deep inside a model: leave at once.
    os._exit(0)


class _Worker:
    def __init__(self, messages: connection.Connection, options: WorkerOptions) -> None:
        self._messages = messages
        self._options = options
        self._inbox: queue.SimpleQueue[protocol.Configure | protocol.HoldVolume | protocol.Request] = (
            queue.SimpleQueue()
        )
        self._blocks: queue.SimpleQueue[protocol.Lend] = queue.SimpleQueue()
        self._tokens: dict[int, CancelToken] = {}
        self._wanted: protocol.Configure | None = None
        self._session: EngineSession | None = None
        self._announced: tuple[str, str, str] | None = None
        self._volume: CTVolume | None = None
        self._attached: AttachedArray | None = None
        self._still_seen: list[AttachedArray] = []

    # ------------------------------------------------------------------ listening thread

    def receive(self, message: protocol.ToWorker) -> None:
        """Take a message from the other side; called by the listening thread."""
        if isinstance(message, protocol.Cancel):
            token = self._tokens.get(message.request)
            if token is not None:
                token.cancel()
        elif isinstance(message, protocol.Lend):
            self._blocks.put(message)
        elif isinstance(message, protocol.Request):
            self._tokens[message.id] = CancelToken()
            self._inbox.put(message)
        else:
            self._inbox.put(message)

    # ----------------------------------------------------------------------- main thread

    def run(self) -> None:
        """Work through what arrives; never returns (the listening thread ends the process)."""
        while True:
            message = self._inbox.get()
            if isinstance(message, protocol.Configure):
                if self._session is not None:
                    self._session.unload()
                self._session, self._wanted = None, message
            elif isinstance(message, protocol.HoldVolume):
                self._hold(message)
            else:
                self._answer(message)

    def _send(self, message: protocol.Message) -> None:
        try:
            wire.send(self._messages, message)
        except OSError:
            os._exit(0)  # the other side is gone: there is nobody to tell

    def _hold(self, message: protocol.HoldVolume) -> None:
        self._volume = None
        if self._attached is not None:
            self._still_seen.append(self._attached)
            self._attached = None
        # A session may still hold a view of an older volume: try again with the next one.
        self._still_seen = [item for item in self._still_seen if not item.close()]
        if message.hu is not None:
            self._attached = AttachedArray(message.hu)
            self._volume = _volume_of(message, self._attached)
        self._send(protocol.Holding(message.serial))

    def _answer(self, request: protocol.Request) -> None:
        token = self._tokens[request.id]
        try:
            token.check()
            self._send(protocol.Started(request.id))
            self._do(request, token)
            self._send(protocol.Finished(request.id))
        except Exception as error:  # a defect in a model must become a sentence, not a dead process
            if not isinstance(error, ColipriError):
                _log.debug("%s in the engine at %s", type(error).__name__, _places(error))
            self._send(protocol.Broke(request.id, protocol.failure_of(error)))
        finally:
            del self._tokens[request.id]

    def _do(self, request: protocol.Request, token: CancelToken) -> None:
        stages = Stages(lambda fraction, text: self._send(protocol.Advanced(request.id, fraction, text)))
        loading = 0.0 if self._session is not None else 0.2
        session = self._ready(request.id, stages.part(0.0, 1.0 if isinstance(request, protocol.Load) else loading))
        token.check()
        if isinstance(request, protocol.EmbedText):
            self._deliver(request.id, np.asarray(session.embed_text(list(request.texts)), dtype=np.float32))
        elif not isinstance(request, protocol.Load):
            self._look(request, session, stages, token, loading)
        self._announce(request.id)
        stages(1.0, "Done")

    def _look(
        self, request: protocol.Request, session: EngineSession, stages: Stages, token: CancelToken, start: float
    ) -> None:
        volume = self._analysable()
        encoded = start + (1.0 - start) * 0.6
        encoding = session.encode(volume, stages.part(start, encoded), token)
        token.check()
        if isinstance(request, protocol.AskFindings):
            self._deliver(request.id, session.findings(encoding, request.prompts))
        elif isinstance(request, protocol.Localise):
            self._deliver(request.id, session.localise(encoding, request.text))
        elif isinstance(request, protocol.Segment):
            self._deliver(request.id, session.segment(volume, encoding, stages.part(encoded, 1.0), token))
        elif isinstance(request, protocol.Analyse):
            self._deliver(request.id, encoding)
            stages(encoded, "Findings")
            self._deliver(request.id, session.findings(encoding, request.prompts))
            token.check()
            found = encoded + (1.0 - encoded) * 0.1
            stages(found, "Masks")
            drawn = found + (1.0 - found) * 0.7
            self._deliver(request.id, self._masks(session, volume, encoding, stages.part(found, drawn), token))
            token.check()
            self._write(request.id, session, encoding, stages.part(drawn, 1.0), token)

    @staticmethod
    def _masks(
        session: EngineSession, volume: CTVolume, encoding: Encoding, progress: Progress, token: CancelToken
    ) -> Segmentation | events.Absent:
        try:
            return session.segment(volume, encoding, progress, token)
        except BundleError as error:
            # A bundle without a decoder is whole: its other answers stand, and this one's place says why it is empty.
            if error.code != "no_decoder":
                raise
            return events.Absent("segmentation", error.message, error.code)

    def _write(
        self, request: int, session: EngineSession, encoding: Encoding, progress: Progress, token: CancelToken
    ) -> None:
        try:
            self._deliver(request, session.generate_report(encoding, progress, token))
        except BundleError as error:
            if error.code != "no_report_decoder":  # most bundles write no text, and the draft says so
                raise

    def _analysable(self) -> CTVolume:
        if self._volume is None:
            raise ColipriError("No study is open in the engine.", code="no_volume")
        blocking = self._volume.passport.blocking("analyse")
        if blocking is not None:
            raise StudyRefused(blocking.message, code=blocking.code, passport=self._volume.passport)
        return self._volume

    def _ready(self, request: int, progress: Progress) -> EngineSession:
        if self._session is None:
            if self._wanted is None:
                raise ColipriError("No model is chosen.", code="no_bundle")
            progress(0.0, "Loading the model")
            wanted = self._wanted
            session = make_session(self._options, wanted.bundle, device=wanted.device, precision=wanted.precision)
            session.load(progress)
            _leave_room()
            self._session, self._announced = session, None
        self._announce(request)
        return self._session

    def _announce(self, request: int) -> None:
        """Say where the session computes, again when it had to move because memory ran out."""
        session = self._session
        if session is None:
            return
        state = (str(session.device), session.precision, session.description)
        if state != self._announced:
            self._announced = state
            self._send(events.Loaded(request, *state, devices=tuple(session.devices)))

    def _deliver(self, request: int, value: events.Answer) -> None:
        parcel = pack(value, lambda nbytes: self._borrow(request, nbytes))
        self._send(protocol.Delivered(request, parcel))

    def _borrow(self, request: int, nbytes: int) -> str:
        self._send(protocol.Need(request, nbytes))
        lent = self._blocks.get()
        if lent.block is None:
            raise lent.failure.error() if lent.failure is not None else Cancelled()
        return lent.block


def _volume_of(message: protocol.HoldVolume, attached: AttachedArray) -> CTVolume:
    if (
        attached.array is None
        or message.affine is None
        or message.geometry is None
        or message.source is None
        or message.passport is None
    ):
        raise ValueError("an incomplete volume")
    volume = CTVolume(attached.array, message.affine, message.geometry, message.source, message.passport)
    volume.__dict__["fingerprint"] = message.fingerprint  # a cached property: hashed on the other side already
    return volume


def _places(error: BaseException) -> str:
    """Where an error arose, as functions and lines: no file names, no message, either may hold a patient's name."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
