"""Which model the dock uses and where it runs; the line that says so; what made the answers on screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_colipri.desktop.engine_bridge import EngineBridge
from napari_colipri.desktop.jobs import Jobs
from napari_colipri.desktop.preferences import DEVICES, Preferences, save_preferences
from napari_colipri.engine.events import Loaded
from napari_colipri.errors import BundleError, Cancelled, ColipriError, WorkerDied

if TYPE_CHECKING:
    from napari_colipri.engine.bundle import Bundle
    from napari_colipri.progress import CancelToken, Progress

__all__ = ["Maker", "ModelChoice", "model_line"]


def model_line(title: str, notes: tuple[str, ...], running_on: str) -> str:
    """Return ``title · notes · running on CPU, float32``; a title that a note says again is left out."""
    start = " ".join(title.lower().split()[:2])
    said = any(note.lower().startswith(start) for note in notes)
    first, *rest = [*notes] if said else [title, *notes]
    running = f"running on {running_on}" if running_on else "not loaded yet"
    return " · ".join([first[:1].upper() + first[1:], *rest, running])


@dataclass(frozen=True)
class Maker:
    """What answers come from: they may stand side by side only where this is the same.

    Attributes
    ----------
    title
        Of the model.
    bundle_hash
        Of its bundle.
    device, precision
        As chosen, ``auto`` included.
    """

    title: str
    bundle_hash: str
    device: str
    precision: str

    def words(self, other: Maker | None) -> str:
        """Return this maker's name, told apart from ``other``."""
        if other is None or other.bundle_hash != self.bundle_hash:
            return f"“{self.title}”"
        return f"“{self.title}” on {DEVICES.get(self.device, self.device)}, precision {self.precision}"


class ModelChoice:
    """Opens (and so verifies) a bundle in a thread, and starts the engine with it.

    Parameters
    ----------
    bridge, jobs
        Engine and threads.
    open_bundle
        Opens a bundle by name, folder or, for None, the one that ships; called in a thread.
    preferences
        As saved.
    tell
        Called with the bundle once it is open, and again when model, device or precision have changed.
    say
        Called with the line about model and device, and with what went wrong about them, whenever either changes.
    """

    def __init__(
        self,
        bridge: EngineBridge,
        jobs: Jobs,
        open_bundle: Callable[[str | None], Bundle],
        preferences: Preferences,
        *,
        tell: Callable[[Bundle], None],
        say: Callable[[str, str], None],
    ) -> None:
        self._bridge, self._jobs, self._open_bundle, self._tell, self._say = bridge, jobs, open_bundle, tell, say
        self.preferences = preferences
        self.bundle: Bundle | None = None
        self.problem: ColipriError | None = None
        self.running_on = ""
        self.devices: tuple[str, ...] = ()
        self.note = ""
        self._trouble = ""
        self._wanted = False
        self._starting: int | None = None
        self._since = 0
        self._opening: int | None = None
        bridge.loaded.connect(self._on_loaded)
        bridge.failed.connect(self._on_failed)

    @property
    def maker(self) -> Maker | None:
        """What answers would come from now, or None without a model."""
        if self.bundle is None:
            return None
        return Maker(self.bundle.title, self.bundle.hash, self.preferences.device, self.preferences.precision)

    @property
    def checking(self) -> bool:
        """Whether a model is being opened and verified."""
        return self._opening is not None

    def verify(self) -> None:
        """Open the preferred bundle; where it is gone or damaged, the one that ships, and say so."""
        self._open(self.preferences, fall_back=True)

    def choose(self, preferences: Preferences) -> None:
        """Use another model, device or precision from now on and remember that; the former stays where it fails."""
        self.note = ""
        if preferences.model == self.preferences.model and self.bundle is not None:
            if preferences != self.preferences:
                self._take(self.bundle, preferences)
                self._remember()
            return
        self._open(preferences, fall_back=False)

    def stop_checking(self) -> None:
        """Give up opening a model; the former stays."""
        if self._opening is not None:
            self._jobs.cancel(self._opening)
            self._opening = None
            self._show()

    def start_engine(self) -> None:
        """Start the engine's process, unless it runs or starts already."""
        self._wanted = True
        if self.bundle is not None and self._starting is None and not self.running_on:
            self._trouble = ""
            self._starting = self._bridge.start(self.bundle, self.preferences.device, self.preferences.precision)
            self._since = self._starting

    def engine_ended(self) -> None:
        """Remember that the process is gone."""
        self._starting, self.running_on = None, ""
        self._show()

    # ------------------------------------------------------------------------------------------------ inside

    def _open(self, preferences: Preferences, *, fall_back: bool) -> None:
        self.stop_checking()
        open_bundle, name = self._open_bundle, preferences.model
        note = ""

        def work(_progress: Progress, _cancel: CancelToken) -> tuple[Bundle, Preferences, str]:
            try:
                return open_bundle(name), preferences, note
            except BundleError as error:
                if name is None or not fall_back:
                    raise
                sentence = f"The model “{name}” cannot be used: {error.message} The one that ships stands in for it."
                return open_bundle(None), replace(preferences, model=None), sentence

        def opened(value: tuple[Bundle, Preferences, str]) -> None:
            self._opening = None
            bundle, chosen, self.note = value
            self.problem = None
            self._take(bundle, chosen)
            if not fall_back:
                self._remember()

        self._say("Checking the model…", "")
        self._opening = self._jobs.start(work, done=opened, failed=self._on_problem)

    def _take(self, bundle: Bundle, preferences: Preferences) -> None:
        self.bundle, self.preferences = bundle, preferences
        self._starting, self.running_on, self._trouble = None, "", ""
        self._show()
        self._tell(bundle)
        if self._wanted:
            self.start_engine()

    def _remember(self) -> None:
        try:
            save_preferences(self.preferences)
        except OSError:
            self.note = "This choice could not be saved: it holds until the window is closed."
            self._show()

    def _on_problem(self, error: BaseException) -> None:
        self._opening = None
        known = isinstance(error, ColipriError)
        problem = error if known else ColipriError("The model could not be opened.", code="bundle")
        if self.bundle is None:
            self.problem = problem  # type: ignore[assignment]
            self._say("No model", str(problem))
        else:
            self.note = f"Not changed: {problem}"
            self._show()

    def _on_loaded(self, event: Loaded) -> None:
        if event.request < self._since:
            return  # of the model before: it was being loaded when another was chosen
        self._trouble = ""
        self.running_on, self.devices = event.description, event.devices
        self._starting = None
        self._show()

    def _on_failed(self, request: int, error: ColipriError) -> None:
        if request == self._starting:
            self._starting = None
            if not isinstance(error, Cancelled | WorkerDied):  # the end of the process is told elsewhere
                self._trouble = f"The model could not be loaded: {error.message}"
            self._show()

    def _show(self) -> None:
        if self.bundle is not None:
            line = model_line(self.bundle.title, self.bundle.notes, self.running_on)
            self._say(line, " ".join(part for part in (self.note, self._trouble) if part))
