"""A model grid larger than what its tower takes at once: the windows that cover it, and the pieces that masks come in.

The windows are those of ``colipri`` 0.1.3 (``ImageEncoder.encode_sliding_window``: TorchIO's ``GridSampler`` and
``GridAggregator`` without overlap): they stand side by side from the low end of each axis, the last one is pushed back
until it fits, and where two overlap the later one counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

__all__ = ["Box", "Piece", "Triple", "grown", "pieces", "scaled", "slices", "windows"]

Triple: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

#: What a decoder is shown around a window: more than its convolutions reach.
_HALO = 8


def windows(size: Triple, window: Triple) -> tuple[Box, ...]:
    """Return the windows (start, stop per axis) that cover a grid, in the public package's order.

    Parameters
    ----------
    size
        Voxels of the grid.
    window
        Voxels of a window, at most those of the grid.
    """
    starts = [
        sorted({*range(0, whole - part + 1, part), whole - part}) for whole, part in zip(size, window, strict=True)
    ]
    return tuple(_box(start, window) for start in product(*starts))


def _box(start: tuple[int, ...], size: Triple) -> Box:
    x, y, z = ((low, low + voxels) for low, voxels in zip(start, size, strict=True))
    return x, y, z


def slices(box: Box) -> tuple[slice, slice, slice]:
    """Return a box as indices."""
    return slice(*box[0]), slice(*box[1]), slice(*box[2])


def scaled(box: Box, patch: Triple) -> Box:
    """Return the box of tokens over a box of voxels; patches must divide it."""
    x, y, z = ((low // edge, high // edge) for (low, high), edge in zip(box, patch, strict=True))
    return x, y, z


def grown(box: Box, by: int, within: Box) -> Box:
    """Return a box with ``by`` voxels more on every side, as far as ``within`` allows."""
    x, y, z = ((max(low - by, ends[0]), min(high + by, ends[1])) for (low, high), ends in zip(box, within, strict=True))
    return x, y, z


@dataclass(frozen=True)
class Piece:
    """A part of the grid whose masks are drawn at once.

    Attributes
    ----------
    shown
        What the decoder is shown, a multiple of the patch.
    kept
        What of its answer is used: the window and one voxel of each neighbour, so that nothing is guessed between two.
    ends
        For each axis, whether the image ends at the low and at the high side of ``kept``.
    """

    shown: Box
    kept: Box
    ends: tuple[tuple[bool, bool], tuple[bool, bool], tuple[bool, bool]]

    @property
    def inner(self) -> tuple[slice, slice, slice]:
        """``kept`` as indices into ``shown``."""
        x, y, z = (
            slice(low - start, high - start) for (low, high), (start, _) in zip(self.kept, self.shown, strict=True)
        )
        return x, y, z


def pieces(size: Triple, window: Triple, inside: Box) -> Iterator[Piece]:
    """Yield the pieces of a grid that hold image.

    Parameters
    ----------
    size, window
        As :func:`windows`.
    inside
        ``ModelGrid.inside``.
    """
    whole: Box = ((0, size[0]), (0, size[1]), (0, size[2]))
    for core in windows(size, window):
        if any(low >= high for low, high in grown(core, 0, inside)):
            continue
        kept = grown(core, 1, inside)
        x, y, z = ((low == ends[0], high == ends[1]) for (low, high), ends in zip(kept, inside, strict=True))
        yield Piece(grown(core, _HALO, whole), kept, (x, y, z))
