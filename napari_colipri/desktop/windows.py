"""CT windows: names, levels and widths in HU, and the keys they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["WINDOWS", "Window", "apply_window", "describe_limits", "matching_window", "window_named"]


@dataclass(frozen=True)
class Window:
    """One CT window.

    Attributes
    ----------
    name
        As on its button.
    level, width
        Centre and full width, HU.
    key
        Key on the canvas. napari leaves the function keys free; digits and most letters switch layer modes.
    """

    name: str
    level: float
    width: float
    key: str

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest HU shown, black and white."""
        return self.level - self.width / 2, self.level + self.width / 2


#: The usual five, in the order of their keys.
WINDOWS: tuple[Window, ...] = (
    Window("Lung", -600, 1500, "F5"),
    Window("Mediastinum", 40, 400, "F6"),
    Window("Bone", 400, 1800, "F7"),
    Window("Liver", 60, 160, "F8"),
    Window("Brain", 40, 80, "F9"),
)


def window_named(name: str) -> Window:
    """Return the window called ``name``.

    Raises
    ------
    KeyError
        If there is none.
    """
    for window in WINDOWS:
        if window.name == name:
            return window
    raise KeyError(name)


def apply_window(layer: Any, window: Window) -> None:
    """Show ``layer`` (an image in HU) through ``window``; its slider keeps its whole range."""
    low, high = window.limits
    range_low, range_high = layer.contrast_limits_range
    if low < range_low or high > range_high:
        layer.contrast_limits_range = (min(low, range_low), max(high, range_high))
    layer.contrast_limits = (low, high)


def matching_window(limits: tuple[float, float]) -> Window | None:
    """Return the window whose limits these are (within half a HU), or None."""
    for window in WINDOWS:
        if all(abs(a - b) < 0.5 for a, b in zip(limits, window.limits, strict=True)):
            return window
    return None


def describe_limits(limits: tuple[float, float]) -> str:
    """Return ``WW 1500 · WL −600 HU``."""
    low, high = limits
    level = f"{(low + high) / 2:.0f}".replace("-", "\N{MINUS SIGN}")
    return f"WW {high - low:.0f} · WL {level} HU"
