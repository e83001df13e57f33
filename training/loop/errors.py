"""What can go wrong with a run, in one sentence each."""

from __future__ import annotations

from napari_colipri.errors import ColipriError

__all__ = ["CheckpointError", "ConfigError", "Diverged"]


class ConfigError(ColipriError):
    """A configuration names something that there is not, or a value that cannot be."""

    exit_status = 2

    def __init__(self, message: str, *, code: str = "config") -> None:
        super().__init__(message, code=code)


class CheckpointError(ColipriError):
    """A run's folder holds no checkpoint, or one that belongs to another configuration."""

    exit_status = 4

    def __init__(self, message: str, *, code: str = "checkpoint") -> None:
        super().__init__(message, code=code)


class Diverged(ColipriError):
    """Too many steps in a row gave no finite gradient."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="diverged")
