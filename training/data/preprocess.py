"""Prepare every study of a manifest once: read, correct, sample, compress. Finished ones are kept, bad ones recorded.

A run may be stopped at any point and started again, split over machines (``shard``) and over processes (``jobs``).
"""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_colipri.atomic import write_text
from napari_colipri.errors import Cancelled, ColipriError, OutOfResources
from training.data.errors import DataError
from training.data.manifest import Line
from training.data.plan import Plan, freeze_plan
from training.data.records import Record, report_text
from training.data.resample import labels_on, store_grid
from training.data.store import Origin, Prepared, key_of, load_prepared, write_prepared
from training.data.study import open_masks, open_study

__all__ = ["Outcome", "Shard", "preprocess", "skipped_file"]

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
#: Studies handed to each process ahead of time.
_AHEAD = 4


@dataclass(frozen=True)
class Shard:
    """Part ``number`` (from 1) of ``count``: studies go to a part by the hash that names their files."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"2/8"``.

        Raises
        ------
        DataError
            If it is no such thing.
        """
        number, _, count = text.partition("/")
        if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return cls(int(number), int(count))
        raise DataError(f"A shard is written like 2/8 (the second of eight), not {text!r}.")

    def holds(self, key: str) -> bool:
        """Whether the study of this key is this part's."""
        return int(key, 16) % self.count == self.number - 1


@dataclass(frozen=True)
class Outcome:
    """What became of one study.

    Attributes
    ----------
    line
        Of the manifest.
    key
        Name of its files.
    status
        ``prepared``; ``kept``, as nothing had changed; ``described``, as only its text or labels had; ``skipped``.
    code, message
        Why it was skipped. Neither holds a path or an identifier.
    seconds
        That it took.
    """

    line: int
    key: str
    status: Literal["prepared", "kept", "described", "skipped"]
    code: str = ""
    message: str = ""
    seconds: float = 0.0


def skipped_file(folder: Path, shard: Shard) -> Path:
    """Return the file that records a run's skipped studies."""
    part = "" if shard.count == 1 else f".{shard.number}-of-{shard.count}"
    return folder / f"skipped{part}.jsonl"


def _hash(*values: Any) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _stat(path: Path | None) -> tuple[int, int]:
    """Return size and latest change of a file, or of all files of a folder."""
    if path is None:
        return 0, 0
    files = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
    stats = [item.stat() for item in files]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def _origin(record: Record, folder: Path, text: str, plan: Plan) -> Origin:
    image, masks = _stat(record.image_path(folder)), _stat(record.masks_path(folder))
    shaped = record.model_dump(mode="json", include={"image", "masks", "correction"})
    said = record.model_dump(mode="json", include={"labels", "boxes", "boxes_complete", "patient", "split"})
    return Origin(plan.hash, image[0] + masks[0], max(image[1], masks[1]), _hash(shaped), _hash(said, text))


def _described(record: Record, text: str) -> dict[str, Any]:
    """Return the fields of a sidecar that come from the manifest."""
    return {
        "patient": record.patient,
        "split": record.split,
        "report": text,
        "labels": dict(record.labels),
        "boxes": {name: [list(box) for box in boxes] for name, boxes in record.boxes.items()},
        "boxes_complete": record.boxes_complete,
    }


def _prepare(record: Record, manifest: Path, out: Path, plan: Plan) -> Literal["prepared", "kept", "described"]:
    """Prepare one study, or see that it is prepared already."""
    key = key_of(record.source, record.study)
    text = report_text(record, manifest)
    origin = _origin(record, manifest, text, plan)
    there = _usable(out, key)
    if there is not None and replace(there.origin, text="") == replace(origin, text=""):
        if there.origin == origin:
            return "kept"
        write_prepared(replace(there, **_described(record, text), origin=origin), None, None, plan)
        return "described"
    for left in (out / "studies" / key[:2]).glob(f".{key}.*"):
        left.unlink(missing_ok=True)  # of a run that was killed
    volume, done = open_study(record, manifest)
    stored = store_grid(volume, plan)
    masks = record.masks_path(manifest)
    shape = (stored.hu.shape[0], stored.hu.shape[1], stored.hu.shape[2])
    mask = labels_on(open_masks(masks), shape, stored.affine) if masks else None
    study = Prepared(
        key=key,
        source=record.source,
        study=record.study,
        **_described(record, text),
        shape=shape,
        affine=np.round(stored.affine, 6).tolist(),
        field_shape=stored.field_shape,
        field_start=stored.field_start,
        padding_hu=stored.padding_hu,
        body=stored.body,
        has_mask=mask is not None,
        image_bytes=0,
        fingerprint=volume.fingerprint,
        verdict=volume.passport.analyse,
        codes=[item.code for item in volume.passport.reasons],
        corrected=done,
        origin=origin,
        folder=out,
    )
    write_prepared(study, stored.hu, mask, plan)
    return "prepared"


