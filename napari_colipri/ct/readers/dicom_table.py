"""Modality look-up tables: stored values to HU by a list instead of slope and intercept (PS3.3 C.11.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.readers.dicom_elements import items, numbers, text, value

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ModalityTable", "has_table", "modality_table"]

_SEQUENCE = "ModalityLUTSequence"


@dataclass(frozen=True, eq=False)
class ModalityTable:
    """A table that fits its own description.

    Attributes
    ----------
    first
        Stored value of the first entry.
    entries
        int32 [n]: what ``first``, ``first + 1`` … stand for. Values beyond either end take the last entry there.
    kind
        ModalityLUTType in upper case, such as ``"HU"``; empty where the file does not say.
    """

    first: int
    entries: npt.NDArray[np.int32] = field(repr=False)
    kind: str

    def look_up(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Return what stored values of any shape stand for."""
        return self.entries.take(stored.astype(np.int32) - self.first, mode="clip")


def has_table(dataset: Dataset) -> bool:
    """Whether the data set has a table at all, whatever its state."""
    return bool(items(dataset, _SEQUENCE))


def modality_table(dataset: Dataset, *, signed: bool, big_endian: bool) -> ModalityTable | None:
    """Return the table of an image, or None where it has none or one that does not fit its description.

    Parameters
    ----------
    dataset
        Of the image.
    signed
        Whether its stored values are: the first value mapped is then too.
    big_endian
        Byte order of the file: entries of the type OW come as bytes.
    """
    found = items(dataset, _SEQUENCE)
    if len(found) != 1:
        return None
    described = numbers(found[0], "LUTDescriptor", 3)
    if described is None:
        return None
    count, first, bits = (int(item) for item in described)
    count %= 1 << 16  # readers that take the descriptor for signed numbers see large counts as negative ones
    count = count or 1 << 16  # 0 means 65536
    first %= 1 << 16
    if signed and first >= 1 << 15:
        first -= 1 << 16
    entries = _entries(found[0], count, bits, ">" if big_endian else "<") if 8 <= bits <= 16 else None
    return None if entries is None else ModalityTable(first, entries, text(found[0], "ModalityLUTType").upper())


def _entries(item: Dataset, count: int, bits: int, order: str) -> npt.NDArray[np.int32] | None:
    """Return the entries; unsigned as the standard has it, unless the file's own type says otherwise."""
    data = value(item, "LUTData")
    if isinstance(data, bytes):
        if len(data) % 2 and bits > 8:
            return None
        found = np.frombuffer(data.ljust(len(data) + len(data) % 2, b"\0"), f"{order}u2").astype(np.int64)
    else:
        try:
            found = np.atleast_1d(np.asarray(data, dtype=np.int64))
        except (TypeError, ValueError, OverflowError):
            return None
    if bits == 8 and count > 1 and len(found) == -(-count // 2):
        found = found.astype("<u2").view(np.uint8)  # two entries a word
    # one more than announced is the padding of an odd number
    if found.ndim != 1 or not count <= len(found) <= count + 1:
        return None
    return np.asarray(found[:count], dtype=np.int32)
