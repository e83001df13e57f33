"""Studies on their way from disk to the screen: chosen, read in a thread, given up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_colipri.desktop.jobs import Jobs
from napari_colipri.desktop.loading import LoadedStudy, load_study, study_name
from napari_colipri.desktop.series import SeveralSeries

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

    def on_several(self, several: SeveralSeries) -> None:
        """Ask which series to open."""

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
        self._asking = False
        self._path: Path | None = None
        self._then: Callable[[], None] | None = None

    @property
    def opening(self) -> Path | None:
        """What is being read now or waits for a series to be chosen, or None."""
        return self._path if self._asking or self._job is not None else None

    def open(self, path: str | Path, then: Callable[[], None] | None = None, *, series_uid: str | None = None) -> None:
        """Read a study; what was being read before is given up.

        Parameters
        ----------
        path
            File or folder.
        then
            What to do once it is on screen; see :meth:`take_then`.
        series_uid
            Which series of a folder; without it the user is asked where there are several.
        """
        if self._job is not None:
            self._jobs.cancel(self._job)
        self._path, self._then, self._asking = Path(path), then, False
        self._room.on_opening(study_name(path))
        self._job = self._jobs.start(
            partial(load_study, path, series_uid=series_uid, ask=True),
            done=self._done,
            failed=self._failed,
            progress=self._room.on_progress,
        )

    def choose_series(self, uid: str) -> None:
        """Open the series that the user chose of the folder that was asked about."""
        if self._asking and self._path is not None:
            self.open(self._path, self._then, series_uid=uid)

    def cancel(self) -> bool:
        """Give up reading or asking; whether there was something to give up."""
        there = self.opening is not None
        job, self._job = self._job, None
        self._then, self._asking = None, False
        if job is not None:
            self._jobs.cancel(job)
        return there

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
        self._job = None
        if isinstance(error, SeveralSeries):
            self._asking = True
            self._room.on_several(error)
            return
        self._then = None
        self._room.on_not_opened(error)