def _usable(out: Path, key: str) -> Prepared | None:
    """Return a study whose files are all there, or None."""
    try:
        there = load_prepared(out, key)
    except DataError:
        return None  # a damaged sidecar is written anew
    if there is None or (there.has_mask and not there.mask_file.exists()):
        return None
    whole = there.image_file.exists() and there.image_file.stat().st_size == there.image_bytes
    return there if whole else None


def _outcome(line: Line, manifest: Path, out: Path, plan: Plan) -> Outcome:
    """Prepare one study; anything wrong with it alone becomes a record.

    Raises
    ------
    OutOfResources
        If the disk is full: that concerns every study.
    """
    key = key_of(line.record.source, line.record.study)
    began = time.perf_counter()

    def skipped(code: str, message: str) -> Outcome:
        return Outcome(line.number, key, "skipped", code, message, time.perf_counter() - began)

    try:
        status = _prepare(line.record, manifest, out, plan)
    except Cancelled:
        raise
    except ColipriError as error:
        return skipped(error.code, error.message)
    except MemoryError:
        return skipped("out_of_memory", "There is not enough memory for this study.")
    except OSError as error:
        if error.errno in _NO_SPACE:
            message = "The disk is full. Finished studies are kept: make room, then run the same command again."
            raise OutOfResources(message, code="disk_full") from None
        return skipped("unreadable", f"A file cannot be read or written: {error.strerror or 'the system refused'}.")
    except UnicodeDecodeError:
        return skipped("report_not_text", "The report's file is not UTF-8 text.")
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:  # a volume that no check foresaw
        return skipped("unprocessable", f"The volume cannot be sampled ({type(error).__name__}).")
    return Outcome(line.number, key, status, seconds=time.perf_counter() - began)


def _leave_interrupts_to_the_parent() -> None:
    """Finish the study at hand when Ctrl-C reaches every process of the terminal: the parent stops the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _outcomes(lines: list[Line], manifest: Path, out: Path, plan: Plan, jobs: int) -> Iterator[Outcome]:
    """Yield outcomes as they come."""
    if jobs <= 1:
        for line in lines:
            yield _outcome(line, manifest, out, plan)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_leave_interrupts_to_the_parent)
    waiting = iter(lines)
    running: set[Future[Outcome]] = set()
    try:
        while True:
            for line in islice(waiting, jobs * _AHEAD - len(running)):
                running.add(pool.submit(_outcome, line, manifest, out, plan))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for each in finished:
                yield each.result()
    except BrokenProcessPool:
        message = "A process was ended from outside, most often for lack of memory: use fewer --jobs, and run again."
        raise OutOfResources(message, code="process_ended") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _forget(path: Path, keys: set[str]) -> None:
    """Take the records of these studies out of the skipped file: they are tried again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [text for text in lines if json.loads(text)["key"] not in keys]
        write_text(path, "".join(f"{text}\n" for text in kept), private=True)


def preprocess(
    lines: Iterable[Line],
    manifest: Path,
    out: Path,
    plan: Plan,
    *,
    shard: Shard | None = None,
    jobs: int = 1,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> Counter[str]:
    """Prepare the studies of a manifest in a folder.

    Parameters
    ----------
    lines
        Of the manifest.
    manifest
        Its folder, to which paths are relative.
    out
        Folder that takes the files; one that exists must have been made by the same plan.
    plan
        How to sample and store.
    shard
        Which part of the studies; all without it. Parts may run at the same time, on machines that share the folder.
    jobs
        Processes.
    done
        Told of every study.

    Returns
    -------
    Counter
        Studies by status.

    Raises
    ------
    PlanError
        If the folder was made by another plan.
    OutOfResources
        If the disk is full or a process was ended; finished studies are kept.
    """
    shard = shard or Shard()
    freeze_plan(out, plan)
    mine = [line for line in lines if shard.holds(key_of(line.record.source, line.record.study))]
    record = skipped_file(out, shard)
    _forget(record, {key_of(line.record.source, line.record.study) for line in mine})
    counts: Counter[str] = Counter()
    for outcome in _outcomes(mine, manifest, out, plan, jobs):
        counts[outcome.status] += 1
        if outcome.status == "skipped":
            said = {name: value for name, value in asdict(outcome).items() if name not in ("status", "seconds")}
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(said, ensure_ascii=False) + "\n")
        done(outcome)
    return counts
