"""The dock's state: one frozen value, changed only by the functions here.

Each function is one thing that can happen. Something that no longer matters (progress of a cancelled run, a result of a
study that was closed) returns the state unchanged, so late messages do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from napari_colipri.ct.passport import Passport

__all__ = [
    "Phase",
    "State",
    "analysing",
    "anew",
    "cancelled",
    "choosing",
    "done",
    "failed",
    "opened",
    "opening",
    "progressed",
    "reexamined",
    "refused",
    "removed",
    "restarted",
    "restated",
]


class Phase(StrEnum):
    """What the dock is doing."""

    EMPTY = "empty"
    OPENING = "opening"
    CHOOSING = "choosing"
    READY = "ready"
    BUSY = "busy"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class State:
    """Everything the status card shows.

    Attributes
    ----------
    phase
        See :class:`Phase`.
    shown
        Whether a study is on the screen.
    study
        Name of the study on screen or being opened; for the screen only, it may carry a patient's name.
    fraction, text
        Progress in [0, 1] and its phrase, while opening or busy.
    message, advice
        The sentence of a refusal or failure, and what to do about it.
    passport
        Of the study on screen (or of a refused one, where anything is known).
    analysed
        Whether results of this study are on screen.
    foreign
        The sentence that the results on screen are those of another model than the one chosen now, or nothing.
    restartable
        Whether the engine ended and can be started again.
    """

    phase: Phase = Phase.EMPTY
    shown: bool = False
    study: str = ""
    fraction: float = 0.0
    text: str = ""
    message: str = ""
    advice: str = ""
    passport: Passport | None = None
    analysed: bool = False
    foreign: str = ""
    restartable: bool = False

    @property
    def working(self) -> bool:
        """Whether something runs that can be cancelled."""
        return self.phase in (Phase.OPENING, Phase.CHOOSING, Phase.BUSY)

    @property
    def can_analyse(self) -> bool:
        """Whether *Analyse* would start."""
        return self.shown and not self.working and self.passport is not None and self.passport.analyse != "refuse"


def opening(state: State, study: str) -> State:
    """Begin to read a study. What is on screen stays until the new one is there."""
    return replace(
        state, phase=Phase.OPENING, study=study, fraction=0.0, text="Reading", message="", advice="", restartable=False
    )


def choosing(state: State) -> State:
    """Ask which of several series to open."""
    return replace(state, phase=Phase.CHOOSING, fraction=0.0, text="")


def opened(study: str, passport: Passport) -> State:
    """Return the state of a study that is on screen now; its passport may still forbid analysis."""
    fresh = State(phase=Phase.READY, shown=True, study=study, passport=passport)
    blocking = passport.blocking("analyse")
    if blocking is None:
        return fresh
    advice = "It can be viewed and measured; models do not run on it."
    return replace(fresh, phase=Phase.REFUSED, message=blocking.message, advice=advice)


def refused(state: State, message: str, passport: Passport | None, advice: str) -> State:
    """Say that a study cannot be shown. A study that was on screen before is still there."""
    if state.shown:
        return replace(state, phase=Phase.REFUSED, message=message, advice=advice, restartable=False)
    return State(phase=Phase.REFUSED, study=state.study, message=message, advice=advice, passport=passport)


def analysing(state: State) -> State:
    """Begin an analysis; unchanged where none is possible."""
    if not state.can_analyse:
        return state
    return replace(
        state, phase=Phase.BUSY, fraction=0.0, text="Starting the engine", message="", advice="", restartable=False
    )


def anew(state: State) -> State:
    """Say that no results are on screen any more: those of another model were taken off before this analysis."""
    return replace(state, analysed=False, foreign="")


def restated(state: State, foreign: str) -> State:
    """Say whose the results on screen are; see :attr:`State.foreign`."""
    return replace(state, foreign=foreign)


def reexamined(state: State, passport: Passport) -> State:
    """Take another passport of the study on screen: another model was trained on other input."""
    return replace(state, passport=passport)


def progressed(state: State, fraction: float, text: str) -> State:
    """Move the bar; it never moves backwards within one run."""
    if not state.working or state.phase is Phase.CHOOSING:
        return state
    return replace(state, fraction=max(state.fraction, min(1.0, fraction)), text=text)


def done(state: State, message: str = "") -> State:
    """Say that the results are on screen."""
    if state.phase is not Phase.BUSY:
        return state
    return replace(state, phase=Phase.DONE, fraction=1.0, text="", message=message, analysed=True, foreign="")


def cancelled(state: State, study: str = "") -> State:
    """Return to where the run was started from; ``study`` is the name of what is on screen."""
    if not state.working:
        return state
    if not state.shown or state.passport is None:
        return State()
    if state.passport.analyse == "refuse":
        return opened(study, state.passport)
    phase = Phase.DONE if state.analysed else Phase.READY
    return replace(state, phase=phase, study=study, fraction=0.0, text="", message="Cancelled.")


def failed(state: State, message: str, advice: str, *, restartable: bool = False) -> State:
    """Say in one sentence what failed and in another what to do; results on screen stay."""
    return replace(
        state, phase=Phase.FAILED, fraction=0.0, text="", message=message, advice=advice, restartable=restartable
    )


def restarted(state: State) -> State:
    """Say that the engine runs again after it had ended."""
    if not state.restartable:
        return state
    phase = Phase.DONE if state.analysed else Phase.READY if state.shown else Phase.EMPTY
    return replace(state, phase=phase, message="The engine runs again.", advice="", restartable=False)


def removed(state: State) -> State:
    """Say that the study on screen is gone; another one may be on its way."""
    if state.phase not in (Phase.OPENING, Phase.CHOOSING):
        return State()
    return State(phase=state.phase, study=state.study, fraction=state.fraction, text=state.text)
