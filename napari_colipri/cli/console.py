"""What every command shares: exit statuses, cancelling, progress on stderr, answers on stdout."""

from __future__ import annotations

import contextlib
import errno
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import typer

from napari_colipri.atomic import to_json_text
from napari_colipri.errors import Cancelled, ColipriError
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = [
    "CANCELLED",
    "NO_RESOURCES",
    "USAGE",
    "cancellable",
    "existing",
    "guarded",
    "print_json",
    "say",
    "show_progress",
    "stop",
]

USAGE, NO_RESOURCES, CANCELLED = 2, 5, 130
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}

_P = ParamSpec("_P")
_R = TypeVar("_R")


def say(text: str) -> None:
    """Write one line to stderr."""
    print(text, file=sys.stderr, flush=True)


def print_json(obj: Any) -> None:
    """Write a JSON object to stdout."""
    sys.stdout.write(to_json_text(obj))


def stop(status: int, text: str = "") -> typer.Exit:
    """Say why on stderr and return the exception that ends the command with ``status``."""
    if text:
        say(f"napari-colipri: {text}")
    return typer.Exit(status)


def guarded(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn errors into one line on stderr and the exit status of the contract.

    A refused study's line holds the passport's code; no traceback is shown for what a user can bring about.
    """

    @functools.wraps(command)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return command(*args, **kwargs)
        except Cancelled as error:
            raise stop(error.exit_status, error.message) from None
        except KeyboardInterrupt:
            raise stop(CANCELLED, "Cancelled.") from None
        except ColipriError as error:
            raise stop(error.exit_status, f"{error.code}: {error.message}") from None
        except MemoryError:
            raise stop(NO_RESOURCES, "out_of_memory: There is not enough memory.") from None
        except BrokenPipeError:
            raise typer.Exit(0) from None  # the reader of our output has gone, as in `… | head`
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise stop(NO_RESOURCES, "disk_full: No space left on the disk; nothing was written.") from None
            place = f" {error.filename}" if error.filename else ""
            raise stop(USAGE, f"cannot read or write{place}: {error.strerror or error}.") from None

    return wrapper


def existing(path: Path) -> Path:
    """Return ``path`` if something is there; end with a usage error if not."""
    if not path.exists():
        raise stop(USAGE, f"There is no file or folder {path}.")
    return path


@contextlib.contextmanager
def cancellable() -> Iterator[CancelToken]:
    """Yield a token that Ctrl-C or a polite kill sets; a second Ctrl-C ends the work where it stands."""
    token = CancelToken()
    if threading.current_thread() is not threading.main_thread():
        yield token
        return

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if token.cancelled:
            raise KeyboardInterrupt
        token.cancel()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield token
        token.check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """Yield a progress callback that draws a bar on stderr where that is a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield report_nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("Starting", total=1.0)
        highest = 0.0

        def update(fraction: float, text: str) -> None:
            nonlocal highest
            highest = max(highest, min(1.0, fraction))
            bars.update(task, completed=highest, description=text)

        yield update
