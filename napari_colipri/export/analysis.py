"""Write an analysis into a folder: all of its files or none; an older complete set stays until the new one is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from napari_colipri.atomic import write_json, write_text
from napari_colipri.errors import OutOfResources
from napari_colipri.export.file_set import replaced_set
from napari_colipri.export.masks import write_labels_nifti
from napari_colipri.export.result import AnalysisResult
from napari_colipri.progress import CancelToken, Progress, report_nothing
from napari_colipri.report.markdown import to_markdown

__all__ = ["ANALYSIS_FILES", "write_analysis"]

#: What an analysis is made of; the mask is there only if the bundle can segment. The last one is taken away first and
#: written last: while it is missing, the others may be of two analyses.
ANALYSIS_FILES = (
    "passport.json",
    "findings.json",
    "segmentation.nii.gz",
    "segmentation.json",
    "similar.json",
    "report.json",
    "report.md",
    "run.json",
)
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def write_analysis(
    folder: str | os.PathLike[str],
    result: AnalysisResult,
    *,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> tuple[Path, ...]:
    """Write the files of the command-line contract.

    Parameters
    ----------
    folder
        Created if needed. Other files in it are left alone; those of an earlier analysis are replaced or removed
        together.
    result
        What to write.
    progress, cancel
        Told and asked while the mask is written; from the first rename on, cancelling comes too late.

    Returns
    -------
    tuple of Path
        The files, in the order of :data:`ANALYSIS_FILES`.

    Raises
    ------
    OutOfResources
        If the disk is full; the folder is as it was.
    Cancelled
        The folder is as it was.
    NotADirectoryError
        If ``folder`` is a file.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", str(target))
    with _disk_full_is_typed(), _whole(target) as stage:
        _write_all(stage, result, progress, cancel)
        if cancel is not None:
            cancel.check()
    return tuple(target / name for name in ANALYSIS_FILES if (target / name).exists())


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Yield where to write: a new folder is staged beside its place and renamed as one."""
    if target.exists():
        with replaced_set(target, ANALYSIS_FILES) as stage:
            yield stage
        return
    stage = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        stage.mkdir(parents=True)
        yield stage
        os.rename(stage, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def _disk_full_is_typed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise OutOfResources("No space left on the disk; nothing was written.", code="disk_full") from error
        raise


def _write_all(stage: Path, result: AnalysisResult, progress: Progress, cancel: CancelToken | None) -> None:
    if result.segmentation is not None:
        mask = stage / "segmentation.nii.gz"
        write_labels_nifti(mask, result.segmentation.labels, result.volume, progress=progress, cancel=cancel)
    write_json(stage / "passport.json", result.passport.to_json())
    write_json(stage / "findings.json", result.findings_json())
    write_json(stage / "segmentation.json", result.segmentation_json())
    write_json(stage / "similar.json", result.similar_json())
    write_json(stage / "report.json", result.draft.to_json())
    write_text(stage / "report.md", to_markdown(result.draft))
    write_json(stage / "run.json", result.record.to_json())
