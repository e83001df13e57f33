"""Where a model responds to a text: heat map over tokens and its peak in millimetres. numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["heat_values", "layers", "peak"]

#: Tokens compared with text at once: those of the largest grid that a tower takes whole.
_TOGETHER = 24**3

_Floats: TypeAlias = npt.NDArray[np.float32]
_Doubles: TypeAlias = npt.NDArray[np.float64]


def layers(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield parts of a token grid along its first axis, few enough tokens each to be compared with text at once."""
    step = max(1, _TOGETHER // (shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        yield slice(start, start + step)


def heat_values(dense: _Floats, present: _Floats, absent: _Floats, inside: npt.NDArray[np.bool_]) -> _Floats:
    """Return the difference of cosines per token, NaN outside the image.

    Parameters
    ----------
    dense
        L2-normalised embeddings per token [X, Y, Z, D].
    present, absent
        L2-normalised ensembles [D].
    inside
        bool [X, Y, Z].
    """
    values = (dense @ (present - absent)).astype(np.float32)
    return np.where(inside, values, np.float32(np.nan))


def _vertex(before: float, here: float, after: float) -> float:
    """Return the offset in [-0.5, 0.5] of the top of the parabola through three values, the middle one the largest."""
    bend = before - 2.0 * here + after
    if not np.isfinite(bend) or bend >= 0:
        return 0.0  # a flat top, or a neighbour outside the image: no refinement along this axis
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))


def peak(values: _Floats, affine: _Doubles) -> tuple[tuple[float, float, float], float]:
    """Return the RAS mm point of the highest value, refined between tokens, and the highest value.

    Along each axis the top of the parabola through the largest value and its two neighbours is taken: at most half a
    token away, and none where a neighbour lies outside the image.

    Parameters
    ----------
    values
        Heat map [X, Y, Z] with NaN outside the image.
    affine
        Index to RAS mm.

    Raises
    ------
    ValueError
        If no value is finite.
    """
    if not np.isfinite(values).any():
        raise ValueError("a heat map without a single value inside the image has no peak")
    index = np.unravel_index(int(np.nanargmax(values)), values.shape)
    padded = np.pad(values.astype(np.float64), 1, constant_values=np.nan)
    refined = np.empty(3)
    for axis in range(3):
        line = [slice(int(place) + 1, int(place) + 2) for place in index]
        line[axis] = slice(int(index[axis]), int(index[axis]) + 3)
        before, here, after = padded[tuple(line)].ravel()
        refined[axis] = index[axis] + _vertex(before, here, after)
    x, y, z = affine[:3, :3] @ refined + affine[:3, 3]
    return (float(x), float(y), float(z)), float(values[index])
