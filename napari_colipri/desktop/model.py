"""Which model the dock uses, and the line that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_colipri.desktop.engine_bridge import EngineBridge
from napari_colipri.desktop.jobs import Jobs
from napari_colipri.errors import ColipriError

if TYPE_CHECKING:
    from napari_colipri.engine.bundle import Bundle
    from napari_colipri.progress import CancelToken, Progress

__all__ = ["ModelChoice", "model_line"]


def model_line(title: str, notes: tuple[str, ...], running_on: str) -> str:
    """Return ``title · notes · running on CPU, float32``; a title that a note says again is left out."""
    start = " ".join(title.lower().split()[:2])
    said = any(note.lower().startswith(start) for note in notes)
    first, *rest = [*notes] if said else [title, *notes]
    running = f"running on {running_on}" if running_on else "not loaded yet"
    return " · ".join([first[:1].upper() + first[1:], *rest, running])


class ModelChoice:
    """Opens (and so verifies) a bundle in a thread, then starts the engine with it.

    Parameters
    ----------
    open_bundle
        Opens the bundle; called in a thread.
    tell
        Called with the bundle once it is open.
    say
        Called with the line about model and device whenever it changes.
    """

    def __init__(
        self,
        bridge: EngineBridge,
        jobs: Jobs,
        open_bundle: Callable[[], Bundle],
        *,
        tell: Callable[[Bundle], None],
        say: Callable[[str], None],
    ) -> None:
        self._bridge, self._jobs, self._open_bundle, self._tell, self._say = bridge, jobs, open_bundle, tell, say
        self._wanted = False
        self.running_on = ""
        self._starting = False
        self.bundle: Bundle | None = None
        self.problem: ColipriError | None = None
        bridge.loaded.connect(self._on_loaded)

    def verify(self) -> None:
        """Open the bundle and say what it is; the engine starts when a study needs it."""
        open_bundle = self._open_bundle

        def work(_progress: Progress, _cancel: CancelToken) -> Bundle:
            return open_bundle()

        self._say("Checking the model…")
        self._jobs.start(work, done=self._on_open, failed=self._on_problem)

    def start_engine(self) -> None:
        """Start the engine's process, unless it runs or starts already."""
        if self.bundle is not None and not self._starting:
            self._starting = True
            self._bridge.start(self.bundle)
        else:
            self._wanted = True

    def engine_ended(self) -> None:
        """Remember that the process is gone."""
        self._starting, self.running_on = False, ""
        self._show()

    def _on_open(self, bundle: Bundle) -> None:
        self.bundle, self.problem = bundle, None
        self._show()
        self._tell(bundle)
        if self._wanted:
            self.start_engine()

    def _on_problem(self, error: BaseException) -> None:
        known = isinstance(error, ColipriError)
        self.problem = error if known else ColipriError("The model could not be opened.", code="bundle")  # type: ignore[assignment]
        self._say(f"No model: {self.problem.message}" if self.problem else "")

    def _on_loaded(self, description: str) -> None:
        self.running_on = description
        self._show()

    def _show(self) -> None:
        if self.bundle is not None:
            self._say(model_line(self.bundle.title, self.bundle.notes, self.running_on))
