"""The dock's state machine: what can follow what, and that late messages do no harm."""

from __future__ import annotations

from napari_colipri.ct.passport import Passport, passport_from_reasons, reason
from napari_colipri.desktop import state as s
from napari_colipri.desktop.state import Phase, State

FINE = Passport()
ODD = passport_from_reasons(reason("oblique", "Rotated by 7 degrees.", 7.0))
SINGLE = passport_from_reasons(reason("single_slice", "This is one slice, not a volume.", 1))


def test_a_study_runs_through_its_life() -> None:
    state = s.opening(State(), "chest")
    assert state.phase is Phase.OPENING
    assert state.working
    assert not state.can_analyse
    state = s.opened("chest", ODD)
    assert state.phase is Phase.READY
    assert state.can_analyse
    state = s.progressed(s.analysing(state), 0.5, "Encoding")
    assert (state.phase, state.fraction, state.text) == (Phase.BUSY, 0.5, "Encoding")
    state = s.done(state)
    assert state.phase is Phase.DONE
    assert state.analysed
    assert state.can_analyse


def test_a_study_that_may_be_shown_but_not_analysed_says_why() -> None:
    state = s.opened("slice", SINGLE)
    assert state.phase is Phase.REFUSED
    assert state.shown
    assert not state.can_analyse
    assert state.message == "This is one slice, not a volume."
    assert s.analysing(state) is state


def test_a_refused_study_leaves_what_was_on_screen() -> None:
    before = s.opened("chest", FINE)
    state = s.refused(s.opening(before, "report.txt"), "This is not an image.", None, "Choose another.")
    assert state.phase is Phase.REFUSED
    assert state.shown
    assert state.can_analyse


def test_progress_never_falls_and_comes_to_nothing_when_nobody_waits() -> None:
    busy = s.progressed(s.analysing(s.opened("chest", FINE)), 0.6, "Masks")
    assert s.progressed(busy, 0.2, "Masks").fraction == 0.6
    ready = s.cancelled(busy, "chest")
    assert ready.phase is Phase.READY
    assert s.progressed(ready, 0.9, "late") is ready
    assert s.done(ready) is ready


def test_cancelling_goes_back_to_where_the_run_began() -> None:
    analysed = s.done(s.analysing(s.opened("chest", FINE)))
    assert s.cancelled(s.analysing(analysed), "chest").phase is Phase.DONE
    assert s.cancelled(s.opening(analysed, "other"), "chest").study == "chest"
    assert s.cancelled(s.opening(State(), "chest")) == State()
    shown_only = s.opened("slice", SINGLE)
    assert s.cancelled(s.opening(shown_only, "other"), "slice") == shown_only
    assert s.cancelled(analysed) is analysed


def test_a_dead_engine_can_be_started_again_without_losing_results() -> None:
    analysed = s.done(s.analysing(s.opened("chest", FINE)))
    dead = s.failed(analysed, "The engine ended.", "Start it again.", restartable=True)
    assert dead.phase is Phase.FAILED
    assert dead.analysed
    assert dead.restartable
    assert s.restarted(dead).phase is Phase.DONE
    assert s.restarted(analysed) is analysed
