"""Typed errors. Each has a one-sentence message for the user and the exit status of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from napari_colipri.ct.passport import Passport

__all__ = [
    "BundleError",
    "Cancelled",
    "ColipriError",
    "LibraryError",
    "OutOfResources",
    "ProtocolError",
    "StudyRefused",
    "WorkerDied",
]


class ColipriError(Exception):
    """Base of every error that a user may see.

    Parameters
    ----------
    message
        One clear sentence that says what is wrong and what can be done.
    code
        Stable machine-readable code (lower case, underscores).
    """

    exit_status = 1

    def __init__(self, message: str, *, code: str = "error") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class StudyRefused(ColipriError):
    """A study cannot be shown (or, where ``stage`` is ``analyse``, cannot be analysed).

    Parameters
    ----------
    message, code
        As in :class:`ColipriError`; ``code`` is a passport code.
    path
        The file or folder. It may carry a patient's name: show it on screen or stderr, never log it.
    passport
        What is known about the study, when anything is.
    """

    exit_status = 3

    def __init__(self, message: str, *, code: str, path: Path | None = None, passport: Passport | None = None) -> None:
        super().__init__(message, code=code)
        self.path = path
        self.passport = passport

    def at(self, path: Path) -> StudyRefused:
        """Return the same refusal of another path: the one that the user gave, where a file in it was at fault."""
        return StudyRefused(self.message, code=self.code, path=path, passport=self.passport)


class BundleError(ColipriError):
    """A model bundle is missing, incomplete, changed or does not fit."""

    exit_status = 4


class LibraryError(ColipriError):
    """A case library is missing, damaged or does not fit the bundle."""

    exit_status = 4


class OutOfResources(ColipriError):
    """Device memory, main memory or disk space ran out."""

    exit_status = 5


class Cancelled(ColipriError):
    """The user cancelled; nothing was written."""

    exit_status = 130

    def __init__(self, message: str = "Cancelled.") -> None:
        super().__init__(message, code="cancelled")


class ProtocolError(ColipriError):
    """A message between the window's process and the engine's is not one that they agreed on.

    Parameters
    ----------
    what
        What is wrong with it, after a colon; it quotes no value of the message.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"The two processes do not understand each other: {what}.", code="protocol")


class WorkerDied(ColipriError):
    """The engine's process ended unexpectedly; it can be started again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="worker_died")
