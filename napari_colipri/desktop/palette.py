"""Class colours that people with colour-vision deficiencies can tell apart.

The first eight follow Okabe and Ito (jfly.uni-koeln.de/color), black replaced; the next nine are Paul Tol's "muted"
scheme (personal.sron.nl/~pault, technical note 3.2). Further classes repeat them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["COLOURS", "class_colour", "class_colour_hex"]

COLOURS: tuple[str, ...] = (
    "#56B4E9",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#0072B2",
    "#F0E442",
    "#009E73",
    "#999999",
    "#CC6677",
    "#332288",
    "#DDCC77",
    "#117733",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
)


def class_colour_hex(label: int) -> str:
    """Return ``#RRGGBB`` of a label from 1 on."""
    return COLOURS[(label - 1) % len(COLOURS)]


def class_colour(label: int) -> npt.NDArray[np.float32]:
    """Return RGBA in [0, 1] of a label from 1 on, opaque."""
    text = class_colour_hex(label)
    return np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)] + [1.0], dtype=np.float32)
