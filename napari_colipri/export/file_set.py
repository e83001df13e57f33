"""A set of files in a folder that is replaced whole, whatever ends the program in between.

The folder may be a mount point, the current folder, or hold files of the user's own, so it is not swapped as one. The
new set is written into a hidden folder inside it. One rename makes that folder the *journal*: from there on the new set
is the one that counts. Its files are then moved to their places, those of the older set into the journal. Every one of
these steps can be repeated: an error puts the old set back, and what a killed program left is finished by the next one
that writes there. The set's last file is taken away first and placed last: where it stands, the set is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_colipri.atomic import write_json

__all__ = ["finish", "replaced_set"]

_JOURNAL = ".napari-colipri.journal"
_PART = ".napari-colipri."
_CONTENTS = "contents.json"
#: A stage this old belongs to no program that still runs, seconds.
_STALE_S = 24 * 3600.0


@contextlib.contextmanager
def replaced_set(target: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield an empty folder to write the new set into; it takes the old set's place if the block ends well.

    Parameters
    ----------
    target
        Existing folder. Files in it with other names are left alone.
    names
        Every file that a set may hold. An old file whose name the new set lacks is removed with the old set. The last
        one must be in every set.

    Yields
    ------
    Path
        A folder inside ``target``.
    """
    finish(target)
    _remove_stale(target)
    stage = target / f"{_PART}{secrets.token_hex(8)}.part"
    new = stage / "new"
    new.mkdir(parents=True)
    journal = target / _JOURNAL
    try:
        yield new
        made = [name for name in names if (new / name).exists()]
        (stage / "old").mkdir()
        write_json(stage / _CONTENTS, {"names": list(names), "new": made})
        os.rename(stage, journal)
        _swap(journal, target)
        _retire(journal)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def finish(target: Path) -> bool:
    """Bring a replacement to its end that a killed program left in ``target``; whether there was one."""
    journal = target / _JOURNAL
    if not journal.is_dir():
        return False
    _forward(journal, target)
    _retire(journal)
    return True


def _swap(journal: Path, target: Path) -> None:
    try:
        _forward(journal, target)
    except BaseException:  # an interrupt must not leave a mixture either
        _back(journal, target)
        _retire(journal)
        raise


def _contents(journal: Path) -> tuple[list[str], set[str]]:
    told = json.loads((journal / _CONTENTS).read_text(encoding="utf-8"))
    return told["names"], set(told["new"])


def _forward(journal: Path, target: Path) -> None:
    """Old files into the journal, new ones to their places; what was done before is not done again."""
    names, made = _contents(journal)
    for name in reversed(names):
        placed = name in made and not (journal / "new" / name).exists()
        if not placed and (target / name).exists():
            os.replace(target / name, journal / "old" / name)
    for name in names:
        if (journal / "new" / name).exists():
            os.replace(journal / "new" / name, target / name)


def _back(journal: Path, target: Path) -> None:
    """Undo :func:`_forward`, however far it came."""
    names, made = _contents(journal)
    for name in reversed(names):
        if name in made and not (journal / "new" / name).exists():
            os.replace(target / name, journal / "new" / name)
    for name in names:
        if (journal / "old" / name).exists():
            os.replace(journal / "old" / name, target / name)


def _retire(journal: Path) -> None:
    """Take the journal's name away before its content: a half-removed one must not be taken for a whole one."""
    gone = journal.with_name(f"{_PART}{secrets.token_hex(8)}.part")
    os.rename(journal, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _remove_stale(target: Path) -> None:
    """Remove stages of killed programs; they never became a journal and nothing of the old set is in them."""
    for entry in target.glob(f"{_PART}*.part"):
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > _STALE_S:
                shutil.rmtree(entry)
