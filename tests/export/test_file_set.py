"""A set of files is the old one or the new one, at whichever step the program ends."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from napari_colipri.export import file_set
from napari_colipri.export.file_set import finish, replaced_set

NAMES = ("a.json", "b.json", "c.json", "last.json")
OLD, NEW = ("a.json", "b.json", "last.json"), ("a.json", "c.json", "last.json")
#: os.rename and os.replace after the new set is written: into the journal, 3 old away, 3 new placed, journal retired.
STEPS = 1 + len(OLD) + len(NEW) + 1


class Killed(BaseException):
    """Ends the program: nothing after it happens, neither an except clause nor a finally."""


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


OLD_SET = {**{name: f"old {name}" for name in OLD}, "notes.txt": "mine"}
NEW_SET = {**{name: f"new {name}" for name in NEW}, "notes.txt": "mine"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in OLD_SET.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def replace_all(folder: Path) -> None:
    with replaced_set(folder, NAMES) as stage:
        for name in NEW:
            (stage / name).write_text(f"new {name}")


@contextmanager
def stopped_at(step: int, how: BaseException, *, for_good: bool) -> Iterator[None]:
    """Fail instead of the rename of this number; for good: every later one too, and nothing is tidied up."""
    count = iter(range(10_000))
    real = {"rename": os.rename, "replace": os.replace, "rmtree": shutil.rmtree}

    def counted(name: str) -> Any:
        def move(source: Any, target: Any) -> None:
            if ".part" in str(target) and str(target).endswith(".json"):
                return real[name](source, target)  # of the stage's own files
            number = next(count)
            if number == step or (for_good and number > step):
                raise how
            return real[name](source, target)

        return move

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", counted("rename"))
        patch.setattr(os, "replace", counted("replace"))
        if for_good:
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        yield


def test_a_new_set_takes_the_old_ones_place_and_leaves_other_files_alone(folder: Path) -> None:
    with stopped_at(STEPS, Killed(), for_good=False):
        replace_all(folder)
    assert content(folder) == NEW_SET
    assert leftovers(folder) == []


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("how", [OSError(errno.EIO, "no"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_an_error_at_any_rename_leaves_one_of_the_two_sets_whole(folder: Path, step: int, how: BaseException) -> None:
    with stopped_at(step, how, for_good=False), pytest.raises(type(how)):
        replace_all(folder)
    assert content(folder) == (OLD_SET if step < STEPS - 1 else NEW_SET)
    replace_all(folder)
    assert content(folder) == NEW_SET
    assert leftovers(folder) == []


@pytest.mark.parametrize("step", range(STEPS))
def test_a_program_killed_at_any_rename_is_finished_by_the_next(folder: Path, step: int) -> None:
    with stopped_at(step, Killed(), for_good=True), pytest.raises(Killed):
        replace_all(folder)
    between = content(folder)
    if "last.json" in between:
        assert between in (OLD_SET, NEW_SET)
    assert finish(folder) == (step > 0)
    assert content(folder) == (NEW_SET if step else OLD_SET)
    assert not finish(folder)


@pytest.mark.parametrize("second", range(STEPS - 1))
@pytest.mark.parametrize("first", range(1, STEPS))
def test_a_finish_that_is_killed_too_is_finished_by_the_one_after(folder: Path, first: int, second: int) -> None:
    with stopped_at(first, Killed(), for_good=True), pytest.raises(Killed):
        replace_all(folder)
    with stopped_at(second, Killed(), for_good=True):
        try:
            finish(folder)
        except Killed:
            assert second < STEPS
    finish(folder)
    assert content(folder) == NEW_SET


@contextmanager
def refused(step: int) -> Iterator[None]:
    """Refuse one os.replace, the one of this number."""
    count, real = iter(range(10_000)), os.replace

    def replace(source: Any, target: Any) -> None:
        if ".part" not in str(target) and next(count) == step:
            raise OSError(errno.EIO, "no")
        real(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        yield


@pytest.mark.parametrize("first", range(STEPS - 2))
@pytest.mark.parametrize("second", range(1, STEPS))
def test_a_way_back_that_is_cut_short_leaves_a_whole_set_to_the_next(folder: Path, first: int, second: int) -> None:
    with stopped_at(first + second, Killed(), for_good=True), refused(first), pytest.raises((Killed, OSError)):
        replace_all(folder)
    finish(folder)
    assert content(folder) in (OLD_SET, NEW_SET)


def test_what_a_killed_program_left_beside_the_set_is_removed_when_it_is_old(folder: Path) -> None:
    with stopped_at(0, Killed(), for_good=True), pytest.raises(Killed):
        replace_all(folder)
    (stale,) = folder.glob(".napari-colipri.*.part")
    replace_all(folder)
    assert stale.exists()  # perhaps of a program that still runs
    os.utime(stale, (0, 0))
    replace_all(folder)
    assert leftovers(folder) == []
    assert content(folder) == NEW_SET


def test_the_block_may_fail_without_a_trace(folder: Path) -> None:
    def fill() -> None:
        with replaced_set(folder, NAMES) as stage:
            (stage / "a.json").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill()
    assert content(folder) == OLD_SET
    assert leftovers(folder) == []


def test_the_journal_is_named_before_anything_moves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    monkeypatch.setattr(file_set, "_swap", lambda journal, target: seen.append(set(content(target))))
    replace_all(folder)
    assert seen == [set(OLD_SET)]
