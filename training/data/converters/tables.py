"""What every converter shares: tables that name what is wrong in them, splits by patient, and what was left out."""

from __future__ import annotations

import csv
import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.data.errors import DataError
from training.data.records import Record, Split

__all__ = ["Converted", "Row", "Shares", "find_one", "label_of", "read_table", "relative", "stem"]

_IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".npz", ".zip", ".dcm")


@dataclass
class Converted:
    """Records of a data set, and what was left out of them.

    Attributes
    ----------
    records
        In order of their names.
    left_out
        Reason to number of volumes or rows: nothing is dropped silently.
    notes
        Sentences that whoever trains on it should read.
    beside
        Files to write beside the manifest, by name: what evaluation needs and a manifest has no field for.
    """

    records: list[Record] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    beside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One row of a table: cells by column, and its line (from 1) in the file."""

    cells: dict[str, str]
    line: int
    table: str

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "").strip()

    def number(self, column: str) -> float:
        """Return a cell as a number.

        Raises
        ------
        DataError
            Naming table, line and column.
        """
        try:
            return float(self[column])
        except ValueError:
            raise DataError(f"{self.table}, line {self.line}, column {column}: this is not a number.") from None


@dataclass(frozen=True)
class Shares:
    """Shares of patients in ``valid`` and ``test``, by a hash of the patient: stable when data are added."""

    valid: float = 0.05
    test: float = 0.10

    def split_of(self, patient: str) -> Split:
        """Return the split of a patient."""
        digest = hashlib.blake2b(patient.encode(), digest_size=8).digest()
        draw = int.from_bytes(digest, "big") / 2**64
        if draw < self.valid:
            return "valid"
        return "test" if draw < self.valid + self.test else "train"


def read_table(path: Path, needed: Sequence[str], *, delimiter: str = ",") -> list[Row]:
    """Read a CSV file with a header.

    Parameters
    ----------
    path
        UTF-8, with or without a byte-order mark.
    needed
        Columns that it must have.
    delimiter
        Between cells.

    Raises
    ------
    DataError
        If it cannot be read or lacks a column.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            columns = reader.fieldnames or []
            missing = [column for column in needed if column not in columns]
            if missing:
                raise DataError(f"{path.name} has no column {missing[0]!r}; it has {', '.join(columns) or 'none'}.")
            return [
                Row({key: value or "" for key, value in cells.items() if key is not None}, reader.line_num, path.name)
                for cells in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "it is no CSV file in UTF-8"
        raise DataError(f"The table {path.name} cannot be read: {said}.") from None


def find_one(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first file below ``folder`` (three levels) called or ending as one of ``names``, in their order."""
    for name in names:
        for pattern in (f"*{name}", f"*/*{name}", f"*/*/*{name}"):
            found = sorted(path for path in folder.glob(pattern) if path.is_file())
            if found:
                return found[0]
    return None


def label_of(cell: str, row: Row, column: str) -> int | None:
    """Read a label: 1, 0, or empty for unknown.

    Raises
    ------
    DataError
        For anything else, naming table, line and column.
    """
    text = cell.strip().lower()
    if text in ("", "nan", "na", "none", "-1", "-1.0"):
        return None
    if text in ("1", "1.0", "true", "yes"):
        return 1
    if text in ("0", "0.0", "false", "no"):
        return 0
    raise DataError(f"{row.table}, line {row.line}, column {column}: {cell[:20]!r} is neither 1, 0 nor empty.")


def stem(path: Path) -> str:
    """Return a file's name without the suffix of its format; a folder's whole name."""
    lower = path.name.lower()
    for suffix in _IMAGE_SUFFIXES:
        if lower.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def relative(path: Path, manifest: Path | None) -> str:
    """Return a path relative to the manifest's folder where it lies below it, else absolute."""
    full = path.resolve()
    if manifest is not None and full.is_relative_to(manifest.parent.resolve()):
        return full.relative_to(manifest.parent.resolve()).as_posix()
    return full.as_posix()
