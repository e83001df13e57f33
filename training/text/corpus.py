"""Texts of files: plain reports, and the reports of a manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from training.data.errors import DataError
from training.data.manifest import read_manifest
from training.data.records import report_text

__all__ = ["read_texts"]


def read_texts(paths: Sequence[Path], *, split: str | None = "train") -> Iterator[str]:
    """Yield texts: each plain file is one, and of a manifest (``.jsonl``) each report is.

    Parameters
    ----------
    paths
        Files, or folders whose ``.txt`` files are read in the order of their names.
    split
        Split of a manifest that is read; None reads all of it.

    Raises
    ------
    DataError
        Naming the file that cannot be read.
    """
    for path in paths:
        for file in sorted(path.rglob("*.txt")) if path.is_dir() else [path]:
            if file.suffix == ".jsonl":
                yield from _of_manifest(file, split)
            else:
                yield _text(file)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}.", code="missing_file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not UTF-8 text that can be read.", code="not_text") from error


def _of_manifest(file: Path, split: str | None) -> Iterator[str]:
    for line in read_manifest(file):
        if split is None or line.record.split == split:
            try:
                text = report_text(line.record, file.parent)
            except (OSError, UnicodeDecodeError) as error:
                message = f"{file.name} line {line.number}, report: it cannot be read as text."
                raise DataError(message, code="not_text") from error
            if text:
                yield text
