"""The engine's process as its parent sees it: started, written to, read from, ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from napari_colipri.engine import protocol, wire
from napari_colipri.engine.factory import WorkerOptions
from napari_colipri.engine.worker import serve

__all__ = ["Child", "sentence_of"]


_hiding = threading.Lock()


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keep a spawned process from importing the parent's main module a second time.

    The worker needs nothing of it. It may be napari, pytest, a console script, or a user's script without the
    ``if __name__ == "__main__"`` guard, which would open a second window.
    """
    with _hiding:
        names: dict[str, Any] = vars(sys.modules["__main__"])
        hidden: dict[str, Any] = {name: names[name] for name in ("__file__", "__spec__") if name in names}
        names.pop("__file__", None)
        names["__spec__"] = None
        try:
            yield
        finally:
            del names["__spec__"]
            names.update(hidden)


class Child:
    """One worker process and the two pipes to it.

    Parameters
    ----------
    options
        For the worker.

    Attributes
    ----------
    messages
        Read end of what the worker says; at its end (``EOFError``) the process is gone.
    pid
        Number of the process; may be read from any thread.

    Raises
    ------
    OSError
        If no process can be started.
    """

    def __init__(self, options: WorkerOptions) -> None:
        context = multiprocessing.get_context("spawn")
        # One pipe for each direction: each end then has one user thread, which every platform's pipes allow.
        theirs_in, self._requests = context.Pipe(duplex=False)
        self.messages, theirs_out = context.Pipe(duplex=False)
        # Spawning is the one place where multiprocessing pickles: these arguments, for a process that does not run yet.
        # There is no other way to hand it the pipes' ends. Nothing that it sends is ever unpickled.
        self._process = context.Process(
            target=serve, args=(theirs_in, theirs_out, options), name="napari-colipri engine", daemon=True
        )
        try:
            with _main_module_hidden():
                self._process.start()
        except BaseException:
            self._requests.close()
            self.messages.close()
            raise
        finally:
            # The child has its own copies; with ours open its death would not be the end of the pipe.
            theirs_in.close()
            theirs_out.close()
        self.pid = self._process.pid

    @property
    def sentinel(self) -> int:
        """Something :func:`multiprocessing.connection.wait` takes; ready when the process has ended."""
        return self._process.sentinel

    def send(self, message: protocol.ToWorker) -> None:
        """Write a message; ``OSError`` if the process is gone."""
        wire.send(self._requests, message)

    def end(self, patience_s: float) -> int | None:
        """End the process and return its exit status (negative: a signal); afterwards this object is of no use.

        Parameters
        ----------
        patience_s
            How long it may take to leave by itself after its pipe was closed, which it does at once unless a
            library holds its interpreter.
        """
        self._requests.close()
        self._process.join(patience_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        status = self._process.exitcode
        self._process.close()
        self.messages.close()
        return status


def sentence_of(status: int | None) -> str:
    """Say in one sentence how a process ended that nobody wanted to end, given its exit status."""
    again = "it starts again with the next request"
    if status is not None and status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        cause = "was ended from outside, perhaps for lack of memory" if name == "SIGKILL" else f"crashed ({name})"
        return f"The engine's process {cause}; {again}."
    return f"The engine's process ended unexpectedly (status {status}); {again}."
