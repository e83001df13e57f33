"""Errors of data preparation: one clear sentence each, with the file, the line and the field where there is one."""

from __future__ import annotations

from napari_colipri.errors import ColipriError

__all__ = ["DataError", "ManifestError", "PlanError"]


class DataError(ColipriError):
    """A data set, a table or a prepared folder is not as it must be."""

    exit_status = 2

    def __init__(self, message: str, *, code: str = "data") -> None:
        super().__init__(message, code=code)


class ManifestError(DataError):
    """A manifest is wrong; the message names line and field."""

    def __init__(self, message: str, *, code: str = "manifest") -> None:
        super().__init__(message, code=code)


class PlanError(DataError):
    """A prepared folder was made with other settings than those asked for now."""

    def __init__(self, message: str, *, code: str = "plan") -> None:
        super().__init__(message, code=code)
