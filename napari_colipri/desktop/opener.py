"""Studies on their way from disk to the screen: chosen, read in a thread, given up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_colipri.desktop.jobs import Jobs
from napari_colipri.desktop.loading import LoadedStudy, load_study, study_name

__all__ = ["Opener", "Room"]

_FORMATS = "CT studies (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.dcm *.zip);;All files (*)"


class Room(Protocol):
    """Whoever shows studies."""

    def open_study(self, path: str | Path) -> None:
        """Open what the user chose."""

    def on_opening(self, name: str) -> None:
        """Say that reading begins."""

    def on_progress(self, fraction: float, text: str) -> None:
        """Say that it goes on."""

    def on_opened(self, study: LoadedStudy) -> None:
        """Show the study."""

    def on_not_opened(self, error: BaseException) -> None:
        """Say why there is none: it is refused, or something failed."""


class Opener:
    """Reads one study at a time.

    Parameters
    ----------
    parent
        Window for the dialogs.
    jobs
        Threads.
    room
        Who is told.
    """

    def __init__(self, parent: QWidget, jobs: Jobs, room: Room) -> None:
        self._parent, self._jobs, self._room = parent, jobs, room
        self._job: int | None = None
        self._path: Path | None = None
        self._then: Callable[[], None] | None = None

    @property
    def opening(self) -> Path | None:
        """What is being read now, or None."""
        return None if self._job is None else self._path

    def open(self, path: str | Path, then: Callable[[], None] | None = None) -> None:
        """Read a study; what was being read before is given up.

        Parameters
        ----------
        path
            File or folder.
        then
            What to do once it is on screen; see :meth:`take_then`.
        """
        if self._job is not None:
            self._jobs.cancel(self._job)
        self._path, self._then = Path(path), then
        self._room.on_opening(study_name(path))
        self._job = self._jobs.start(
            partial(load_study, path), done=self._done, failed=self._failed, progress=self._room.on_progress
        )

    def cancel(self) -> bool:
        """Give up reading; whether something was being read."""
        job, self._job = self._job, None
        self._then = None
        if job is not None:
            self._jobs.cancel(job)
        return job is not None

    def take_then(self) -> Callable[[], None] | None:
        """Return what is to be done now that the study is on screen, once."""
        then, self._then = self._then, None
        return then

    def choose_file(self) -> None:
        """Ask for a file and open it."""
        path, _ = QFileDialog.getOpenFileName(self._parent, "Open a CT study", "", _FORMATS)
        if path:
            self._room.open_study(path)

    def choose_folder(self) -> None:
        """Ask for a folder and open it."""
        path = QFileDialog.getExistingDirectory(self._parent, "Open a folder of DICOM files")
        if path:
            self._room.open_study(path)

    def close(self) -> None:
        """Hold nothing any more."""
        self._job = self._path = self._then = None

    def _done(self, study: LoadedStudy) -> None:
        self._job = None
        self._room.on_opened(study)

    def _failed(self, error: BaseException) -> None:
        self._job = self._then = None
        self._room.on_not_opened(error)
