"""Encodings kept in memory, the least recently used dropped first. No torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from napari_colipri.engine.types import Encoding

__all__ = ["EncodingCache", "encoding_bytes"]


def encoding_bytes(encoding: Encoding) -> int:
    """Return the memory that an encoding's arrays hold, bytes."""
    return encoding.tokens.nbytes + encoding.pooled.nbytes + encoding.inside.nbytes + encoding.affine.nbytes


class EncodingCache:
    """Encodings by key, bounded in bytes.

    Parameters
    ----------
    limit_bytes
        Ceiling; one encoding larger than it is not kept at all.
    """

    def __init__(self, limit_bytes: int = 256 << 20) -> None:
        self._limit = limit_bytes
        self._held: OrderedDict[Hashable, Encoding] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._bytes

    def get(self, key: Hashable) -> Encoding | None:
        """Return the encoding under ``key`` and mark it as used, or None."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: Hashable, encoding: Encoding) -> None:
        """Keep ``encoding``, dropping the least recently used ones above the ceiling."""
        old = self._held.pop(key, None)
        if old is not None:
            self._bytes -= encoding_bytes(old)
        if encoding_bytes(encoding) > self._limit:
            return
        self._held[key] = encoding
        self._bytes += encoding_bytes(encoding)
        while self._bytes > self._limit:
            _, dropped = self._held.popitem(last=False)
            self._bytes -= encoding_bytes(dropped)

    def clear(self) -> None:
        """Drop everything."""
        self._held.clear()
        self._bytes = 0
